//! Clients that this crate did not write.

use crate::process::{ServerProcess, TempDir, example, has, run, run_well};
use std::fs;
use std::path::Path;

/// The example, on a free port.
pub(crate) fn serve(backend: &str, root: Option<&Path>, more: &[&str]) -> ServerProcess {
    let root = root.map(|root| root.to_str().unwrap());
    let mut args = more.to_vec();
    args.extend(root.iter().flat_map(|root| ["--root", *root]));
    ServerProcess::example("http", backend, &["127.0.0.1:0"], &args)
}

fn url(server: &ServerProcess, path: &str) -> String {
    format!("http://{}{path}", server.addrs[0])
}

/// What no compression and no lucky repetition makes the same after an error.
fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// `curl` must succeed, and prints this much in addition to what `args` ask for.
fn curl(args: &[&str]) -> Vec<u8> {
    let mut all = vec!["--silent", "--show-error", "--max-time", "50"];
    all.extend(args);
    run_well("curl", &all, b"")
}

fn curl_text(args: &[&str]) -> String {
    String::from_utf8(curl(args)).unwrap()
}

pub(crate) fn curl_gets_files_and_parts_of_them(backend: &str) {
    if !has("curl") {
        return;
    }
    let dir = TempDir::new();
    let (root, copy) = (dir.file("root"), dir.file("copy"));
    let large = noise(20_000_000);
    fs::create_dir(&root).unwrap();
    fs::write(root.join("large.bin"), &large).unwrap();
    fs::write(root.join("index.html"), "<p>home").unwrap();
    let server = serve(backend, Some(&root), &[]);
    let (large_url, copy_path) = (url(&server, "/large.bin"), copy.to_str().unwrap());

    assert_eq!(curl_text(&[&url(&server, "/plaintext")]), "Hello, World!");
    assert_eq!(curl_text(&[&url(&server, "/")]), "<p>home");
    assert!(curl(&[&large_url]) == large, "the whole file");
    assert!(curl(&["--range", "1000000-9999999", &large_url]) == large[1_000_000..10_000_000]);
    assert!(curl(&["--range", "-5", &large_url]) == large[large.len() - 5..]);
    assert_eq!(curl_text(&["--http1.0", &url(&server, "/plaintext")]), "Hello, World!");
    let head = curl_text(&["--head", &large_url]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Length: 20000000\r\n"), "{head}");

    // What broke off is taken up where it was.
    fs::write(&copy, &large[..7_654_321]).unwrap();
    curl(&["--continue-at", "-", "--output", copy_path, &large_url]);
    assert!(fs::read(&copy).unwrap() == large, "the resumed file");

    // What is known is not sent again: by its tag, and by its date.
    let (tag, say) = (dir.file("tag"), "%{http_code} %{size_download}");
    let tag = tag.to_str().unwrap();
    curl(&["--etag-save", tag, "--output", copy_path, &large_url]);
    let again =
        curl_text(&["--etag-compare", tag, "--write-out", say, "--output", copy_path, &large_url]);
    assert_eq!(again, "304 0");
    let again =
        curl_text(&["--time-cond", copy_path, "--remote-time", "--write-out", say, &large_url]);
    assert_eq!(again, "304 0");

    for (path, expected) in [("/none", "404"), ("/../copy", "400"), ("/%2e%2e/copy", "400")] {
        assert_eq!(status(&["--path-as-is", &url(&server, path)]), expected, "{path}");
    }
}

/// The status of the last response.
fn status(args: &[&str]) -> String {
    let said = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    curl_text(&[&said[..], args].concat())
}

pub(crate) fn curl_posts_twenty_megabytes_and_gets_them_back(backend: &str) {
    if !has("curl") {
        return;
    }
    let dir = TempDir::new();
    let body = noise(20_000_000);
    let file = dir.file("body");
    fs::write(&file, &body).unwrap();
    let server = serve(backend, None, &[]);
    let data = format!("@{}", file.display());
    let post = |more: &[&str]| {
        let args = ["--data-binary", &data, "--header", "Content-Type:"];
        curl(&[&args[..], more, &[&url(&server, "/echo")]].concat())
    };
    // By itself curl expects 100 (Continue) for a body of this length, for at most a second.
    assert!(post(&["--expect100-timeout", "30"]) == body, "sized");
    assert!(post(&["--header", "Expect:"]) == body, "sized, at once");
    assert!(post(&["--header", "Transfer-Encoding: chunked"]) == body, "chunked");
    assert!(post(&["--http1.0"]) == body, "HTTP/1.0");
    // A path that wants none of it says so, and curl hears it.
    assert_eq!(status(&["--data-binary", &data, &url(&server, "/plaintext")]), "413");
}

pub(crate) fn curl_keeps_its_connection(backend: &str) {
    if !has("curl") {
        return;
    }
    let server = serve(backend, None, &[]);
    let (plain, echo) = (url(&server, "/plaintext"), url(&server, "/echo"));
    let connects = ["--write-out", "%{num_connects}", "--output", "/dev/null"];
    let get = [&connects[..], &[&plain]].concat();
    let post = [&connects[..], &["--data", "abc", &echo]].concat();
    let none = url(&server, "/none");
    let missing = [&connects[..], &[&none]].concat();
    let all = [&get[..], &["--next"], &post, &["--next"], &missing, &["--next"], &get].concat();
    assert_eq!(curl_text(&all), "1000", "one connection for four requests");
    let close = [&get[..], &["--header", "Connection: close", "--next"], &get].concat();
    assert_eq!(curl_text(&close), "11", "a connection for each");
}

/// The client of the standard library, with bodies of every kind.
const PYTHON: &str = r#"
import hashlib, http.client, sys
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=50)
connection.connect()
socket = connection.sock
def ask(method, path, body=None, headers={}, **more):
    connection.request(method, path, body, headers, **more)
    response = connection.getresponse()
    data = response.read()
    assert connection.sock is socket, 'the connection was not kept'
    return response, data
block = bytes(range(256)) * 40
for n in range(300):
    response, data = ask('GET', '/plaintext')
    assert (response.status, data) == (200, b'Hello, World!')
    assert response.getheader('Server') == 'polyserve' and response.getheader('Date').endswith(' GMT')
    response, data = ask('POST', '/echo', block[:n * 7])
    assert data == block[:n * 7]
    response, data = ask('POST', '/echo', (block[at:at + 100] for at in range(n)), encode_chunked=True)
    assert data == b''.join(block[at:at + 100] for at in range(n))
    assert response.getheader('Transfer-Encoding') == 'chunked'
    response, data = ask('HEAD', '/plaintext')
    assert (response.getheader('Content-Length'), data) == ('13', b'')
    response, data = ask('GET', '/none')
    assert response.status == 404
    response, data = ask('PUT', '/plaintext', b'x' * 1000)
    assert response.status == 405 and 'GET' in response.getheader('Allow')
print('well')
"#;

pub(crate) fn python_talks_for_long_on_one_connection(backend: &str) {
    if !has("python3") {
        return;
    }
    let server = serve(backend, None, &[]);
    let said = run_well("python3", &["-c", PYTHON, &server.port(0).to_string()], b"");
    assert_eq!(said, b"well\n");
}

/// Sixteen requests in one write, each time.
const PIPELINE: &str = r#"
init = function(args)
    local request = wrk.format("GET", "/plaintext")
    local all = {}
    for n = 1, 16 do all[n] = request end
    requests = table.concat(all)
end
request = function() return requests end
"#;

pub(crate) fn wrk_sees_no_error(backend: &str) {
    check_wrk(backend, &[]);
}

pub(crate) fn wrk_sees_no_error_when_it_pipelines(backend: &str) {
    let dir = TempDir::new();
    let script = dir.file("pipeline.lua");
    fs::write(&script, PIPELINE).unwrap();
    check_wrk(backend, &["--script", script.to_str().unwrap()]);
}

fn check_wrk(backend: &str, more: &[&str]) {
    if !has("wrk") {
        return;
    }
    let server = serve(backend, None, &[]);
    let plain = url(&server, "/plaintext");
    let args = [&["-t1", "-c50", "-d1s", "--timeout", "20s"], more, &[&plain]].concat();
    let output = run("wrk", &args, b"");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    // It tells of errors only if there were any.
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    let line = said.lines().find(|line| line.contains(" requests in ")).expect(&said);
    let n: u64 = line.trim().split(' ').next().unwrap().parse().unwrap();
    assert!(n > 500, "{said}");
}

#[test]
fn a_root_that_is_none_is_one_line_and_code_2() {
    let dir = TempDir::new();
    fs::write(dir.file("file"), "").unwrap();
    for root in [dir.file("file"), dir.file("none")] {
        let root = root.to_str().unwrap();
        let output = run(example("http"), &["--root", root], b"");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("error: --root ") && said.contains(root), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let twice = run(example("http"), &["--root", ".", "--root", "."], b"");
    assert_eq!(twice.status.code(), Some(2));
    assert_eq!(twice.stderr, b"error: --root is given twice\n");
}

//! Which file a path leads to, and what is sent of it.

use crate::process::TempDir;
use crate::stage::{Seen, next_response, now, script};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `outer/` holds a secret and the root; the root holds what is served, and links.
fn site() -> TempDir {
    let dir = TempDir::new();
    let root = dir.file("root");
    for folder in ["dir", "dir with space", "empty", ".hidden", ".well-known", "plain.d"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (name, content) in [
        ("index.html", "home"),
        ("a.txt", "0123456789"),
        ("b.unknown-type", "?"),
        ("nothing.css", ""),
        ("dir/index.html", "dir"),
        ("dir/style.css", "css"),
        ("dir with space/\u{e4}.json", "{}"),
        (".hidden/secret", "secret"),
        (".well-known/known.txt", "known"),
        ("..txt", "dots"),
    ] {
        fs::write(root.join(name), content).unwrap();
    }
    fs::write(dir.file("secret"), "secret").unwrap();
    symlink("a.txt", root.join("inside")).unwrap();
    symlink("../secret", root.join("outside")).unwrap();
    symlink(dir.file("secret"), root.join("outside-absolute")).unwrap();
    symlink(dir.file(""), root.join("up")).unwrap();
    symlink("dir", root.join("dir-link")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("../../secret", root.join("plain.d/index.html")).unwrap();
    let fifo = Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(fifo.success());
    dir
}

fn get(dir: &TempDir, target: &str, fields: &str) -> Seen {
    ask(&dir.file("root"), "GET", target, fields)
}

fn ask(root: &Path, method: &str, target: &str, fields: &str) -> Seen {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let mut script = script(Some(root));
    let output = script.recv(request).output();
    assert_eq!(script.close_kind(), None, "{target}");
    let mut rest = &output[..];
    let seen = next_response(&mut rest, method == "HEAD").expect("one response");
    assert!(rest.is_empty(), "and only one");
    seen
}

#[test]
fn a_path_leads_below_the_root_and_nowhere_else() {
    let dir = site();
    // Opening a pipe that somebody holds does not wait, so that a mistake fails and does not hang.
    let _pipe = File::options().read(true).write(true).open(dir.file("root/pipe")).unwrap();
    let cases = [
        ("/", 200, "home"),
        ("/index.html", 200, "home"),
        ("/a.txt", 200, "0123456789"),
        ("/a.txt?query=/../", 200, "0123456789"),
        ("/%61%2Etxt", 200, "0123456789"),
        ("/dir/", 200, "dir"),
        ("/dir/style.css", 200, "css"),
        ("/dir%20with%20space/%C3%A4.json", 200, "{}"),
        ("/inside", 200, "0123456789"),
        ("/dir-link/style.css", 200, "css"),
        ("/.well-known/known.txt", 200, "known"),
        // A directory is asked for with a slash, and has an index or nothing.
        ("/dir", 301, ""),
        ("/dir-link", 301, ""),
        ("/empty", 404, ""),
        ("/empty/", 404, ""),
        // Nothing is there, or nothing for the world.
        ("/none", 404, ""),
        ("/a.txt/", 404, ""),
        ("/a.txt/x", 404, ""),
        ("//a.txt", 404, ""),
        ("/dir//style.css", 404, ""),
        ("/.hidden/secret", 404, ""),
        ("/..txt", 404, ""),
        ("/pipe", 404, ""),
        ("/loop", 404, ""),
        // Links out of the root.
        ("/outside", 404, ""),
        ("/outside-absolute", 404, ""),
        ("/up/secret", 404, ""),
        ("/up", 404, ""),
        ("/up/", 404, ""),
        ("/up/root/a.txt", 200, "0123456789"),
        ("/plain.d/", 404, ""),
        ("/plain.d", 404, ""),
        // Dots and what becomes a slash.
        ("/../secret", 400, ""),
        ("/..", 400, ""),
        ("/.", 400, ""),
        ("/dir/../a.txt", 400, ""),
        ("/./a.txt", 400, ""),
        ("/%2e%2e/secret", 400, ""),
        ("/.%2E/secret", 400, ""),
        ("/..%2fsecret", 400, ""),
        ("/%2e%2e%2Fsecret", 400, ""),
        ("/..\\secret", 400, ""),
        ("/..%5csecret", 400, ""),
        ("/a.txt%00", 400, ""),
        ("/%c0%ae%c0%ae/secret", 400, ""),
        ("/%252e%252e/secret", 404, ""),
        ("http://h/a.txt", 200, "0123456789"),
    ];
    for (target, status, body) in cases {
        let seen = get(&dir, target, "");
        assert_eq!(seen.status, status, "{target}");
        assert!(!seen.body.windows(6).any(|window| window == b"secret"), "{target}");
        if status == 200 {
            assert_eq!(String::from_utf8(seen.body).unwrap(), body, "{target}");
        }
    }
    let absolute = format!("/{}", dir.file("secret").display());
    assert_eq!(get(&dir, &absolute, "").status, 404);
    let long = format!("/{}", "x".repeat(5000));
    assert_eq!(get(&dir, &long, "").status, 404);
}

#[test]
fn a_directory_is_redirected_with_its_query() {
    let dir = site();
    assert_eq!(get(&dir, "/dir?a=b", "").field("location"), Some("/dir/?a=b"));
    assert_eq!(get(&dir, "/d%69r", "").field("location"), Some("/d%69r/"));
}

#[test]
fn the_type_of_a_file_follows_from_its_name() {
    let dir = site();
    for (target, expected) in [
        ("/", "text/html"),
        ("/a.txt", "text/plain"),
        ("/dir/style.css", "text/css"),
        ("/dir%20with%20space/%C3%A4.json", "application/json"),
        ("/b.unknown-type", "application/octet-stream"),
    ] {
        assert_eq!(get(&dir, target, "").field("content-type"), Some(expected), "{target}");
    }
}

#[test]
fn conditions_and_ranges_are_what_the_standard_says() {
    let dir = site();
    let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let file = File::options().write(true).open(dir.file("root/a.txt")).unwrap();
    file.set_modified(modified).unwrap();
    let seen = get(&dir, "/a.txt", "");
    let etag = seen.field("etag").unwrap().to_owned();
    assert_eq!(seen.field("last-modified"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(seen.field("accept-ranges"), Some("bytes"));
    let cases: &[(&str, u16, &str)] = &[
        // RFC 9110, 13.1.2 and 13.1.3.
        ("If-None-Match: ETAG", 304, ""),
        ("If-None-Match: W/ETAG", 304, ""),
        ("If-None-Match: \"x\", \"a,b\" , W/\"y\",ETAG", 304, ""),
        ("If-None-Match: \"x\"\r\nIf-None-Match: ETAG", 304, ""),
        ("If-None-Match: *", 304, ""),
        ("If-None-Match: \"x\"", 200, "0123456789"),
        ("If-None-Match: x", 200, "0123456789"),
        ("If-None-Match:", 200, "0123456789"),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 304, ""),
        ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT", 304, ""),
        ("If-Modified-Since: Sun Nov  6 08:49:37 1994", 304, ""),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT", 200, "0123456789"),
        ("If-Modified-Since: yesterday", 200, "0123456789"),
        // The tag says more than the date.
        (
            "If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
            200,
            "0123456789",
        ),
        // 13.1.1 and 13.1.4.
        ("If-Match: ETAG", 200, "0123456789"),
        ("If-Match: *", 200, "0123456789"),
        ("If-Match: W/ETAG", 412, "412 Precondition Failed\n"),
        ("If-Match: \"x\"", 412, "412 Precondition Failed\n"),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 200, "0123456789"),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT", 412, "412 Precondition Failed\n"),
        // 14.1.2.
        ("Range: bytes=0-0", 206, "0"),
        ("Range: bytes=2-4", 206, "234"),
        ("Range: BYTES=2-4", 206, "234"),
        ("Range: bytes=7-", 206, "789"),
        ("Range: bytes=7-99999999999999999999999", 206, "789"),
        ("Range: bytes=-3", 206, "789"),
        ("Range: bytes=-99", 206, "0123456789"),
        ("Range: bytes=10-", 416, "416 Range Not Satisfiable\n"),
        ("Range: bytes=99999999999999999999999-", 416, "416 Range Not Satisfiable\n"),
        ("Range: bytes=-0", 416, "416 Range Not Satisfiable\n"),
        // What may be ignored, is: 14.2.
        ("Range: bytes=4-2", 200, "0123456789"),
        ("Range: bytes=1-2,4-5", 200, "0123456789"),
        ("Range: bytes=a-b", 200, "0123456789"),
        ("Range: bytes=+1-2", 200, "0123456789"),
        ("Range: bytes=-", 200, "0123456789"),
        ("Range: lines=1-2", 200, "0123456789"),
        ("Range: bytes=1-2\r\nRange: bytes=4-5", 200, "0123456789"),
        // 13.1.5.
        ("Range: bytes=2-4\r\nIf-Range: ETAG", 206, "234"),
        ("Range: bytes=2-4\r\nIf-Range: W/ETAG", 200, "0123456789"),
        ("Range: bytes=2-4\r\nIf-Range: \"x\"", 200, "0123456789"),
        ("Range: bytes=2-4\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT", 206, "234"),
        ("Range: bytes=2-4\r\nIf-Range: Sun, 06 Nov 1994 08:49:38 GMT", 200, "0123456789"),
        // 13.2.2: first the conditions.
        ("Range: bytes=2-4\r\nIf-None-Match: ETAG", 304, ""),
        ("Range: bytes=99-\r\nIf-Match: \"x\"", 412, "412 Precondition Failed\n"),
    ];
    for (fields, status, body) in cases {
        let fields = format!("{}\r\n", fields.replace("ETAG", &etag));
        let seen = get(&dir, "/a.txt", &fields);
        assert_eq!(seen.status, *status, "{fields}");
        assert_eq!(String::from_utf8(seen.body.clone()).unwrap(), *body, "{fields}");
        check_fields(&seen, &etag, &fields);
    }
    // HEAD has no ranges: 14.2.
    let head = ask(&dir.file("root"), "HEAD", "/a.txt", "Range: bytes=2-4\r\n");
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
}

fn check_fields(seen: &Seen, etag: &str, fields: &str) {
    let has_validators = [200, 206, 304].contains(&seen.status);
    assert_eq!(seen.field("etag").is_some_and(|tag| tag == etag), has_validators, "{fields}");
    assert_eq!(seen.field("content-length").is_none(), seen.status == 304, "{fields}");
    match seen.status {
        206 => {
            let place = seen.field("content-range").unwrap();
            let first = seen.body[0] - b'0';
            let last = seen.body[seen.body.len() - 1] - b'0';
            assert_eq!(place, format!("bytes {first}-{last}/10"), "{fields}");
        }
        416 => assert_eq!(seen.field("content-range"), Some("bytes */10"), "{fields}"),
        _ => assert_eq!(seen.field("content-range"), None, "{fields}"),
    }
}

#[test]
fn a_file_of_no_length_has_no_ranges() {
    let dir = site();
    for (fields, status) in [
        ("", 200),
        ("Range: bytes=-1\r\n", 200),
        ("Range: bytes=0-\r\n", 416),
        ("Range: bytes=-0\r\n", 416),
    ] {
        assert_eq!(get(&dir, "/nothing.css", fields).status, status, "{fields}");
    }
}

#[test]
fn times_that_no_date_can_tell_do_no_harm() {
    let dir = site();
    let file = File::options().write(true).open(dir.file("root/a.txt")).unwrap();
    let dates = [
        (UNIX_EPOCH - Duration::from_secs(1), "Thu, 01 Jan 1970 00:00:00 GMT"),
        // Not later than the date of the response: 8.8.2.1.
        (now() + Duration::from_secs(9), crate::stage::DATE),
    ];
    for (modified, expected) in dates {
        file.set_modified(modified).unwrap();
        assert_eq!(get(&dir, "/a.txt", "").field("last-modified"), Some(expected));
    }
}

/// A date is a strong validator only if the file can not have changed twice within its second.
#[test]
fn a_file_that_has_just_changed_is_not_told_by_its_date() {
    let dir = site();
    let file = File::options().write(true).open(dir.file("root/a.txt")).unwrap();
    let status = |modified: SystemTime, date: &str| {
        file.set_modified(modified).unwrap();
        get(&dir, "/a.txt", &format!("Range: bytes=1-\r\nIf-Range: {date}\r\n")).status
    };
    assert_eq!(status(now(), crate::stage::DATE), 200);
    assert_eq!(status(now() - Duration::from_secs(9), "Thu, 29 Feb 2024 11:59:51 GMT"), 206);
}

#[test]
fn parts_of_a_large_file_are_the_right_ones() {
    let dir = site();
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n / 7) as u8).collect();
    fs::write(dir.file("root/large"), &bytes).unwrap();
    for range in [0..300_000, 1..65_537, 65_536..300_000, 299_999..300_000, 7..200_007] {
        let fields = format!("Range: bytes={}-{}\r\n", range.start, range.end - 1);
        let seen = get(&dir, "/large", &fields);
        assert_eq!(seen.status, 206);
        assert!(seen.body == bytes[range.clone()], "{range:?}");
    }
}

//! A report as one page.

use super::plot::{COLOURS, escape};
use super::table::columns;
use super::{CaseReport, Report, plots};

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Strategies compared</title>\n",
    );
    let facts = format!(
        "{}. {} rounds in an order drawn by lot (seed {}); every response was checked.",
        report.system, report.rounds, report.seed
    );
    page += &format!("<style>{STYLE}</style>\n</head>\n<body>\n<h1>Strategies compared</h1>\n");
    page += &format!("<p class=\"soft\">{}</p>\n", escape(&facts));
    for warning in &report.warnings {
        page += &format!("<p class=\"warning\">Warning: {}.</p>\n", escape(warning));
    }
    report.cases.iter().for_each(|case| section(&mut page, case));
    page + READING + "</body>\n</html>\n"
}

const READING: &str = "
<h2>How to read this</h2>
<p>Lines join the medians of the rounds; the thick bars show where the middle half of the rounds lies.
Latency distributions are of all rounds together: read at 99 % which time one request in a hundred
exceeded.</p>
<p>CPU time is that of the server alone, in the kernel and out of it, for each request. System calls
were counted apart, after the rounds. \u{201c}Load busy\u{201d} is the share of the time in which the load did
not wait for the server; with an exclamation mark the load was the bottleneck.</p>
<p>A verdict claims a difference only if chance is ruled out for all claims of its case together, and
speaks of \u{201c}the same\u{201d} only if a difference that matters is ruled out. Everything else is
\u{201c}no significant difference\u{201d}: the rounds do not tell.</p>
";

fn section(page: &mut String, case: &CaseReport) {
    *page += &format!("<h2>{}</h2>\n", escape(&case.name));
    for remark in case.remarks() {
        *page += &format!("<p>{}</p>\n", escape(&remark));
    }
    *page += "<div class=\"verdict\">\n";
    for sentence in &case.verdict.sentences {
        *page += &format!("<p>{}</p>\n", with_head(sentence));
    }
    *page += "</div>\n<div class=\"key\">\n";
    for (name, (r, g, b)) in case.contenders.iter().zip(COLOURS.iter().cycle()) {
        let name = escape(name);
        *page += &format!("<span><i style=\"background: rgb({r}, {g}, {b})\"></i>{name}</span>\n");
    }
    *page += "</div>\n<div class=\"plots\">\n";
    *page += &plots::of_case(case).concat();
    *page += "</div>\n";
    for point in 0..case.points.len() {
        table(page, case, point);
    }
}

/// A sentence of a verdict. What it is about stands before a colon, and is made to stand out.
fn with_head(sentence: &str) -> String {
    match sentence.split_once(": ") {
        Some((head, rest)) => format!("<strong>{}</strong>: {}", escape(head), escape(rest)),
        None => escape(sentence),
    }
}

fn table(page: &mut String, case: &CaseReport, point: usize) {
    let columns = columns(case);
    *page += &format!("<h3>{}</h3>\n", escape(&case.label(point)));
    *page += "<div class=\"table\"><table>\n<tr><th></th>";
    for (head, _) in &columns {
        *page += &format!("<th>{head}</th>");
    }
    *page += "</tr>\n";
    for (name, row) in case.contenders.iter().zip(&case.cells) {
        *page += &format!("<tr><th>{}</th>", escape(name));
        for (_, of) in &columns {
            *page += &format!("<td>{}</td>", escape(&of(&row[point])));
        }
        *page += "</tr>\n";
    }
    *page += "</table></div>\n";
}

const STYLE: &str = "
:root { --fg: #1c1e21; --bg: #fbfbfa; --soft: #5d636b; --line: #dcdcd8; --card: #ffffff; --mark: #b5480f }
@media (prefers-color-scheme: dark) {
  :root { --fg: #e4e4e0; --bg: #17191c; --soft: #a0a6ad; --line: #34383d; --card: #1f2226; --mark: #f0a070 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 82rem; color: var(--fg); background: var(--bg);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; margin: 0 }
h2 { font-size: 1.3rem; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem }
p { max-width: 50rem; margin: .4rem 0 }
.soft { color: var(--soft) }
.warning { color: var(--mark); font-weight: 600 }
.verdict { background: var(--card); border: 1px solid var(--line); border-left: 4px solid #3b8fd9;
  border-radius: 4px; padding: .6rem 1rem; margin: 1rem 0; max-width: 60rem }
.verdict p { max-width: none }
.verdict p:last-child:not(:first-child) { color: var(--soft); font-size: .9rem }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0 .5rem }
.key i { display: inline-block; width: .9rem; height: .9rem; border-radius: 2px; margin-right: .4rem;
  vertical-align: -.1rem }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); gap: 1rem }
.plots svg, .table { background: var(--card); border: 1px solid var(--line); border-radius: 4px }
svg { width: 100%; height: auto; display: block }
svg text { fill: var(--fg) }
.table { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--line) }
tr:first-child th { border-top: 0; color: var(--soft); font-weight: 500 }
th:first-child { text-align: left }
";

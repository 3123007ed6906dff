//! Whether the baseline is what a server by hand should be. Ratios to another say nothing.

use super::{Cell, Measured};
use crate::servers::{BUFFER, Kind};

/// One condition, at one load.
#[derive(Debug, PartialEq)]
pub(super) struct Check {
    pub(super) cell: &'static str,
    pub(super) what: String,
    pub(super) measured: String,
    pub(super) holds: bool,
}

/// How much memory an idle connection may take.
const MOST_IDLE_BYTES: f64 = 90.0;

pub(super) fn checks(cells: &[(Cell, Vec<Measured>)]) -> Vec<Check> {
    let mut all = Vec::new();
    for (cell, measured) in cells {
        let baselines = measured.iter().filter(|m| m.entry.is_baseline() && !m.entry.is_again());
        for base in baselines {
            let mut check = |what: &str, measured: String, holds| {
                let what = format!("{}: {what}", base.entry.name);
                all.push(Check { cell: cell.name, what, measured, holds });
            };
            if cell.is_small_echo() && [1, 50].contains(&cell.connections) && base.entry.idle == 0 {
                calls(base, cell.connections, &mut check);
                let size = base.read_size;
                let text = size.map_or("unknown".to_owned(), |n| n.to_string());
                check("each read asks for 65536 bytes", text, size == Some(BUFFER as u64));
            }
            if base.entry.kind == Kind::Epoll && base.entry.idle > 0 {
                let bytes = base.idle_bytes;
                let text = bytes.map_or("unknown".to_owned(), |n| format!("{n:.0}"));
                let holds = bytes.is_some_and(|n| n <= MOST_IDLE_BYTES);
                check("an idle connection takes at most 90 bytes", text, holds);
            }
        }
        all.extend(mio(cell, measured));
    }
    all
}

/// One wait for a batch, one read, one write at once, and no change of what is waited for.
fn calls(base: &Measured, connections: usize, check: &mut impl FnMut(&str, String, bool)) {
    let is_loop = base.entry.kind == Kind::Epoll;
    let (least, most) = match (is_loop, connections) {
        (true, 1) => (3.00, 3.00),
        (true, _) => (2.00, 2.06),
        (false, _) => (2.00, 2.00),
    };
    let about = |n: f64, least: f64, most: f64| n > least - 0.005 && n < most + 0.005;
    let what = match least == most {
        true => format!("{most:.2} system calls, one of them to write at once"),
        false => format!("at most {most:.2} system calls, one of them to write at once"),
    };
    match base.calls {
        None => check(&what, "unknown".to_owned(), false),
        Some(calls) => check(
            &what,
            format!("{:.2}; writes {:.2}, epoll_ctl {:.2}", calls.all, calls.send, calls.epoll_ctl),
            about(calls.all, least, most)
                && about(calls.send, 1.0, 1.0)
                && about(calls.epoll_ctl, 0.0, 0.0),
        ),
    }
}

/// mio does the same as the loop by hand, so it takes the same time.
fn mio(cell: &Cell, measured: &[Measured]) -> Option<Check> {
    let ratio = measured.iter().find(|m| m.entry.kind == Kind::Mio)?.cpu_ratio;
    let is_again = |m: &&Measured| m.entry.is_again() && m.entry.baseline == 0;
    let noise = measured.iter().find(is_again)?.cpu_ratio.half_width();
    Some(Check {
        cell: cell.name,
        what: "mio takes the same CPU time, within 5 % and the noise".to_owned(),
        measured: format!("{:.3} ± {:.3}", ratio.median, ratio.half_width()),
        holds: (ratio.median - 1.0).abs() <= 0.05 + noise,
    })
}

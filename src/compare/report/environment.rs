//! Where a comparison ran, and what makes its figures doubtful.

/// The load average at the start from which on a machine counts as busy with something else.
const IDLE_LOAD: f64 = 0.7;

pub(super) fn system() -> String {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let plural = if cores == 1 { "" } else { "s" };
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("polyserve {} on {os} ({arch}), {cores} core{plural}", env!("CARGO_PKG_VERSION"))
}

pub(super) fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

pub(super) fn warnings(load_average: Option<f64>) -> Vec<String> {
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings.push("this is a build without optimization: add --release".to_owned());
    }
    if let Some(load) = load_average.filter(|load| *load > IDLE_LOAD) {
        warnings.push(format!(
            "the machine was busy at the start (load average {load:.1}): the figures are worth less"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_warned_of() {
        let is_debug = usize::from(cfg!(debug_assertions));
        assert_eq!(warnings(Some(0.1)).len(), is_debug);
        assert_eq!(warnings(None).len(), is_debug);
        assert!(warnings(Some(7.25)).last().unwrap().contains("load average 7.2"));
    }
}

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| polyserve_fuzz::run("resp", data));

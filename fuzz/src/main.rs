//! The program that the engine drives: one for all targets. `CHATELAINE_FUZZ_TARGET` names the one to run.
#![no_main]

use std::sync::OnceLock;

use chatelaine_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("CHATELAINE_FUZZ_TARGET").unwrap_or_default();
    chatelaine_fuzz::find(&name).unwrap_or_else(|| panic!("CHATELAINE_FUZZ_TARGET={name:?} names no target"))
}

fuzz_target!(|input: &[u8]| TARGET.get_or_init(chosen)(input));

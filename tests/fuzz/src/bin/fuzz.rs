//! One parser under libFuzzer. Which one says `DSVM_FUZZ_TARGET`: all of them are one program, that is built once.
#![no_main]

use fuzz::Target;
use std::sync::OnceLock;

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("DSVM_FUZZ_TARGET").unwrap_or_default();
        match Target::find(&name) {
            Some(target) => drop(TARGET.set(target)),
            None => {
                eprintln!("DSVM_FUZZ_TARGET={name:?} is none of the targets");
                std::process::exit(2);
            }
        }
    },
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            target.run(data);
        }
    }
);

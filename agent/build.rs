//! Passes on to the linker where each function belongs, when who builds the package says that.
//!
//! Not by rustc's flags: cargo makes names of all crates from those, and with other names the compiler lays out another program.

/// A linker's script, for the program alone.
const SCRIPT: &str = "DSVM_AGENT_LINKER_SCRIPT";

fn main() {
    println!("cargo::rerun-if-env-changed={SCRIPT}");
    if let Ok(path) = std::env::var(SCRIPT) {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{path}");
    }
}

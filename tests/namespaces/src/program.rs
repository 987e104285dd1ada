//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program under test: `DSVM_AGENT_BIN` if that is set, otherwise [`built`].
///
/// # Panics
/// It cannot be built or found.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        std::env::var_os("DSVM_AGENT_BIN").map_or_else(|| built("dsvm-agent", "dsvm-agent"), PathBuf::from)
    })
}

/// A program of this project: the one beside this test in the target directory, after it was brought up to date.
///
/// # Panics
/// It cannot be built or found.
pub fn built(package: &str, binary: &str) -> PathBuf {
    // target/PROFILE/deps/this-test, or target/PROFILE/this-program
    let own = std::env::current_exe().expect("this program's own path");
    let directory = own.parent().expect("a target directory");
    let profile = if directory.ends_with("deps") { directory.parent().expect("a target directory") } else { directory };
    let target = profile.parent().expect("a target directory");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bin", binary, "--target-dir"]).arg(target);
    // What cargo told this test about itself: build scripts that look at it would run again, and all that stands on
    // them would be built again, for each package of tests in turn.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        cargo.env_remove(name);
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    // A program that was left over from an earlier build would be tested instead of this one.
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "{binary} does not build");
    profile.join(binary)
}

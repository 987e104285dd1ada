//! `cargo xtask test`: the checks and the rings of tests, from nothing.

use crate::ahead::{self, Ahead};
use crate::{cloud_init, deb, fuzz, host, image, manual, template};
use clap::ValueEnum;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ring {
    /// Format, lints, documentation, shell scripts, manual pages, user-data, licences.
    Check,
    /// Pure functions, beside the code.
    Unit,
    /// The program, its text and its exit codes.
    Cli,
    /// The program as root in namespaces of this machine.
    Namespaces,
    /// A simulator of Azure, and the program against it.
    Azure,
    /// The package in guests, and how many instructions its hot paths take.
    Vm,
    /// Everything that reads what others write, for some seconds each. What it found before is kept and tried again by
    /// the unit ring, so it is no part of all.
    Fuzz,
}

/// Runs `rings`, or all of them in order, and stops at the first that fails. With `only`, of their tests those with that in
/// their name. With `long`, in guests those too that last.
pub fn run(rings: &[Ring], only: Option<&str>, long: bool) -> Result<(), Box<dyn Error>> {
    if only.is_some() && rings.is_empty() {
        return Err("--only needs the ring that the test is in, such as vm".into());
    }
    let nextest = |arguments: &[&str], package: Option<&Path>| nextest(arguments, only, package);
    let all = [Ring::Check, Ring::Unit, Ring::Cli, Ring::Namespaces, Ring::Azure, Ring::Vm];
    let mut before = None;
    for ring in if rings.is_empty() { &all[..] } else { rings } {
        let start = Instant::now();
        match ring {
            Ring::Check => {
                check()?;
                // Not sooner: what is checked takes all processors, and is what fails most.
                before = rings.is_empty().then(Ahead::begin).transpose()?;
            }
            Ring::Unit => nextest(
                &["--package", "dsvm-agent", "--package", "xtask", "--package", "bench", "--package", "fuzz"],
                None,
            )?,
            Ring::Cli => {
                host::stream(cargo(&["build", "--package", "dsvm-agent"]))?;
                nextest(&["--package", "cli"], None)?;
            }
            Ring::Namespaces => {
                // The real Jupyter is fetched into a Python of its own; a second source of names is asked through systemd's.
                let tools = ["curl", "git", "libnss-systemd", "python3-venv"];
                host::packages(&tools)?;
                host::packages(&["iproute2", "nftables", "passwd", "procps", "util-linux"])?;
                host::stream(cargo(&["build", "--package", "dsvm-agent"]))?;
                // Half of them wait for something.
                nextest(&["--package", "namespaces", "--test-threads", "4"], None)?;
            }
            Ring::Azure => {
                host::packages(&["curl", "iproute2", "passwd", "util-linux"])?;
                // The vendor's clients get a Python of their own, for which Debian has a package beside Python's.
                if host::run(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_err() {
                    host::packages(&["python3", "python3-venv"])?;
                }
                host::stream(cargo(&["build", "--package", "dsvm-agent"]))?;
                // Most of them wait for pauses to end.
                nextest(&["--package", "azure", "--test-threads", "8"], None)?;
            }
            Ring::Fuzz => fuzz::run(&fuzz::Options::default())?,
            Ring::Vm => {
                let package = match before.take() {
                    Some(before) => before.end()?,
                    None if only.is_none() => ahead::run()?,
                    None => {
                        image::build(vm::Suite::Trixie, false)?;
                        ahead::package()?
                    }
                };
                if only.is_some() || long {
                    // The older release has an older kernel, systemd and cloud-init.
                    image::build(vm::Suite::Bookworm, false)?;
                    // Few scenarios have a guest of a still older one: they say so in their names.
                    if only.is_none_or(|only| only.contains("oldest_release")) {
                        image::build(vm::Suite::Bullseye, false)?;
                    }
                    // One scenario makes a package repository.
                    host::packages(&["apt-utils", "gpg", "gpg-agent"])?;
                }
                let mut arguments = vec!["--package", "vm"];
                if long {
                    arguments.extend(["--run-ignored", "all", "-E", "not test(/hour|ten_minutes|thousand/)"]);
                }
                nextest(&arguments, Some(&package))?;
            }
        }
        println!("{ring:?}: passed in {} s", start.elapsed().as_secs());
    }
    Ok(())
}

fn check() -> Result<(), Box<dyn Error>> {
    host::packages(&["git", "shellcheck"])?;
    host::stream(cargo(&["fmt", "--all", "--check"]))?;
    host::stream(cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]);
    docs.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
    host::stream(docs)?;
    let files = host::run(Command::new("git").args(["ls-files"]))?;
    let scripts = files.lines().filter(|path| is_script(Path::new(path)));
    host::stream({
        let mut command = Command::new("shellcheck");
        command.args(scripts);
        command
    })?;
    template::check()?;
    manual::check(&deb::target().join("manual"), deb::root())?;
    cloud_init::check(&deb::target().join("user-data"))?;
    deny()
}

fn is_script(path: &Path) -> bool {
    let shebang = std::fs::read(path).is_ok_and(|bytes| {
        let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        first.starts_with(b"#!") && (first.ends_with(b"sh") || first.ends_with(b"sh -e"))
    });
    shebang || path.extension().is_some_and(|e| e == "sh")
}

/// Licences, bans and sources; advisories need a database that is not in every network.
fn deny() -> Result<(), Box<dyn Error>> {
    if Command::new("cargo").args(["deny", "--version"]).output().map_or(true, |o| !o.status.success()) {
        // It runs for a second: optimising it would take longer than all that it does.
        host::stream(cargo(&["install", "--debug", "--locked", "cargo-deny@0.20.2"]))?;
    }
    host::stream(cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"]))?;
    Ok(())
}

fn nextest(arguments: &[&str], only: Option<&str>, package: Option<&Path>) -> Result<(), Box<dyn Error>> {
    if Command::new("cargo").args(["nextest", "--version"]).output().map_or(true, |o| !o.status.success()) {
        host::stream(cargo(&["install", "--locked", "cargo-nextest@0.9.143"]))?;
    }
    let mut command = cargo(&["nextest", "run", "--locked"]);
    command.args(arguments);
    if let Some(only) = only {
        command.args(["--run-ignored", "all", "--success-output", "final", "-E", &format!("test({only})")]);
    }
    if let Some(package) = package {
        command.env("DSVM_AGENT_DEB", std::path::absolute(package)?);
    }
    host::stream(command)?;
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    // What cargo told this program about itself would make build scripts that look at it run again.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        command.env_remove(name);
    }
    command
}

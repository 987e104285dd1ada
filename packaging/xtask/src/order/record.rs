//! `cargo xtask order`: the functions that the running service calls, recorded.

use super::mangled::pattern;
use super::{Callers, KEPT};
use crate::deb::{self, root, target};
use crate::host::{self, Error, at, run};
use crate::{image, program};
use namespaces::built;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use vm::{Scenario, Service, together};

/// So long nothing new happens, so that all that comes by the clock has come: the rarest look is taken every five minutes.
const QUIET: Duration = Duration::from_secs(330);

/// What the unit is given besides. Every function is met slowly once in each process, and who looks is the process that
/// systemd started: neither its deadlines nor what keeps the service from tracing anybody may hold.
const UNIT: &str = "[Service]
NotifyAccess=all
TimeoutStartSec=15min
WatchdogSec=0
CapabilityBoundingSet=~
SystemCallFilter=
ExecStart=
ExecStart=/usr/local/bin/calls /root/functions /root/called /usr/bin/dsvm-agent run
";

/// A function of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    size: u64,
    /// As mangled by rustc; functions that the linker found to be the same have one place and several names.
    names: Vec<String>,
}

/// Runs the service in a guest with an SMB share, with people who come, and keeps what it called.
///
/// # Errors
/// It cannot be built or run here.
pub fn run_and_keep() -> Result<(), Error> {
    host::packages(&["binutils"])?;
    image::build(vm::Suite::default(), false)?;
    let program = host::timed("building the program", program::with_names)?;
    let functions = functions(&run(Command::new("nm").args(["--defined-only", "--print-size"]).arg(&program))?);
    // In the package it lies where it lay, without its names.
    let package = deb::pack(&target().join("order/deb"), &program, env!("CARGO_PKG_VERSION"))?;
    let called = host::timed("recording", || record(&package, &functions))?;
    let kept = root().join(KEPT);
    at(&kept, fs::write(&kept, text(&functions, &callers(&called))))
}

/// What the service calls while it starts, people come and go, and nobody does anything.
fn record(package: &Path, functions: &BTreeMap<u64, Function>) -> Result<String, Error> {
    let addresses: String = functions.keys().fold(String::new(), |mut all, address| {
        let _ = writeln!(all, "{address:x}");
        all
    });
    let calls = built("namespaces", "calls");
    let scenario = Scenario::new("order");
    let (_server, guest) = together(|| scenario.file_server(), || scenario.vm_with(package, "vm1", Service::Off));
    guest.start_azure(&built("azure", "azure"));
    guest.configure_smb();
    guest.put(at(&calls, fs::read(&calls))?, "/usr/local/bin/calls", 0o755);
    guest.put(addresses, "/root/functions", 0o600);
    guest.put(UNIT, "/etc/systemd/system/dsvm-agent.service.d/calls.conf", 0o644);
    guest.sh("systemctl daemon-reload");
    let within = |line: &str, time| guest.ssh_within(line, time).ok();
    within("systemctl start dsvm-agent && dsvm-agent wait --timeout 10m", Duration::from_secs(1500));
    let _ = guest.log_in("alice", "touch ~/notebooks/remote/new");
    guest.sh("useradd --create-home --shell /bin/bash dave");
    let _ = guest.log_in("dave", "true");
    within(&format!("sleep {}; dsvm-agent status --json", QUIET.as_secs()), QUIET * 2);
    Ok(String::from_utf8_lossy(&guest.get("/root/called")).into_owned())
}

/// By address, from what nm(1) says.
fn functions(said: &str) -> BTreeMap<u64, Function> {
    let mut all = BTreeMap::<u64, Function>::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, size, "t" | "T" | "w" | "W", name] = words[..] else { continue };
        let (Ok(address), Ok(size)) = (u64::from_str_radix(address, 16), u64::from_str_radix(size, 16)) else {
            continue;
        };
        let function = all.entry(address).or_insert(Function { size, names: Vec::new() });
        function.names.push(name.to_owned());
    }
    all
}

/// Who calls each, by what `calls` noted.
fn callers(called: &str) -> BTreeMap<u64, Callers> {
    let by = |who: &str| -> BTreeSet<u64> {
        let lines = called.lines().filter_map(|line| line.strip_prefix(who)?.strip_prefix(' '));
        lines.filter_map(|address| u64::from_str_radix(address, 16).ok()).collect()
    };
    let (launcher, main, helpers) = (by("launcher"), by("main"), by("helper"));
    let of = |address: &u64| match (launcher.contains(address), main.contains(address)) {
        (true, true) => Callers::Both,
        (true, false) => Callers::Launcher,
        (false, true) => Callers::Main,
        (false, false) => Callers::Helpers,
    };
    launcher.iter().chain(&main).chain(&helpers).map(|address| (*address, of(address))).collect()
}

/// The file that is kept.
fn text(functions: &BTreeMap<u64, Function>, callers: &BTreeMap<u64, Callers>) -> String {
    let called: Vec<(&Function, Callers)> =
        callers.iter().filter_map(|(address, callers)| Some((functions.get(address)?, *callers))).collect();
    let bytes: u64 = called.iter().map(|(function, _)| function.size).sum();
    let mut text = format!(
        "# The functions that the service calls, in the order in which they lie in the program. cargo xtask order recorded them.\n\
         # bytes: {bytes}\n"
    );
    let mut seen = BTreeSet::new();
    for (group, heading) in [
        (Callers::Helpers, "Helpers only."),
        (Callers::Launcher, "The launcher."),
        (Callers::Both, "The launcher and the main process."),
        (Callers::Main, "The main process."),
    ] {
        let names = called.iter().filter(|(_, callers)| *callers == group).flat_map(|(function, _)| &function.names);
        let names: BTreeSet<String> = names.map(|name| pattern(name)).filter(|name| !seen.contains(name)).collect();
        let _ = write!(text, "\n# {heading}\n");
        names.iter().for_each(|name| {
            let _ = writeln!(text, "{name}");
        });
        seen.extend(names);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_lies_by_who_calls_it() {
        let said = "0000000000000010 0000000000000008 t _RNvCsa1_3foo1a\n\
                    0000000000000010 0000000000000008 t _RNvCsa1_3foo1b\n\
                    0000000000000020 0000000000000004 T main\n\
                    0000000000000030 0000000000000002 t _RNvCsa1_3foo1c\n\
                    0000000000000040 0000000000000001 t never\n\
                    0000000000000050 0000000000000001 r none\n                 w weak\n";
        let called = "launcher 20\nmain 20\nmain 10\nhelper 10\nhelper 30\nhelper ff\n";
        let text = text(&functions(said), &callers(called));
        let lines: Vec<&str> = text.lines().skip(1).filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "# bytes: 14",
                "# Helpers only.",
                "_RNvCs*_3foo1c",
                "# The launcher.",
                "# The launcher and the main process.",
                "main",
                "# The main process.",
                "_RNvCs*_3foo1a",
                "_RNvCs*_3foo1b",
            ]
        );
    }
}

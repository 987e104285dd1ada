//! What `cloud-init/stock.yaml` runs at a first boot, with a mirror that fails in place of a network.

use cli::page::read;
use cli::{Outcome, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A machine that is about to install the package: programs of its own that write down what they are asked.
struct Machine(tempfile::TempDir);

impl Machine {
    /// `downloads` is what the downloader does, as a line of shell.
    fn new(downloads: &str) -> Self {
        let machine = Self(tempfile::tempdir().expect("a directory"));
        machine.program("apt-helper", &format!("echo try >>\"$LOG\"; {downloads}"));
        machine.program("apt-get", "echo \"apt-get $*\" >>\"$LOG\"");
        machine.program("dsvm-agent", "echo \"dsvm-agent $*\" >>\"$LOG\"");
        machine.program("sleep", "echo \"sleep $1\" >>\"$LOG\"");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, line: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{line}\n")).expect("a file");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// The commands of the user-data, with this machine's downloader, or the one that is named.
    fn boot(&self, url: &str, sum: &str, downloader: Option<&str>) -> Outcome {
        let user_data = read("cloud-init/stock.yaml");
        let script = user_data.split("  - |\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a script");
        let own = self.path("apt-helper");
        let script = script
            .replace("@PACKAGE_URL@", url)
            .replace("@PACKAGE_SHA256@", sum)
            .replace("/usr/lib/apt/apt-helper", downloader.unwrap_or(own.to_str().expect("text")))
            .replace("/run/dsvm-agent.deb", self.path("got.deb").to_str().expect("text"))
            .replace("APT::Sandbox::User=root", "APT::Sandbox::User=");
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        run(Command::new("sh").arg("-c").arg(script).env("PATH", path).env("LOG", self.path("log")))
    }

    fn log(&self) -> Vec<String> {
        fs::read_to_string(self.path("log")).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_mirror_that_comes_late_is_waited_for() {
    let machine = Machine::new("[ $(grep -c try \"$LOG\") -ge 3 ]");
    let outcome = machine.boot("https://h/x.deb", "00", None);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let log = machine.log();
    assert_eq!(log.iter().filter(|line| *line == "try").count(), 3, "{log:?}");
    let ends = log.iter().rev().take(2).map(|line| line.split(' ').next().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(ends, ["dsvm-agent", "apt-get"], "installed once, and the configuration checked: {log:?}");
    assert_eq!(log.iter().filter(|line| line.contains(" install ")).count(), 1, "{log:?}");
}

#[test]
fn a_mirror_that_never_comes_is_an_error_of_the_boot_that_says_so() {
    let machine = Machine::new("exit 100");
    let outcome = machine.boot("https://h/x.deb", "00", None);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("6 tries failed") && outcome.err.contains("https://h/x.deb"), "{outcome:?}");
    let log = machine.log();
    assert_eq!(log.iter().filter(|line| *line == "try").count(), 6, "{log:?}");
    let waited: u32 = log.iter().filter_map(|line| line.strip_prefix("sleep ")?.parse::<u32>().ok()).sum();
    assert_eq!(waited, 125, "about two minutes: {log:?}");
    assert!(!log.iter().any(|line| line.contains(" install ")), "{log:?}");
}

/// With the real downloader of apt.
#[test]
fn a_package_with_another_checksum_is_never_installed() {
    let machine = Machine::new("");
    fs::write(machine.path("served.deb"), "not what was asked for").expect("a file");
    let url = format!("file://{}", machine.path("served.deb").display());
    let right = run(Command::new("sha256sum").arg(machine.path("served.deb")));
    let right = right.out.split(' ').next().expect("a sum").to_owned();
    let helper = Some("/usr/lib/apt/apt-helper");
    let outcome = machine.boot(&url, &right.replace(|c: char| c.is_ascii_hexdigit(), "0"), helper);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(!machine.path("got.deb").exists());
    assert!(!machine.log().iter().any(|line| line.contains(" install ")), "{:?}", machine.log());
    let outcome = machine.boot(&url, &right, helper);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(machine.log().iter().any(|line| line.contains(" install ")));
}

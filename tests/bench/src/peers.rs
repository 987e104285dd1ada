//! What others of its kind cost while nothing happens: agents of clouds, an exporter of metrics, and a service that
//! suspends idle machines, as Debian packages them, in the same guest and the same minutes.

use crate::idle::sample;
use crate::place::SCRIPTS;
use crate::table::{Row, Unit};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use vm::Guest;

/// Packages and their services.
const PEERS: [(&str, &str); 4] = [
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("google-guest-agent", "google-guest-agent"),
    ("autosuspend", "autosuspend"),
    ("waagent", "walinuxagent"),
];
/// autosuspend takes no file without a check. These are the ones of its documentation that resemble the agent's own.
const AUTOSUSPEND: &str = "[general]\ninterval = 30\nidle_time = 900\nsuspend_cmd = /bin/true\nwakeup_cmd = /bin/true\n\
    [check.Users]\nclass = Users\nenabled = true\nname = .*\nterminal = .*\nhost = .*\n\
    [check.Load]\nclass = Load\nenabled = true\nthreshold = 0.7\n\
    [check.Connections]\nclass = ActiveConnection\nenabled = true\nports = 22\n";

/// Memory, CPU time and wake-ups of the agent in `time`, beside each of them. `archive`: where Debian's packages are.
pub fn measure(guest: &Guest, archive: &str, time: Duration) -> Vec<Row> {
    install(guest, archive);
    let units: Vec<&str> = PEERS.iter().map(|(_, unit)| *unit).filter(|unit| runs(guest, unit)).collect();
    let of = |key: &str| units.iter().map(|unit| (format!("{unit} {key}"), *unit)).collect::<Vec<_>>();
    let look = || sample(&guest.sh(&format!("{SCRIPTS}/sample dsvm-agent {}", units.join(" "))));
    let before = look();
    guest.ssh_within(&format!("sleep {}", time.as_secs()), time + Duration::from_secs(120)).ok();
    let after = look();
    let passed = after["all uptime"] - before["all uptime"];
    let mut rows = Vec::new();
    for (what, key, unit) in
        [("memory, proportional", "pss_kib", Unit::Kibibytes), ("memory, unique", "uss_kib", Unit::Kibibytes)]
    {
        let ours = after[&format!("dsvm-agent {key}")];
        rows.extend(of(key).iter().map(|(theirs, whose)| Row::beside(what, unit, ours, whose, after[theirs])));
    }
    for (what, key, unit, per) in
        [("CPU an hour", "cpu_s", Unit::Seconds, 3600.0), ("wake-ups a minute", "switches", Unit::Times, 60.0)]
    {
        let used = |key: &str| (after[key] - before[key]) / passed * per;
        let ours = used(&format!("dsvm-agent {key}"));
        rows.extend(of(key).iter().map(|(theirs, whose)| Row::beside(what, unit, ours, whose, used(theirs))));
    }
    guest.ssh(&format!("systemctl disable --now {}", units.join(" ")));
    rows
}

/// What does not stay on such a machine has no figures.
fn runs(guest: &Guest, unit: &str) -> bool {
    let runs = guest.ssh(&format!("systemctl is-active {unit}")).success();
    if !runs {
        eprintln!("bench: {unit} does not run here: {}", guest.ssh(&format!("systemctl status {unit}")).stdout);
    }
    runs
}

/// The guest reaches nothing outside: what it lacks is fetched for it, by its own list of what is installed.
fn install(guest: &Guest, archive: &str) {
    let place = std::env::temp_dir().join(format!("bench-peers-{}", std::process::id()));
    let suite = guest.sh("sed -n 's/^VERSION_CODENAME=//p' /etc/os-release");
    for directory in ["lists/partial", "archives/partial"] {
        std::fs::create_dir_all(place.join(directory)).expect("a directory");
    }
    std::fs::write(place.join("status"), guest.get("/var/lib/dpkg/status")).expect("it can be written");
    let trusted = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
    std::fs::write(place.join("sources.list"), format!("deb [{trusted}] {archive} {suite} main\n")).expect("the same");
    apt(&place, &["update"]);
    let names = PEERS.map(|(package, _)| package);
    apt(&place, &[&["install", "--yes", "--no-install-recommends", "--download-only"], &names[..]].concat());
    let packages: Vec<PathBuf> = std::fs::read_dir(place.join("archives"))
        .expect("it is there")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "deb"))
        .collect();
    for path in &packages {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        guest.put(std::fs::read(path).expect("a package"), &format!("/root/peers/{name}"), 0o644);
    }
    std::fs::remove_dir_all(&place).expect("it is ours");
    guest.put(AUTOSUSPEND, "/etc/autosuspend.conf", 0o644);
    let quiet = "DEBIAN_FRONTEND=noninteractive dpkg --force-confold --install /root/peers/*.deb && rm -r /root/peers";
    guest.ssh_within(quiet, Duration::from_secs(900)).ok();
    // Azure's own agent runs where the firmware is Microsoft's. Here nobody answers it, which it asks about for ever.
    guest.put("[Unit]\nConditionVirtualization=\n", "/etc/systemd/system/walinuxagent.service.d/here.conf", 0o644);
    guest.sh("systemctl daemon-reload");
    for (_, unit) in PEERS {
        guest.ssh(&format!("systemctl restart {unit}"));
    }
}

/// apt with everything of its own in one directory.
fn apt(place: &Path, arguments: &[&str]) {
    let set = |key: &str, name: &str| format!("{key}={}", place.join(name).display());
    let mut apt = Command::new("apt-get");
    for option in [
        set("Dir::State::status", "status"),
        set("Dir::State::lists", "lists"),
        set("Dir::Cache::archives", "archives"),
        set("Dir::Cache", "cache"),
        set("Dir::Etc::sourcelist", "sources.list"),
        set("Dir::Etc::sourceparts", "none"),
        set("Dir::Etc::preferencesparts", "none"),
        "APT::Get::List-Cleanup=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Debug::NoLocking=true".to_owned(),
    ] {
        apt.arg("-o").arg(option);
    }
    let output = apt.arg("-q").args(arguments).output().expect("apt-get");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

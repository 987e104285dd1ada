//! What others of its kind cost while nothing happens: agents of clouds, an exporter of metrics, and a service that
//! suspends idle machines, as Debian packages them, in the same guest and the same minutes.

use crate::idle::sample;
use crate::packages;
use crate::place::SCRIPTS;
use crate::table::{Row, Unit};
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
pub fn measure(guest: &Guest, archive: Option<&str>, time: Duration) -> Vec<Row> {
    if let Err(why) = install(guest, archive) {
        eprintln!("bench: the peers are left out: {why}");
        return Vec::new();
    }
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

/// Installs all of them, set up as they run on such a machine. An error says in words what is missing.
fn install(guest: &Guest, archive: Option<&str>) -> Result<(), String> {
    guest.put(AUTOSUSPEND, "/etc/autosuspend.conf", 0o644);
    packages::install(guest, archive, &PEERS.map(|(package, _)| package))?;
    // Azure's own agent runs where the firmware is Microsoft's. Here nobody answers it, which it asks about for ever.
    guest.put("[Unit]\nConditionVirtualization=\n", "/etc/systemd/system/walinuxagent.service.d/here.conf", 0o644);
    guest.sh("systemctl daemon-reload");
    for (_, unit) in PEERS {
        guest.ssh(&format!("systemctl restart {unit}"));
    }
    Ok(())
}

//! From `systemctl start` to notebooks that are there, against the steps of the script that the agent replaces.

use crate::place::{Mounts, SCRIPTS, configure};
use crate::table::{Row, Unit, median};
use std::time::Duration;
use vm::{FileServer, Guest, USERS};

/// A way to get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Agent(Mounts),
    SharedMount,
    UserMounts,
}

const WAYS: [Way; 4] = [Way::Agent(Mounts::OnPresence), Way::SharedMount, Way::Agent(Mounts::Always), Way::UserMounts];

/// Measures all ways in turn, each from nothing: no mount, no link, and no directory on the share. The agent is left
/// running, as it does by default.
pub fn measure(guest: &Guest, server: &FileServer, rounds: u32) -> Vec<Row> {
    // Modules, name services and caches: the first time is everybody's own.
    for way in WAYS {
        once(guest, server, way);
    }
    let mut samples = vec![Vec::new(); WAYS.len()];
    for _ in 0..rounds {
        for (way, samples) in WAYS.iter().zip(&mut samples) {
            samples.push(once(guest, server, *way));
        }
    }
    once(guest, server, WAYS[0]);
    eprintln!("bench: {WAYS:?}: {samples:.0?}");
    let [links, shared, always, users] = [0, 1, 2, 3].map(|way: usize| median(&samples[way]));
    vec![
        Row::beside(
            "start, 3 users linked",
            Unit::Milliseconds,
            links,
            "old steps: one mount.cifs for all, mkdir, ln",
            shared,
        ),
        Row::beside(
            "start, 3 users linked and mounted",
            Unit::Milliseconds,
            always,
            "mkdir, a mount.cifs for each user, ln",
            users,
        ),
    ]
}

/// Milliseconds that one way takes.
fn once(guest: &Guest, server: &FileServer, way: Way) -> f64 {
    let unit = match way {
        Way::Agent(mounts) => {
            configure(guest, mounts);
            "dsvm-agent"
        }
        Way::SharedMount => "shared-mount",
        Way::UserMounts => "user-mounts",
    };
    guest.sh(&format!("{SCRIPTS}/start clear"));
    server.sh("rm -rf /srv/share/notebooks");
    let micros = guest.ssh_within(&format!("{SCRIPTS}/start {unit}"), Duration::from_secs(300)).ok();
    assert_eq!(server.list("notebooks"), USERS, "{way:?} made something else");
    let mounted: usize = guest.sh("grep -c ' cifs ' /proc/mounts").parse().expect("a number");
    assert_eq!(
        mounted,
        if matches!(way, Way::Agent(Mounts::OnPresence) | Way::SharedMount) { 1 } else { 4 },
        "{way:?}"
    );
    micros.parse::<f64>().expect("a number") / 1000.0
}

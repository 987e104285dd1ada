//! From `systemctl start` to notebooks that are there, for few and many people, against the steps of the script that the
//! agent replaces, and against what else mounts directories for people: autofs and pam_mount, as Debian packages them.
//!
//! Nobody is logged in. "Linked" is the agent's default then: the share is mounted and everybody has their directory and
//! link, as the old script has it. "Mounted" stands for everybody being here (`mount = "always"`): each has a mount of
//! their own besides, as autofs and pam_mount have it, which make neither directories nor links.

use crate::packages;
use crate::place::{self, Mounts, SCRIPTS, configure};
use crate::table::{Row, Unit, median};
use std::time::Duration;
use vm::server::ACCOUNT;
use vm::{FileServer, Guest};

/// Whom the guest has anyway: they are nobody's people here.
const OTHERS: &str = "[workspace]\nexclude = [\"debian\", \"alice\", \"bob\", \"carol\"]\n";
const DROP_IN: &str = "/etc/dsvm-agent/agent.d/50-others.toml";
/// One way takes so long at most, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// A way to get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Agent(Mounts),
    SharedMount,
    OldScript,
    UserMounts,
    Autofs,
    PamMount,
}

/// Ours and theirs, and what theirs is.
const PAIRS: [(Mounts, Way, &str); 5] = [
    (Mounts::OnPresence, Way::SharedMount, "old steps: one mount.cifs for all, mkdir and ln for each"),
    (Mounts::OnPresence, Way::OldScript, "the old script, run for each in turn; directories made before"),
    (Mounts::Always, Way::UserMounts, "mkdir, a mount.cifs and ln for each in turn"),
    (Mounts::Always, Way::Autofs, "autofs, until each in turn listed theirs; no links, directories made before"),
    (Mounts::Always, Way::PamMount, "pam_mount, what it adds to a session of each in turn; as autofs"),
];

impl Way {
    /// All that `there` says yes to.
    fn all(there: impl Fn(Self) -> bool) -> Vec<Self> {
        let ours = [Mounts::OnPresence, Mounts::Always].map(Self::Agent).into_iter();
        ours.chain(PAIRS.iter().map(|(_, theirs, _)| *theirs)).filter(|way| there(*way)).collect()
    }

    /// What is to be installed for it.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Autofs => &["autofs"],
            // The other one has what it counts sessions with: Debian recommends it.
            Self::PamMount => &["libpam-mount", "libpam-mount-bin"],
            Self::Agent(_) | Self::SharedMount | Self::OldScript | Self::UserMounts => &[],
        }
    }

    /// Whether it makes people's directories on the share.
    fn makes_directories(self) -> bool {
        matches!(self, Self::Agent(_) | Self::SharedMount | Self::UserMounts)
    }

    /// How many mounts of the share it leaves, with so many people.
    fn mounts(self, people: u32) -> u32 {
        match self {
            Self::Agent(Mounts::OnPresence) | Self::SharedMount | Self::OldScript => 1,
            Self::Agent(Mounts::Always) | Self::UserMounts => people + 1,
            Self::Autofs => people,
            // They go with the sessions.
            Self::PamMount => 0,
        }
    }
}

/// Measures all ways in turn, each from nothing: no mount, no link, and no directory on the share but where it makes none
/// itself. The agent is left running, as it does by default. `archive`: where Debian's packages are. `served`: so many
/// people there are, and how often each way is measured for them.
pub fn measure(guest: &Guest, server: &FileServer, archive: Option<&str>, served: (&[u32], u32)) -> Vec<Row> {
    let (crowds, rounds) = served;
    let ways = Way::all(|way| is_there(guest, archive, way));
    // Only when it is measured, and in no log-in of the rest of the run.
    guest.ssh("systemctl disable --now autofs; pam-auth-update --package --remove libpam-mount");
    guest.put(OTHERS, DROP_IN, 0o644);
    let mut rows = Vec::new();
    for (i, people) in crowds.iter().copied().enumerate() {
        guest.ssh_within(&format!("{SCRIPTS}/members {people}"), PATIENCE).ok();
        if i == 0 {
            // Modules, name services and caches: the first time is everybody's own.
            for way in &ways {
                once(guest, server, *way, people);
            }
        }
        let mut samples = vec![Vec::new(); ways.len()];
        for _ in 0..rounds {
            for (way, samples) in ways.iter().zip(&mut samples) {
                samples.push(once(guest, server, *way, people));
            }
        }
        let medians: Vec<(Way, f64)> =
            ways.iter().zip(&samples).map(|(way, samples)| (*way, median(samples))).collect();
        rows.extend(table(people, &medians));
    }
    clear(guest, server);
    guest.ssh_within(&format!("{SCRIPTS}/members gone"), PATIENCE).ok();
    guest.sh(&format!("rm {DROP_IN}"));
    place::serve(guest);
    rows
}

/// What cannot be installed is left out.
fn is_there(guest: &Guest, archive: Option<&str>, way: Way) -> bool {
    let names = way.packages();
    let installed = if names.is_empty() { Ok(()) } else { packages::install(guest, archive, names) };
    installed.inspect_err(|why| eprintln!("bench: {way:?} is left out: {why}")).is_ok()
}

/// The rows for so many people, from the seconds that each way took.
fn table(people: u32, medians: &[(Way, f64)]) -> Vec<Row> {
    let of = |way: Way| medians.iter().find(|(other, _)| *other == way).map(|(_, median)| *median);
    let row = |(mounts, theirs, whose): &(Mounts, Way, &str)| {
        let done = if *mounts == Mounts::Always { "linked and mounted" } else { "linked" };
        let s = if people == 1 { "" } else { "s" };
        let what = format!("start to ready, {people} user{s} {done}");
        Some(Row::beside(&what, Unit::Seconds, of(Way::Agent(*mounts))?, whose, of(*theirs)?))
    };
    PAIRS.iter().filter_map(row).collect()
}

/// Removes what any way made.
fn clear(guest: &Guest, server: &FileServer) {
    guest.ssh_within(&format!("{SCRIPTS}/start clear"), PATIENCE).ok();
    server.sh("rm -rf /srv/share/notebooks");
}

/// Seconds that one way takes.
fn once(guest: &Guest, server: &FileServer, way: Way, people: u32) -> f64 {
    clear(guest, server);
    let listed = guest.sh(&format!("LC_ALL=C sort {SCRIPTS}/people"));
    let names: Vec<&str> = listed.lines().collect();
    if !way.makes_directories() {
        let make = format!("install -d -o {ACCOUNT} -g {ACCOUNT}");
        let all = names.join(" ");
        server.sh(&format!("set -e; cd /srv/share; {make} notebooks; cd notebooks; {make} {all}"));
        guest.sh(&format!("{SCRIPTS}/start homes"));
    }
    if let Way::Agent(mounts) = way {
        configure(guest, mounts);
    }
    let run = |what: &str| {
        let micros = guest.ssh_within(&format!("{SCRIPTS}/{what}"), PATIENCE).ok();
        micros.parse::<f64>().unwrap_or_else(|_| panic!("{way:?}: no number: {micros}")) / 1e6
    };
    let start = |unit: &str| run(&format!("start {unit} {}", way.mounts(people)));
    let took = match way {
        Way::Agent(_) => start("dsvm-agent"),
        Way::SharedMount => start("shared-mount"),
        Way::OldScript => start("old-script"),
        Way::UserMounts => start("user-mounts"),
        Way::Autofs => run("others autofs"),
        Way::PamMount => {
            let plain = run("others sessions");
            run("others sessions pam_mount") - plain
        }
    };
    assert_eq!(server.list("notebooks"), names, "{way:?} made something else");
    // Grep is content with nothing only if it is told so.
    let mounted: u32 = guest.sh("grep -c ' cifs ' /proc/mounts || true").parse().expect("a number");
    assert_eq!(mounted, way.mounts(people), "{way:?}");
    // All of it takes long.
    eprintln!("bench: {people} people, {way:?}: {took:.2} s");
    took
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_has_no_row() {
        for (missing, theirs) in
            [(&[][..], 5), (&[Way::Autofs][..], 4), (&[Way::PamMount][..], 4), (&[Way::Autofs, Way::PamMount][..], 3)]
        {
            let ways = Way::all(|way| !missing.contains(&way));
            let rows = table(10, &ways.iter().map(|way| (*way, 1.0)).collect::<Vec<_>>());
            assert_eq!((ways.len(), rows.len()), (theirs + 2, theirs), "{missing:?}");
        }
    }

    #[test]
    fn like_stands_beside_like() {
        let medians = [
            (Way::Agent(Mounts::OnPresence), 1.0),
            (Way::Agent(Mounts::Always), 2.0),
            (Way::OldScript, 3.0),
            (Way::Autofs, 4.0),
        ];
        for (people, expected) in [
            (1, [("start to ready, 1 user linked", 1.0, 3.0), ("start to ready, 1 user linked and mounted", 2.0, 4.0)]),
            (
                100,
                [
                    ("start to ready, 100 users linked", 1.0, 3.0),
                    ("start to ready, 100 users linked and mounted", 2.0, 4.0),
                ],
            ),
        ] {
            let rows = table(people, &medians);
            let seen: Vec<(&str, f64, f64)> =
                rows.iter().map(|r| (r.what.as_str(), r.ours, r.theirs.as_ref().map_or(0.0, |t| t.1))).collect();
            assert_eq!(seen, expected);
        }
    }
}

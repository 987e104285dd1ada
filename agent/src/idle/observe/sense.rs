//! What only a worker looks at, since it may block: a bus, a server, a driver, a command line of a user's. Each look is
//! one job with a deadline; what does not come back in time cannot be told, and that is never taken for quiet.

use super::{Roots, due, gpu, inhibitors, jupyter, programs, unsaved};
use crate::config::settings::Idle as Settings;
use crate::idle::limits;
use crate::idle::model::{Seen, Source};
use crate::sys::{clock, mountinfo, sockets};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sense {
    /// systemd's inhibitors.
    Inhibitors,
    /// What programs have to do with other machines and with files, and jobs that are due.
    Programs,
    /// What has not reached the share yet.
    Unsaved,
    /// GPUs.
    Gpu,
    /// Users' Jupyter servers. Nobody who looks may become anybody: see `worker::jupyter`.
    Jupyter,
    /// JupyterHub. Whoever looks must have its token first: see [`super::hub`].
    Hub,
}

/// Nobody, and what a number of 16 bits has in place of no number (systemd, "Users, Groups, UIDs and GIDs").
const NOBODY: std::ops::RangeInclusive<u32> = 65534..=65535;
/// What systemd gives to services for as long as they run (systemd.exec(5), `DynamicUser=`).
const DYNAMIC: std::ops::RangeInclusive<u32> = 61184..=65519;

/// Whether a user id is a person's, where those of ordinary users begin at `lowest`; root is none.
///
/// There is no end to them. Directory services give out numbers of ten digits, and whose they are nobody may be able to
/// say just then, or nobody is served here. What runs in a user namespace has such numbers, too, and is somebody's.
pub fn is_person(lowest: u32, uid: u32) -> bool {
    uid != 0 && uid >= lowest && !NOBODY.contains(&uid)
}

/// Whose use counts, as data for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Humans {
    /// The smallest id of ordinary users.
    pub from: u32,
    /// The largest that this machine gives out. Directory services give out larger ones.
    pub to: u32,
    /// Users with other ids, as far as they are known.
    pub others: Vec<u32>,
}

impl Humans {
    /// Whether a user id is a person's; root is none.
    pub fn has(&self, uid: u32) -> bool {
        is_person(self.from, uid)
    }

    /// Whether what has this user id may be trusted as a service of the system's. A number of those that systemd gives to
    /// services counts as a person's where use is looked for, and may well be a service's.
    pub fn may_be_service(&self, uid: u32) -> bool {
        let given = || DYNAMIC.contains(&uid) && uid > self.to && !self.others.contains(&uid);
        !self.has(uid) || given()
    }
}

impl Sense {
    /// All of them.
    pub const ALL: [Sense; 6] =
        [Sense::Inhibitors, Sense::Programs, Sense::Unsaved, Sense::Gpu, Sense::Jupyter, Sense::Hub];

    /// Its name, for whoever lists processes: letters only.
    pub fn name(self) -> &'static str {
        match self {
            Sense::Inhibitors => "inhibitors",
            Sense::Programs => "programs",
            Sense::Unsaved => "unsaved",
            Sense::Gpu => "gpu",
            Sense::Jupyter => "jupyter",
            Sense::Hub => "hub",
        }
    }

    /// What it tells of. When it fails, all of these cannot be told.
    pub fn sources(self) -> &'static [Source] {
        match self {
            Sense::Inhibitors => &[Source::Inhibitor],
            Sense::Programs => {
                &[Source::Remote, Source::Io, Source::Network, Source::Program, Source::Kernels, Source::Due]
            }
            Sense::Unsaved => &[Source::Unsaved],
            Sense::Gpu => &[Source::Gpu, Source::GpuMemory],
            Sense::Jupyter => &[Source::Kernel, Source::Notebook],
            Sense::Hub => &[Source::Hub],
        }
    }

    /// Whether there is anything to look at by these settings.
    pub fn is_wanted(self, settings: &Settings) -> bool {
        match self {
            Sense::Inhibitors | Sense::Programs | Sense::Unsaved | Sense::Gpu | Sense::Jupyter => true,
            Sense::Hub => settings.jupyterhub.is_some(),
        }
    }

    /// How long it may take.
    pub fn deadline(self) -> Duration {
        match self {
            Sense::Inhibitors | Sense::Unsaved => Duration::from_secs(10),
            // Loading a driver's library and waking its GPU up takes seconds.
            Sense::Programs | Sense::Gpu => Duration::from_secs(20),
            // Some users after others.
            Sense::Jupyter => jupyter::EVERYBODY,
            // Some pages, the last of which may be the one that does not come.
            Sense::Hub => Duration::from_secs(30),
        }
    }
}

/// Looks, in a worker.
pub fn look(sense: Sense, settings: &Settings, humans: &Humans) -> BTreeMap<Source, Seen> {
    let (roots, counts) = (Roots::default(), |uid| humans.has(uid));
    match sense {
        Sense::Inhibitors => [(Source::Inhibitor, inhibitors::look(&roots, &counts))].into(),
        Sense::Programs => {
            // The agent's other workers work in users' names, and are nobody.
            let launcher = rustix::process::getppid().map(|p| p.as_raw_nonzero().get());
            let now = clock::boottime().as_secs_f64();
            let young = limits::young_connection(&settings.tuning);
            let mut seen = programs::look(&roots, &counts, launcher, sockets::traffic(), (now, young));
            seen.insert(Source::Due, due::look(&roots, &counts));
            seen
        }
        // They are looked at by whoever can: here it cannot be told.
        Sense::Jupyter | Sense::Hub => {
            sense.sources().iter().map(|s| (*s, Seen::Unreadable("nobody asked".to_owned()))).collect()
        }
        Sense::Gpu => gpu::look(&roots, &counts, settings.tuning.window),
        Sense::Unsaved => {
            let mounts = mountinfo::text().ok().and_then(|text| mountinfo::whole(&text).ok());
            let seen = mounts.map_or_else(
                || Seen::Unreadable("the list of mounts".to_owned()),
                |mounts| unsaved::look(&roots, &mounts),
            );
            [(Source::Unsaved, seen)].into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_look_has_its_own_sources() {
        let mut all: Vec<Source> = Sense::ALL.iter().flat_map(|s| s.sources()).copied().collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_a_worker_looks_at_is_waited_for_from_window_to_window() {
        use crate::idle::limits::{Every, table};
        let table = table(&Settings::default().tuning);
        for source in Sense::ALL.iter().flat_map(|s| s.sources()) {
            let limit = table.iter().find(|l| l.source == *source).unwrap();
            assert_eq!(limit.every, Every::Window, "{source:?}: it would be unknown whenever a look is due");
        }
    }

    #[test]
    fn everybody_but_the_system_is_a_person_and_whoever_is_none_may_be_a_service() {
        let humans = Humans { from: 1000, to: 60000, others: vec![0, 62_000] };
        for (uid, person, service) in [
            (0, false, true),
            (33, false, true),
            (999, false, true),
            (1000, true, false),
            (60_000, true, false),
            // systemd's own homes, and what no machine gives out.
            (60_001, true, false),
            (61_183, true, false),
            // Services of systemd's with a number for as long as they run; one of them is known to be somebody's.
            (61_184, true, true),
            (62_000, true, false),
            (65_519, true, true),
            (65_520, true, false),
            (65_534, false, true),
            (65_535, false, true),
            (65_536, true, false),
            // In a user namespace.
            (100_000, true, false),
            (165_536, true, false),
            // Of a directory service, whose users nobody named.
            (812_000, true, false),
            (1_412_001_103, true, false),
        ] {
            assert_eq!((humans.has(uid), humans.may_be_service(uid)), (person, service), "{uid}");
        }
        let wide = Humans { to: 70_000, ..humans };
        assert!(!wide.may_be_service(61_184), "this machine gives that to people");
        assert!(!is_person(0, 0), "whatever login.defs says");
    }
}

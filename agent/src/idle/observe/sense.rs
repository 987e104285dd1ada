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
    /// What programs have to do with other machines, and jobs that are due.
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

/// Whose use counts, as data for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Humans {
    /// The smallest id of ordinary users.
    pub from: u32,
    /// The largest.
    pub to: u32,
    /// Users with other ids.
    pub others: Vec<u32>,
}

impl Humans {
    /// Whether a user id is a person's; root is none.
    pub fn has(&self, uid: u32) -> bool {
        uid != 0 && ((self.from..=self.to).contains(&uid) || self.others.contains(&uid))
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
            Sense::Programs => &[Source::Remote, Source::Network, Source::Program, Source::Kernels, Source::Due],
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
    fn root_is_nobody_and_others_count() {
        let humans = Humans { from: 1000, to: 60000, others: vec![0, 812_000] };
        let counted: Vec<u32> = [0, 33, 1000, 60000, 60001, 812_000].into_iter().filter(|u| humans.has(*u)).collect();
        assert_eq!(counted, [1000, 60000, 812_000]);
    }
}

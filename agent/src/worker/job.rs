//! The fixed list of jobs, what each may do, and its deadline.

use crate::idle::model::{Seen, Source};
use crate::idle::observe::jupyter::{self, OfUser};
use crate::idle::observe::sense::{Humans, Sense};
use crate::pool::model::{Gathered, Row};
use crate::scale_set;
use crate::share::doctor::{Examine, Examined};
use crate::share::model::{Failure, FileMark, Probe, Rekeyed};
use crate::sys::terminals::Terminal;
use crate::workspace::act::Wanted;
use crate::workspace::identities::{Shown, Task};
use crate::workspace::import::{Event, Outcome};
use crate::workspace::model::{Directory, Found, Link, Person};
use crate::workspace::rescue::last::Last;
use crate::workspace::rescue::{self, Rescued, Surveyed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long the share may take to give a sign of life.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// The longest that writing out what waits may take, in seconds.
const LONGEST_FLUSH: u64 = 120;

/// One job. Where a job needs the configuration or a secret, the worker reads it itself from root's files: nobody who
/// asks for a job can point it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// Ask the name services for the agent's own user.
    Identity {
        /// Its name.
        name: String,
    },
    /// Keep the configuration for as long as its files have a mistake: see [`crate::config::keep`].
    KeepSettings,
    /// Ask the name services for everybody in a range of ids, and for some names.
    Accounts {
        /// Smallest id.
        from: u32,
        /// Largest id; below the smallest: nobody but who is named.
        to: u32,
        /// These too, although nothing may enumerate them.
        names: Vec<String>,
    },
    /// Find the server's address and connect once.
    Reach {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Lay the guard.
    LayGuard,
    /// Make mount points in the guard.
    MountPoints {
        /// Relative to it.
        directories: Vec<String>,
    },
    /// Mount the share's root.
    MountRoot {
        /// The server's address.
        address: Option<IpAddr>,
    },
    /// Ask the share for a sign of life.
    Probe,
    /// Unmount the share's root.
    UnmountRoot,
    /// Close dead connections to the server.
    Heal {
        /// Where the server is now.
        address: Option<IpAddr>,
        /// All of them.
        all: bool,
    },
    /// Mount the share for a trial, where nobody sees it.
    Trial {
        /// Where the server is now.
        address: Option<IpAddr>,
    },
    /// Give the present keys to what is mounted.
    Rekey {
        /// Although they are the same as before.
        force: bool,
        /// What the credentials' file was like when this was decided: for whoever asks.
        file: Option<FileMark>,
    },
    /// Look at, or make, directories on the share.
    Directories {
        /// Whose.
        wanted: Vec<Wanted>,
        /// Make those that are missing.
        make: bool,
    },
    /// Mount a user's directory.
    Attach {
        /// Whose.
        wanted: Wanted,
        /// The server's address.
        address: Option<IpAddr>,
    },
    /// Mount the whole share for everybody.
    ShowAll {
        /// The server's address.
        address: Option<IpAddr>,
    },
    /// Unmount the whole share, which everybody saw.
    HideAll,
    /// Unmount a user's directory.
    Detach {
        /// Relative to the mount point.
        directory: String,
    },
    /// Show or change who is who on the share, for an administrator at a terminal. The launcher starts no such worker:
    /// the main process has no business with it.
    Ledger {
        /// What.
        task: Task,
        /// Who asks, in words.
        by: String,
    },
    /// Make a user's directory on the share as that user.
    OwnDirectory {
        /// Who.
        person: Person,
        /// The directory, and whose it is to be.
        wanted: Wanted,
    },
    /// Unmount what is left of an earlier mount point, as far as nobody uses it.
    TakeDown {
        /// Where it was.
        at: PathBuf,
    },
    /// Read further ahead from file systems.
    ReadAhead {
        /// Their numbers, as in mountinfo.
        devices: Vec<String>,
    },
    /// Copy what lies where the link belongs to the share: [`crate::workspace::import`]. For somebody at a terminal; the
    /// launcher starts no such worker. It takes as long as it takes, and says how far it is, a line for each answer.
    Import {
        /// Whose.
        person: Box<Person>,
        /// Their directory, relative to the mount point.
        directory: String,
        /// Place everything in this new directory.
        into: Option<String>,
        /// Only look.
        dry_run: bool,
    },
    /// Look at, or make, the link in a home.
    Link {
        /// Whose.
        person: Person,
        /// Their directory, relative to the mount point.
        directory: String,
        /// Make it when nothing is there.
        make: bool,
    },
    /// See what of a user's files is on this VM only: [`crate::workspace::rescue`].
    Survey {
        /// Whose.
        person: Person,
        /// Their directory, relative to the mount point.
        directory: String,
    },
    /// Copy what of a user's files is on this VM only, and small enough, to their directory on the share, which must be
    /// mounted. It may be done again: then it goes on, and copies nothing twice.
    Rescue {
        /// Whose.
        person: Person,
        /// Their directory, relative to the mount point.
        directory: String,
        /// The new directory below `rescued/` in it: one plain name that begins with the day, such as
        /// `2026-03-04-dsvmpool_3`.
        into: String,
        /// So many bytes at most, in all runs for this directory together.
        limit: u64,
    },
    /// See what was rescued for a user when an earlier VM went. Their directory must be mounted.
    LastTime {
        /// Whose.
        person: Person,
        /// Their directory, relative to the mount point.
        directory: String,
    },
    /// Fetch the key from Key Vault.
    FetchKeys,
    /// Look at one thing for the doctor.
    Examine {
        /// At what.
        what: Examine,
    },
    /// Ask something of Azure.
    ScaleSet(Box<scale_set::act::Ask>),
    /// Look for use of the VM where that may block.
    Sense {
        /// At what.
        sense: Sense,
        /// Whose use counts.
        humans: Humans,
    },
    /// Ask a user's own Jupyter servers. Whoever looks at everybody's starts it (`worker::jupyter`); the launcher starts
    /// no such worker.
    Jupyter {
        /// Whose; the home is not looked at.
        person: Person,
    },
    /// Write this VM's row for the others of the pool.
    Row {
        /// The row, without its marks.
        row: Box<Row>,
        /// The directories of those who are here.
        present: Vec<String>,
        /// A name that this VM had before.
        before: Option<String>,
        /// Remove what nobody renewed for long, too.
        sweep: bool,
    },
    /// Read the rows of all VMs.
    Rows,
    /// Write the metrics where the configuration says.
    Textfile {
        /// The whole text.
        text: String,
    },
    /// Write what waits to be written to a user's directory on the share.
    Flush {
        /// Whose.
        person: Person,
        /// Their directory, relative to the mount point.
        directory: String,
        /// It is not waited for any longer, in seconds.
        within: u64,
    },
    /// Refuse log-ins but root's, or let people log in again.
    LogIns {
        /// Why they are refused.
        refuse: Option<String>,
    },
    /// Write on people's terminals.
    Tell {
        /// On which.
        terminals: Vec<Terminal>,
        /// What.
        text: String,
    },
}

impl Job {
    /// What only one worker at a time may touch. Two jobs of one target are never under way together.
    pub fn target(&self) -> String {
        match self {
            Job::Identity { .. } | Job::Accounts { .. } => "accounts".to_owned(),
            Job::KeepSettings => "settings".to_owned(),
            Job::Reach { .. } => "server".to_owned(),
            Job::LayGuard | Job::MountPoints { .. } => "guard".to_owned(),
            Job::MountRoot { .. } | Job::UnmountRoot => "root".to_owned(),
            Job::Heal { .. } => "connections".to_owned(),
            Job::Trial { .. } => "trial".to_owned(),
            Job::Rekey { .. } => "keys".to_owned(),
            Job::Probe => "probe".to_owned(),
            Job::Directories { .. } | Job::Ledger { .. } => "directories".to_owned(),
            Job::Attach { wanted, .. } => format!("mount:{}", wanted.directory),
            Job::Detach { directory } => format!("mount:{directory}"),
            Job::ShowAll { .. } | Job::HideAll => "mount:".to_owned(),
            Job::OwnDirectory { wanted, .. } => format!("own:{}", wanted.directory),
            Job::TakeDown { .. } => "old".to_owned(),
            Job::ReadAhead { .. } => "read-ahead".to_owned(),
            Job::Link { person, .. } => format!("home:{}", person.uid()),
            Job::Survey { person, .. } => format!("home:{}", person.uid()),
            // Not "home": a look at a home that is under way must not put off the last thing that is done for its owner.
            Job::Rescue { person, .. } => format!("rescue:{}", person.uid()),
            Job::LastTime { directory, .. } => format!("last:{directory}"),
            Job::FetchKeys => "vault".to_owned(),
            Job::Import { person, .. } => format!("home:{}", person.uid()),
            Job::Examine { .. } => "doctor".to_owned(),
            Job::ScaleSet(ask) => format!("scale-set:{}", ask.name()),
            Job::Sense { sense, .. } => format!("sense:{}", sense.name()),
            Job::Jupyter { person } => format!("jupyter:{}", person.uid()),
            Job::Row { .. } => "row".to_owned(),
            Job::Rows => "rows".to_owned(),
            Job::Textfile { .. } => "textfile".to_owned(),
            Job::Tell { .. } => "terminals".to_owned(),
            Job::Flush { directory, .. } => format!("flush:{directory}"),
            Job::LogIns { .. } => "log-ins".to_owned(),
        }
    }

    /// Whether it leaves a mount behind, for which systemd has to have a job when the machine goes down.
    pub fn mounts(&self) -> bool {
        matches!(self, Job::LayGuard | Job::MountRoot { .. } | Job::Attach { .. } | Job::ShowAll { .. })
    }

    /// Whether it is about the share itself, and not about users.
    pub fn is_shares(&self) -> bool {
        use Job::{FetchKeys, Heal, LayGuard, MountRoot, Probe, Reach, Rekey, Trial, UnmountRoot};
        matches!(
            self,
            Reach { .. }
                | LayGuard
                | MountRoot { .. }
                | UnmountRoot
                | Probe
                | Heal { .. }
                | Trial { .. }
                | Rekey { .. }
                | FetchKeys
        )
    }

    /// The name that the worker's process has, at most 15 letters (prctl(2), PR_SET_NAME).
    pub fn process_name(&self) -> &'static std::ffi::CStr {
        match self {
            Job::Identity { .. } | Job::Accounts { .. } => c"dsvm:accounts",
            Job::KeepSettings => c"dsvm:settings",
            Job::Reach { .. } => c"dsvm:reach",
            Job::LayGuard => c"dsvm:guard",
            Job::MountPoints { .. } => c"dsvm:points",
            Job::MountRoot { .. } => c"dsvm:mount",
            Job::UnmountRoot => c"dsvm:unmount",
            Job::Heal { .. } => c"dsvm:heal",
            Job::Trial { .. } => c"dsvm:trial",
            Job::Rekey { .. } => c"dsvm:keys",
            Job::Probe => c"dsvm:probe",
            Job::Directories { .. } => c"dsvm:dirs",
            Job::Ledger { .. } => c"dsvm:ledger",
            Job::Attach { .. } | Job::ShowAll { .. } => c"dsvm:attach",
            Job::Detach { .. } | Job::HideAll => c"dsvm:detach",
            Job::OwnDirectory { .. } => c"dsvm:dirs",
            Job::TakeDown { .. } => c"dsvm:detach",
            Job::ReadAhead { .. } => c"dsvm:ahead",
            Job::Import { .. } => c"dsvm:import",
            Job::Link { .. } => c"dsvm:link",
            Job::Survey { .. } => c"dsvm:survey",
            Job::Rescue { .. } => c"dsvm:rescue",
            Job::LastTime { .. } => c"dsvm:last",
            Job::FetchKeys => c"dsvm:vault",
            Job::Examine { .. } => c"dsvm:doctor",
            Job::ScaleSet(_) => c"dsvm:azure",
            Job::Sense { .. } => c"dsvm:sense",
            Job::Jupyter { .. } => c"dsvm:jupyter",
            Job::Row { .. } | Job::Rows => c"dsvm:pool",
            Job::Textfile { .. } => c"dsvm:textfile",
            Job::Tell { .. } => c"dsvm:tell",
            Job::Flush { .. } => c"dsvm:flush",
            Job::LogIns { .. } => c"dsvm:log-ins",
        }
    }

    /// After this the worker is killed.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(match self {
            Job::Identity { .. } | Job::KeepSettings => 5,
            Job::Accounts { .. } | Job::Attach { .. } | Job::ShowAll { .. } | Job::Ledger { .. } => 30,
            Job::Reach { .. } => 15,
            Job::LayGuard | Job::MountPoints { .. } | Job::Link { .. } => 10,
            Job::Probe => PROBE_DEADLINE.as_secs(),
            // A token and two secrets, 10 s for each.
            Job::FetchKeys => 35,
            Job::Examine { what: Examine::Trial { .. } } => 45,
            Job::Examine { .. } => 10,
            Job::ReadAhead { .. } | Job::Textfile { .. } | Job::Tell { .. } | Job::LogIns { .. } => 5,
            // Whoever drains has less; a number that somebody else made up must not stretch it.
            Job::Flush { within, .. } => (*within).min(LONGEST_FLUSH),
            Job::MountRoot { .. } | Job::Directories { .. } | Job::OwnDirectory { .. } | Job::Trial { .. } => 20,
            // A session that is just being opened anew is waited for.
            Job::Rekey { .. } => 60,
            Job::Heal { .. } => 10,
            // Whoever waits for it gives up when it gets no further.
            Job::Import { .. } => 7 * 24 * 60 * 60,
            // Both end by themselves before, with what they have; a home or share that hangs does not.
            Job::Survey { .. } => rescue::SURVEY.as_secs() + 5,
            Job::Rescue { .. } => rescue::RESCUE.as_secs() + 30,
            Job::LastTime { .. } => 10,
            // After a server's death an unmount was seen to take 34 s.
            Job::Detach { .. } | Job::HideAll | Job::TakeDown { .. } | Job::UnmountRoot => 60,
            Job::ScaleSet(ask) => ask.deadline().as_secs(),
            Job::Sense { sense, .. } => sense.deadline().as_secs(),
            Job::Jupyter { .. } => jupyter::USER.as_secs(),
            // Reading ends by itself some time before that.
            Job::Row { .. } | Job::Rows => 20,
        })
    }

    /// Whether it is only for somebody at a terminal, or for another worker: the main process has no business with it.
    pub fn is_by_hand(&self) -> bool {
        matches!(self, Job::Ledger { .. } | Job::Import { .. } | Job::Jupyter { .. })
    }

    /// Whether the worker reads the settings in force first.
    pub fn needs_settings(&self) -> bool {
        match self {
            Job::Identity { .. } | Job::KeepSettings | Job::Accounts { .. } | Job::Reach { .. } | Job::Probe => false,
            Job::UnmountRoot | Job::Heal { .. } | Job::Tell { .. } | Job::LogIns { .. } | Job::Jupyter { .. } => false,
            Job::Examine { what } => matches!(what, Examine::Key | Examine::Trial { .. }),
            _ => true,
        }
    }

    /// The directories that it speaks of, relative to the share or the mount point.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        let (one, many, wanted): (Option<&str>, &[String], &[Wanted]) = match self {
            Job::MountPoints { directories } => (None, directories, &[]),
            Job::Directories { wanted, .. } => (None, &[], wanted),
            Job::Attach { wanted, .. } | Job::OwnDirectory { wanted, .. } => (Some(&wanted.directory), &[], &[]),
            Job::Detach { directory } | Job::Link { directory, .. } | Job::Import { directory, .. } => {
                (Some(directory), &[], &[])
            }
            Job::Survey { directory, .. }
            | Job::Rescue { directory, .. }
            | Job::LastTime { directory, .. }
            | Job::Flush { directory, .. } => (Some(directory), &[], &[]),
            _ => (None, &[], &[]),
        };
        one.into_iter().chain(many.iter().map(String::as_str)).chain(wanted.iter().map(|w| w.directory.as_str()))
    }

    /// Whether its answer may be longer than what a socket takes before somebody reads (200 KiB, unix(7)).
    pub fn answers_at_length(&self) -> bool {
        matches!(self, Job::Accounts { .. } | Job::Rows)
    }

    /// Whether users can make its answer longer than that, by hundreds of connections or kernels. It is short nearly always,
    /// and comes so often that nobody should wake up for it: the socket gets more room.
    pub fn may_answer_at_length(&self) -> bool {
        matches!(self, Job::Sense { .. })
    }

    /// Whether the job only looks: a plan may run it.
    pub fn only_looks(&self) -> bool {
        match self {
            Job::Identity { .. } | Job::Accounts { .. } | Job::Reach { .. } | Job::Probe | Job::Rows => true,
            // Into memory of root's, where it is fetched again in time anyway.
            Job::FetchKeys => true,
            // The trial mounts the share where nobody sees it, and lets it go.
            Job::Examine { .. } | Job::Sense { .. } | Job::Survey { .. } => true,
            Job::Directories { make, .. } | Job::Link { make, .. } => !make,
            _ => false,
        }
    }
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// The agent's own user.
    Identity {
        /// Its user and group; nothing when there is none.
        ids: Option<(u32, u32)>,
    },
    /// Accounts, and names that cannot be served.
    Accounts(Found),
    /// The server answers at this address.
    Reached {
        /// The address.
        address: IpAddr,
    },
    /// The share answers.
    Alive(Probe),
    /// What is mounted has the present keys, as far as it can.
    Rekeyed(Rekeyed),
    /// What became of each mount point, in order: nothing where it is there.
    MountPoints(Vec<Option<Failure>>),
    /// One answer for each directory, in order.
    Directories(Vec<Directory>),
    /// What lies where the link belongs.
    Link(Link),
    /// What the doctor asked for.
    Examined(Examined),
    /// Who is who.
    Ledger(Shown),
    /// How far an import is: more follows.
    Importing(Event),
    /// What came of an import.
    Imported(Outcome),
    /// What was seen of each source.
    Sensed(BTreeMap<Source, Seen>),
    /// What one user's Jupyter servers said.
    Jupyter(OfUser),
    /// What of a user's files is on this VM only.
    Surveyed(Surveyed),
    /// What came of a rescue.
    Rescued(Rescued),
    /// What was rescued when an earlier VM went, if there is anything to tell.
    LastTime(Option<Box<Last>>),
    /// So many terminals took what was written on them.
    Told(usize),
    /// What Azure said.
    ScaleSet(Box<Result<scale_set::act::Told, scale_set::model::Failure>>),
    /// The rows of all VMs, as they were read.
    Rows(Gathered),
    /// It failed.
    Failed(Failure),
}

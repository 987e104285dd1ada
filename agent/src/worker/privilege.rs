//! As whom each job is done, and with which capabilities: no more than it needs.

use super::job::Job;
use crate::idle::observe::sense::Sense;
use crate::share::doctor::Examine;
use crate::workspace::model::Person;
use rustix::thread::CapabilitySet;

/// As whom a job is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privilege {
    /// As the agent's own user, with no capability: what loads foreign libraries or speaks to the network.
    Nobody,
    /// As nobody, with no capability: what any user may do.
    Stranger,
    /// The same, with the group of terminals besides: it may write where mesg(1) allows that.
    Terminals,
    /// As root with these capabilities and no others.
    Root(CapabilitySet),
    /// As this user, with no capability.
    User(Person),
}

impl Job {
    /// Whether a copy of the launcher may do it, and not only a program with a memory of its own: what is done all the time, or
    /// while people wait for their notebooks, and reads nothing but what the kernel or root has written, or names in a
    /// directory.
    pub fn may_be_copied(&self) -> bool {
        use Job::{Attach, Detach, Directories, HideAll, Link, MountPoints, MountRoot, ReadAhead, Rekey, ShowAll};
        let own = matches!(self, Job::Probe | Job::KeepSettings | Job::LayGuard | Job::UnmountRoot | HideAll);
        let of_shares = matches!(self, MountPoints { .. } | MountRoot { .. } | Directories { .. } | ReadAhead { .. });
        let of_users = matches!(self, Attach { .. } | Detach { .. } | ShowAll { .. } | Link { .. });
        own || of_shares || of_users || matches!(self, Rekey { .. })
    }

    /// As whom it is done, and with which capabilities.
    pub fn privilege(&self) -> Privilege {
        let mounting = CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_READ_SEARCH;
        match self {
            Job::Tell { .. } => Privilege::Terminals,
            // /run belongs to root: being root is enough.
            Job::LogIns { .. } => Privilege::Root(CapabilitySet::empty()),
            // The main process's group may read what is kept.
            Job::KeepSettings => Privilege::Root(CapabilitySet::CHOWN),
            Job::Identity { .. } | Job::Accounts { .. } | Job::Reach { .. } | Job::ScaleSet(_) => Privilege::Nobody,
            Job::Sense { sense, .. } => match sense {
                Sense::Inhibitors | Sense::Gpu => Privilege::Nobody,
                // Whose socket a descriptor is, only who may trace a process is told (proc_pid_fd(5)).
                Sense::Programs => Privilege::Root(CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH),
                // debugfs is root's: being root is enough.
                Sense::Unsaved => Privilege::Root(CapabilitySet::empty()),
                // It becomes nobody once it has read the token; of processes that it starts, each becomes one user.
                Sense::Hub | Sense::Jupyter => {
                    Privilege::Root(CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP)
                }
            },
            Job::Jupyter { person } => Privilege::User(person.clone()),
            // Searching directories that are root's alone, and reading root's files, needs no more than being root.
            Job::LayGuard
            | Job::MountPoints { .. }
            | Job::HideAll
            | Job::Detach { .. }
            | Job::TakeDown { .. }
            | Job::UnmountRoot => Privilege::Root(CapabilitySet::SYS_ADMIN),
            // SYS_ADMIN clears the kernel's cache of names, NET_ADMIN closes connections.
            Job::Heal { .. } => Privilege::Root(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN),
            Job::Rekey { .. } => Privilege::Root(mounting | CapabilitySet::NET_BIND_SERVICE),
            // cifs opens its socket with the mounter's rights; NFS may want a low port.
            // Why a mount failed stands in the kernel's log.
            Job::MountRoot { .. } | Job::Attach { .. } | Job::ShowAll { .. } | Job::Trial { .. } => {
                Privilege::Root(mounting | CapabilitySet::NET_BIND_SERVICE | CapabilitySet::SYSLOG)
            }
            // It speaks to nobody: a child that becomes the agent's own user does. SYS_ADMIN is for memory to keep it in.
            Job::FetchKeys => {
                let change = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP;
                Privilege::Root(CapabilitySet::SYS_ADMIN | change)
            }
            Job::Examine { what } => match what {
                Examine::Name { .. } | Examine::Port { .. } | Examine::Greet { .. } | Examine::Sign { .. } => {
                    Privilege::Nobody
                }
                Examine::Stranger { .. } => Privilege::Stranger,
                Examine::Key => Privilege::Root(CapabilitySet::empty()),
                Examine::Kernel { .. } => Privilege::Root(CapabilitySet::SYS_ADMIN),
                Examine::Trial { .. } => {
                    let log = CapabilitySet::SYSLOG | CapabilitySet::DAC_OVERRIDE;
                    Privilege::Root(mounting | CapabilitySet::NET_BIND_SERVICE | log)
                }
            },
            // It becomes the directory's owner where that is not root, and gives these up where it is.
            Job::Textfile { .. } => {
                Privilege::Root(CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP)
            }
            Job::Probe => Privilege::Root(CapabilitySet::empty()),
            // FSETID: a shared directory hands its group on to what is made in it. FOWNER: a user's is closed to others.
            Job::Directories { .. } => {
                let own = CapabilitySet::CHOWN | CapabilitySet::FOWNER;
                Privilege::Root(own | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FSETID)
            }
            // The share's root may be somebody else's, where it is a local directory.
            Job::Ledger { .. } | Job::Row { .. } => Privilege::Root(CapabilitySet::DAC_OVERRIDE),
            Job::Rows => Privilege::Root(CapabilitySet::DAC_READ_SEARCH),
            // sysfs belongs to root: being root is enough.
            Job::ReadAhead { .. } => Privilege::Root(CapabilitySet::empty()),
            Job::Link { person, .. } | Job::OwnDirectory { person, .. } => Privilege::User(person.clone()),
            Job::Survey { person, .. }
            | Job::Rescue { person, .. }
            | Job::LastTime { person, .. }
            | Job::Flush { person, .. } => Privilege::User(person.clone()),
            Job::Import { person, .. } => Privilege::User(Person::clone(person)),
        }
    }
}

#[cfg(test)]
#[path = "privilege_tests.rs"]
mod tests;

//! Whether an address that a job names is the share's.
//!
//! The brain says where the server is, since it looks for an address that answers; and the brain reads what others write.
//! SMB's server proves that it knows the key. NFS's proves nothing: were the brain taken over, a server of its own on the
//! loopback could be mounted in the share's place. So whoever mounts NFS with root's rights asks again what the server's
//! name leads to. Name services load foreign libraries and may block: a process without privileges asks them.

use super::job::{Answer, Job};
use super::spawn;
use crate::config::settings::{Kind, Settings, Share};
use crate::share::doctor::{Examine, Examined};
use crate::share::observe::mounted;
use crate::sys::mountinfo;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Who asks: not the agent's own user, whose processes the brain could reach before they hide.
const NOBODY: (u32, u32) = (65534, 65534);
/// The longest that an answer is waited for; never more than half of what the job may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes sure that an NFS server's address in `job` is one that its name leads to.
///
/// # Errors
/// In words: it is not, or nobody says so.
pub fn confirm(job: &Job, settings: &Settings, config: &Path) -> Result<(), String> {
    let (Some(share), Some(address)) = (&settings.share, address(job)) else { return Ok(()) };
    let Some((host, port)) = share.server().filter(|_| share.kind() == Kind::Nfs) else { return Ok(()) };
    // What is mounted was asked about before, and its server's name may lead elsewhere or nowhere by now.
    let known = || mountinfo::read().is_ok_and(|mounts| is_mounted(share, &mounts, address));
    let literal = host.parse().is_ok_and(|own: IpAddr| own.to_canonical() == address.to_canonical());
    if literal || known() {
        return Ok(());
    }
    let name = Job::Examine { what: Examine::Name { host: host.to_owned(), port } };
    match spawn::ask_within(PATIENCE.min(job.deadline() / 2), &name, NOBODY, config) {
        Ok(Answer::Examined(Examined::Addresses(all))) => leads_to(host, &all, address),
        Ok(Answer::Failed(failure)) => Err(format!("{host}: {}", failure.words())),
        Ok(_) => Err(format!("{host}: the name services gave no answer")),
        Err(why) => Err(format!("{host}: {why}")),
    }
}

/// The address at which a job has something mounted, if it names one.
fn address(job: &Job) -> Option<IpAddr> {
    match job {
        Job::MountRoot { address }
        | Job::Attach { address, .. }
        | Job::ShowAll { address }
        | Job::Trial { address }
        | Job::Examine { what: Examine::Trial { address } } => *address,
        _ => None,
    }
}

fn is_mounted(share: &Share, mounts: &[mountinfo::Mount], address: IpAddr) -> bool {
    let own = mounted(share, mounts).root.filter(|root| root.other.is_none());
    own.and_then(|root| root.address).is_some_and(|own| own.to_canonical() == address.to_canonical())
}

fn leads_to(host: &str, all: &[IpAddr], address: IpAddr) -> Result<(), String> {
    if all.iter().any(|one| one.to_canonical() == address.to_canonical()) {
        return Ok(());
    }
    Err(format!("{host} does not lead to {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_the_name_leads_to_will_do() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (all, address, right) in [
            (vec!["10.0.0.4"], "10.0.0.4", true),
            (vec!["10.0.0.4", "10.0.0.5"], "10.0.0.5", true),
            (vec!["10.0.0.4"], "::ffff:10.0.0.4", true),
            (vec!["10.0.0.4"], "127.0.0.1", false),
            (vec![], "10.0.0.4", false),
        ] {
            let all: Vec<_> = all.into_iter().map(ip).collect();
            assert_eq!(leads_to("host", &all, ip(address)).is_ok(), right, "{all:?} {address}");
        }
    }

    #[test]
    fn every_job_that_mounts_at_an_address_is_asked_about() {
        let at = Some("127.0.0.1".parse().unwrap());
        let wanted = crate::workspace::act::Wanted { directory: "notebooks/ada".into(), uid: 1, gid: 1, group: None };
        let trial = Examine::Trial { address: at };
        for job in [
            Job::MountRoot { address: at },
            Job::Attach { wanted, address: at },
            Job::ShowAll { address: at },
            Job::Trial { address: at },
            Job::Examine { what: trial },
        ] {
            assert_eq!(address(&job), at, "{job:?}");
        }
    }
}

//! What is wrong for a user, in words that a person understands.

use crate::config::settings::Share;
use crate::problem::Problem;
use crate::share::decide::differs;
use crate::share::diagnosis::bytes;
use crate::share::model::{Attempt, Failure, Mounted, UserMount, parent_of};
use crate::share::options;
use crate::share::whole::EVERYBODY;
use crate::workspace::identities::Recorded;
use crate::workspace::memory::{Memory, Record};
use crate::workspace::model::{Account, Directory, Link};
use crate::workspace::names;
use std::path::Path;

/// The code of the problem that a directory belongs to another number.
pub const UID_DIFFERS: &str = "workspace.uid-differs";

/// The code of the problem that a name is nobody's any more.
pub const NAME_RETIRED: &str = "workspace.name-retired";
/// The code of an account that the name services do not confirm.
pub const ACCOUNT_UNCONFIRMED: &str = "workspace.account-unconfirmed";
/// The code of a home that does not answer.
pub const HOME_SILENT: &str = "workspace.home-silent";

/// Problems of users, and of the mounts that they have.
pub fn problems(share: &Share, mounted: &Mounted, memory: &Memory) -> Vec<Problem> {
    let mut out: Vec<Problem> = memory.refused.clone();
    let there = mounted.by_directory();
    for record in memory.all() {
        for problem in record.troubles.values().filter_map(|t| t.problem.as_ref()) {
            // What is wrong with a shared directory is so for all of its members, and said once. Link, directory and
            // mount, of all that a user has, may wait for the same word of the name services: that is one problem.
            let same = |other: &Problem| match problem.code == ACCOUNT_UNCONFIRMED {
                true => (&other.code, &other.subject) == (&problem.code, &problem.subject),
                false => record.shared.is_some() && other == problem,
            };
            if !out.iter().any(same) {
                out.push(problem.clone());
            }
        }
        let mount = there.get(Path::new(&record.directory)).copied();
        out.extend(mount.filter(|m| m.is_removed() && record.shared.is_none()).map(|_| removed(&record.account.name)));
        let differences = mount.map(|m| mount_differences(share, record, m)).unwrap_or_default();
        if !differences.is_empty() {
            let what = match record.shared {
                Some(_) => format!("{}'s view of a shared directory", record.account.name),
                None => format!("{}'s notebooks", record.account.name),
            };
            out.push(differs(&what, &differences).about(&record.account.name));
        }
    }
    out.extend(memory.whole.as_ref().and_then(|t| t.problem.clone()));
    if let Some(whole) = mounted.whole().filter(|_| share.is_open()) {
        let differences = options::differences(share, EVERYBODY, &whole.mount);
        out.extend((!differences.is_empty()).then(|| differs("the share for everybody", &differences)));
    }
    if let Some(failure) = &memory.unknown {
        let summary = format!("The machine's users cannot be asked for: {}.", failure.words());
        let remedy = "Users known before stay served. Check the name services: getent passwd";
        out.push(Problem::new("workspace.users-unknown", summary, remedy));
    }
    out
}

/// A directory that somebody removed while it was mounted: nothing can be saved in it any more.
fn removed(name: &str) -> Problem {
    let summary =
        format!("The directory of {name} was removed on the share while it was open here. Nothing can be saved in it.");
    let remedy = "A new one comes when the old one is left: close what is open in it (terminals, notebooks). \
                  What was in it: look for a snapshot of the share.";
    Problem::new("workspace.directory-removed", summary, remedy).about(name)
}

fn mount_differences(share: &Share, record: &Record, mount: &UserMount) -> Vec<String> {
    options::differences(share, record.whom(), &mount.mount)
}

pub(super) fn unwritable(name: &str) -> Problem {
    let summary = "This user's name is too long, or not text, to be written as a directory's name on the share.";
    Problem::new("workspace.name", summary, "Rename the account, or list it in [workspace] exclude.").about(name)
}

/// What a failed step means for one user.
pub fn failed(name: &str, failure: &Failure) -> Problem {
    if failure.is_about_account() {
        return unconfirmed(name, failure);
    }
    let summary = format!("The notebooks of {name} cannot be connected: {}. Nothing was changed.", failure.words());
    Problem::new("workspace.not-mounted", summary, "It is tried again by itself. If it lasts: sudo dsvm-agent doctor")
        .about(name)
}

/// An account that the name services do not confirm: nothing is known of the home or the share, neither was touched.
fn unconfirmed(name: &str, failure: &Failure) -> Problem {
    let summary = format!(
        "The account of {name} cannot be confirmed: {}. Nothing is done in their name until it is; what is mounted stays.",
        failure.words()
    );
    let remedy = format!("Check the name services: getent passwd {name}. It is tried again by itself.");
    Problem::new(ACCOUNT_UNCONFIRMED, summary, remedy).about(name)
}

/// What it means that nothing came of a look into a home: mostly that it does not answer.
pub fn home_silent(name: &str, failure: &Failure) -> Problem {
    if failure.is_about_account() {
        return unconfirmed(name, failure);
    }
    let summary = format!("The home of {name} does not answer: {}. Other users are not held up.", failure.words());
    Problem::new(HOME_SILENT, summary, "Check the file system that the home is on. It is tried again by itself.")
        .about(name)
}

/// What a user's directory on the share means; nothing when it is right.
pub fn directory_problem(account: &Account, directory: &str, seen: &Directory) -> Option<Problem> {
    let name = &account.name;
    let problem = match seen {
        Directory::Ready { .. } => return None,
        Directory::Missing => failed(name, &Failure::call(Attempt::Directory, rustix::io::Errno::NOENT)),
        Directory::Occupied => Problem::new(
            "workspace.directory-occupied",
            format!("On the share, {directory} is no directory. It was not touched and not followed."),
            format!("Look at who put it there; move it away, then {name} gets a directory."),
        ),
        Directory::Exposed { uid, mode } => {
            let above = parent_of(Path::new(directory)).display();
            Problem::new(
                "workspace.directory-exposed",
                format!(
                    "On the share, {above} belongs to uid {uid} and has the mode {mode:04o}: others than root could swap what \
                     is in it. The directory of {name} was not opened."
                ),
                format!(
                    "Look whether what is in {above} is right; then, on the share: chown root {above}; chmod 0711 {above}"
                ),
            )
        }
        Directory::Foreign { uid, recorded } => Problem::new(
            UID_DIFFERS,
            format!(
                "{name} is uid {} here; on the share, {directory} belongs to uid {uid}{}. Not opened.",
                account.uid,
                since(recorded)
            ),
            give(name, *uid),
        ),
        Directory::OtherNumber { uid, recorded } => Problem::new(
            UID_DIFFERS,
            format!(
                "{name} is uid {} here; on the share, {name} is recorded as uid {uid}{}. Not opened.",
                account.uid,
                since(recorded)
            ),
            format!("{} If the record is wrong: sudo dsvm-agent workspace identity bind {name}", give(name, *uid)),
        ),
        Directory::OtherName { name: other, recorded } => {
            let other = names::unescape(other).unwrap_or_else(|| other.clone());
            Problem::new(
                UID_DIFFERS,
                format!(
                    "{name} is uid {0} here; on the share, uid {0} is {other}'s{1}. Not opened.",
                    account.uid,
                    since(recorded)
                ),
                format!(
                    "Give {name} the uid that they have on the other VMs, or one of their own, then start a fresh VM. \
                     If {other} is {name} now: sudo dsvm-agent workspace identity bind {name} --uid {}",
                    account.uid
                ),
            )
        }
        Directory::Retired { recorded } => Problem::new(
            NAME_RETIRED,
            format!(
                "The name {name} was retired{}: whoever has it now is somebody else. {directory} is kept, and not opened.",
                since(recorded)
            ),
            format!(
                "Give this person another name. If it is the same one: sudo dsvm-agent workspace identity bind {name}"
            ),
        ),
        Directory::Squashed => {
            let parent = parent_of(Path::new(directory)).display();
            Problem::new(
                "workspace.root-squash",
                format!(
                    "The share gives root no rights (root squash), and {name} may not make {directory} there either."
                ),
                format!(
                    "Make it on the server, uid {}, mode 0700; or let all make their own there: chmod 1777 {parent} \
                     (whose it is is checked); or switch root squash off.",
                    account.uid
                ),
            )
        }
        Directory::Failed { failure } => failed(name, failure),
        // That is said of shared ones.
        Directory::Unfit { .. } => failed(name, &Failure::said(Attempt::Worker, "it answered something else")),
    };
    Some(problem.about(name))
}

/// Since when and from which VM, as far as it is recorded.
fn since(recorded: &Option<Recorded>) -> String {
    let day = |r: &Recorded| r.since.get(..10).unwrap_or_default().to_owned();
    recorded.as_ref().map(|r| format!(" (since {}, {})", day(r), r.node)).unwrap_or_default()
}

fn give(name: &str, uid: u32) -> String {
    format!("Give {name} uid {uid} on every VM, then start a fresh VM. Do not chown the share.")
}

/// What lies where the link belongs, as a problem; nothing when it is right. `own`: the link is to the user's own directory,
/// to which what is in the way can be imported.
pub fn link_problem(account: &Account, link: &str, seen: &Link, own: bool) -> Option<Problem> {
    let name = &account.name;
    let away = format!(
        "Move it away (mv ~/{link} ~/{link}.local), or ask an administrator to; the link is made by itself then."
    );
    let import = match own {
        true => format!("To copy it there, verified, and keep the original: sudo dsvm-agent workspace import {name}"),
        false => away.clone(),
    };
    let problem = match seen {
        Link::Right { .. } | Link::NoHome => return None,
        Link::Missing => Problem::new(
            "workspace.link-missing",
            format!("~/{link} of {name} is not there yet."),
            "It is made by itself.",
        ),
        Link::Elsewhere { target } => Problem::new(
            "workspace.link-elsewhere",
            format!("~/{link} of {name} leads to {}, not to the share. Nothing was touched.", target.display()),
            away,
        ),
        Link::Directory { files, bytes, more } => Problem::new(
            "workspace.link-occupied",
            format!(
                "~/{link} is {name}'s own directory ({}), not the share. Nothing was touched; nothing in it is on the share.",
                count(*files, *bytes, *more)
            ),
            import,
        ),
        Link::Other => Problem::new(
            "workspace.link-occupied",
            format!("~/{link} of {name} is a file, not the link to the share. Nothing was touched."),
            import,
        ),
        Link::Blocked { path, errno } => Problem::new(
            "workspace.home-blocked",
            format!(
                "The link cannot be made in the home of {name}: {}: {}.",
                path.display(),
                std::io::Error::from_raw_os_error(*errno)
            ),
            "Put it right as that user; it is tried again by itself.",
        ),
    };
    Some(problem.about(name))
}

fn count(files: u64, size: u64, more: bool) -> String {
    let and_more = if more { " or more" } else { "" };
    match files {
        0 if !more => "empty".to_owned(),
        1 => format!("1 file{and_more}, {}", bytes(size)),
        n => format!("{n} files{and_more}, {}", bytes(size)),
    }
}

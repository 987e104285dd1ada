//! What is wrong with a shared directory, in words that a person understands.

use super::Part;
use crate::problem::Problem;
use crate::share::model::{Attempt, Failure, parent_of};
use crate::workspace::model::{Account, Directory};
use std::path::Path;

/// What a failed step means for one of those whom the directory is for.
pub fn failed(name: &str, place: &str, failure: &Failure) -> Problem {
    let directory = parent_of(Path::new(place)).display();
    let summary = format!(
        "The shared directory {directory} cannot be connected for {name}: {}. Nothing was changed.",
        failure.words()
    );
    Problem::new("workspace.not-mounted", summary, "It is tried again by itself. If it lasts: sudo dsvm-agent doctor")
        .about(name)
}

/// What a shared directory on the share means; nothing when it is right. All but a failed call is so for everybody.
pub fn directory_problem(account: &Account, place: &str, part: &Part, seen: &Directory) -> Option<Problem> {
    let directory = parent_of(Path::new(place));
    let (above, shown) = (parent_of(directory).display(), directory.display());
    let shared = part.shown_to(account);
    let right = match &part.group {
        Some((group, _)) => format!("chown root:{group} {shown}; chmod {:04o} {shown}", shared.mode()),
        None => format!("chmod {:04o} {shown}", shared.mode()),
    };
    Some(match seen {
        Directory::Ready { .. } => return None,
        Directory::Missing => {
            failed(&account.name, place, &Failure::call(Attempt::Directory, rustix::io::Errno::NOENT))
        }
        Directory::Failed { failure } => failed(&account.name, place, failure),
        Directory::Occupied => Problem::new(
            "workspace.directory-occupied",
            format!("On the share, {shown} is no directory. It was not touched and not followed."),
            "Look at who put it there; move it away, then the shared directory is made.",
        ),
        Directory::Exposed { uid, mode } => Problem::new(
            "workspace.directory-exposed",
            format!(
                "On the share, {above} belongs to uid {uid} and has the mode {mode:04o}: others than root could swap what is \
                 in it. The shared directory {shown} was not opened."
            ),
            format!(
                "Look whether what is in {above} is right; then, on the share: chown root {above}; chmod 0711 {above}"
            ),
        ),
        Directory::Squashed => Problem::new(
            "workspace.root-squash",
            format!(
                "The share gives root no rights (root squash): the shared directory {shown} cannot be made or looked at."
            ),
            format!("Make it on the server: mkdir {shown}; {right}. Or switch root squash off."),
        ),
        Directory::Unfit { uid, gid, mode } => Problem::new(
            "workspace.shared-unfit",
            match &part.group {
                Some((group, _)) => format!(
                    "The shared directory {shown} (uid {uid}, gid {gid}, mode {mode:04o}) does not let in the group {group} \
                     and nobody else. It was not opened, and nothing in it was changed."
                ),
                None => format!(
                    "The shared directory {shown} (uid {uid}, gid {gid}, mode {mode:04o}) does not let everybody in. It was not \
                     opened, and nothing in it was changed."
                ),
            },
            format!("Look whether what is in it is right; then, on the share: {right}"),
        ),
        // These are said of users' own alone.
        Directory::Foreign { .. }
        | Directory::OtherNumber { .. }
        | Directory::OtherName { .. }
        | Directory::Retired { .. } => {
            failed(&account.name, place, &Failure::said(Attempt::Worker, "it answered something else"))
        }
    })
}

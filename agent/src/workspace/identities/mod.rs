//! Who is who on the share. Where files have owners (NFS, a local directory), a user's directory belongs to a number,
//! and the same number may be somebody else on another VM. The ledger binds names to numbers and numbers to names. On
//! SMB files have no owners and the name is the only identity: there the ledger has retired names alone.
//!
//! ```text
//! .dsvm-agent/                                   root's alone, 0700
//!   identities/
//!     names/NAME/1001/20260302T101500Z.dsvmpool_3    NAME has the number 1001; since when, and from which VM
//!     names/NAME/retired/20260901T080000Z.dsvmpool_5 NAME is nobody's any more
//!     numbers/1001/NAME/20260302T101500Z.dsvmpool_3  the number 1001 is NAME's
//!     log/                                           what administrators changed: one file each
//!     new/                                           what is being made
//! ```
//!
//! NAME is written as the user's directory is ([`super::names`]): no two names differ by case alone. Every value is a directory's name: there is no shared file and no lock. An entry is
//! made whole in `new` and then renamed to its place: rename(2) replaces an empty directory and nothing else (RFC 8881,
//! 18.26, for NFS), so that of many VMs exactly one succeeds, and an entry that is there is complete.
//!
//! The owner of a user's directory is the truth; the ledger is the cross-check, and it is what knows a number whose
//! directory is not there yet. No owner is ever changed because of it.

mod ledger;
mod task;
#[cfg(test)]
mod tests;

pub use crate::share::own::OWN;
pub use ledger::Ledger;
pub use task::{Line, Shown, Task, perform};

use super::model::Directory;
use serde::{Deserialize, Serialize};

/// Since when something is recorded, and from which VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// RFC 3339, UTC.
    pub since: String,
    /// The VM's name.
    pub node: String,
}

/// What the ledger has for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// This number.
    Number(u32),
    /// Nobody has the name any more, and nobody may.
    Retired,
}

/// One entry: a value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// The value.
    pub value: T,
    /// Where it comes from; nothing when that part is damaged.
    pub recorded: Option<Recorded>,
}

/// What the ledger says to a name and a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They belong together.
    Bound,
    /// Nothing speaks against it; what is missing may be claimed.
    Free,
    /// Not so: why.
    Refused(Directory),
}

/// Judges a name with a number by the entries that the ledger has for each.
pub fn judge(name: &str, uid: u32, by_name: Option<&Entry<Holder>>, by_number: Option<&Entry<String>>) -> Verdict {
    match by_name {
        Some(Entry { value: Holder::Retired, recorded }) => {
            return Verdict::Refused(Directory::Retired { recorded: recorded.clone() });
        }
        Some(Entry { value: Holder::Number(other), recorded }) if *other != uid => {
            return Verdict::Refused(Directory::OtherNumber { uid: *other, recorded: recorded.clone() });
        }
        _ => {}
    }
    match by_number {
        Some(Entry { value, recorded }) if value != name => {
            Verdict::Refused(Directory::OtherName { name: value.clone(), recorded: recorded.clone() })
        }
        Some(_) if by_name.is_some() => Verdict::Bound,
        _ => Verdict::Free,
    }
}

/// Longest name of a VM in a record, as the name of a directory is written.
const LONGEST: usize = 128;

/// The name of a record of where something comes from: a time as RFC 3339 in UTC, to the second, and a VM's name.
pub fn record_name(since: &str, node: &str) -> String {
    let time: String = since.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let node = super::names::escape(node).filter(|n| n.len() <= LONGEST).unwrap_or_else(|| "unknown".to_owned());
    format!("{time}.{node}")
}

/// Reads what [`record_name`] wrote.
pub fn read_record(name: &str) -> Option<Recorded> {
    let (time, node) = name.split_once('.').filter(|(_, node)| node.len() <= LONGEST)?;
    let digits = |range: std::ops::Range<usize>| time.get(range).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
    let whole = time.len() == 16 && time.as_bytes().get(8) == Some(&b'T') && time.ends_with('Z');
    let since = format!(
        "{}-{}-{}T{}:{}:{}Z",
        digits(0..4)?,
        digits(4..6)?,
        digits(6..8)?,
        digits(9..11)?,
        digits(11..13)?,
        digits(13..15)?
    );
    whole.then_some(Recorded { since, node: super::names::unescape(node)? })
}

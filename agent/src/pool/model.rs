//! What a VM tells the others, and what is made of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Version of a row's layout, and of what `dsvm-agent pool --json` prints.
pub const SCHEMA: u32 = 1;
/// Largest row that is read, in bytes: that of [`MOST_MARKS`] users takes half of it.
pub const LARGEST: usize = 16 << 10;
/// So many users are told of in a row.
pub const MOST_MARKS: usize = 200;

/// One VM's row, as it lies on the share. Fields are added, never changed. Whoever else reaches the share as root may have
/// written it: nothing in it is trusted further than to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Version of this layout: 1.
    pub schema: u32,
    /// The VM's name, which the file's name is made of.
    pub node: String,
    /// Azure's id of the VM.
    pub vm_id: Option<String>,
    /// The kernel's id of the boot.
    pub boot_id: String,
    /// The agent's version.
    pub version: String,
    /// `ready`, `degraded` and so on, as in the status.
    pub health: String,
    /// The verdict on its use, as in the status; nothing before the first look.
    pub verdict: Option<String>,
    /// Since when that is so: RFC 3339, UTC, as every time here.
    pub since: Option<String>,
    /// Users that are served.
    pub users: u64,
    /// Of those, logged in or with a process.
    pub present: u64,
    /// Whether it is protected from scale-in.
    pub protected: Option<bool>,
    /// Azure has announced its end.
    pub draining: bool,
    /// When the row was written, by the VM's own clock.
    pub written_at: String,
    /// The [`mark`]s of those present, in order.
    pub marks: Vec<String>,
}

impl Row {
    /// Whether both tell the same, whenever they were written. `since` goes with the verdict, and differs by a second from
    /// look to look.
    pub fn tells_the_same(&self, other: &Self) -> bool {
        let lasting = |row: &Self| Self { since: None, written_at: String::new(), ..row.clone() };
        lasting(self) == lasting(other)
    }
}

/// How a user is told of in a row: by their directory on the share, which is the same on every VM, and the pool's salt. The
/// salt is secret, so nobody else can try names.
pub fn mark(salt: &str, directory: &str) -> String {
    // The salt has a fixed length and is never told, so that nothing can be appended to; half of the sum is far more than
    // keeps a few thousand users apart.
    let sum = Sha256::new().chain_update(salt).chain_update(b"\0").chain_update(directory).finalize();
    hex(sum.get(..16).unwrap_or_default())
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A file among the rows, as it was read. It may hold anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What is in it, or why that was not read.
    pub text: Result<String, String>,
}

/// What was read of all rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gathered {
    /// The pool's salt; nothing while nobody wrote a row.
    pub salt: Option<String>,
    /// The files, in order of name.
    pub files: Vec<File>,
    /// So many more there are that were not read: there was no time, or no room.
    pub more: u64,
}

/// The pool, for whoever asks: what `dsvm-agent pool --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    /// Version of this layout: 1.
    pub schema: u32,
    /// The rows are being read at this moment: ask again.
    pub reading: bool,
    /// How long ago they were read, in seconds; nothing: not yet.
    pub read_s: Option<f64>,
    /// Why they cannot be read now, for people.
    pub away: Option<String>,
    /// Why this VM's own row cannot be written, for people.
    pub unwritten: Option<String>,
    /// The VMs, this one first, then in order of name.
    pub nodes: Vec<NodeView>,
    /// Files among the rows that are none.
    pub odd: Vec<OddView>,
    /// So many rows were left out.
    pub more: u64,
}

/// Whether a VM is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It writes its row.
    Live,
    /// It was not heard of for too long, and nobody announced its end.
    Silent,
    /// It was not heard of since Azure announced its end.
    Gone,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// It is the one that was asked.
    pub here: bool,
    /// Whether it is heard of.
    pub state: Standing,
    /// How old its row is, in seconds; nothing when its clock and this VM's disagree.
    pub age_s: Option<f64>,
    /// When it was written, by its own clock.
    pub written_at: Option<String>,
    /// Azure's id of the VM.
    pub vm_id: Option<String>,
    /// The agent's version.
    pub version: String,
    /// `ready`, `degraded` and so on.
    pub health: String,
    /// The verdict on its use.
    pub verdict: Option<String>,
    /// Since when that is so.
    pub since: Option<String>,
    /// Users that are served.
    pub users: u64,
    /// Of those, logged in or with a process.
    pub present: u64,
    /// Whether whoever asks is one of those.
    pub yours: bool,
    /// For root: the names of those present that this VM knows. Nothing for everybody else.
    pub who: Option<Vec<String>>,
    /// Whether it is protected from scale-in.
    pub protected: Option<bool>,
    /// Azure has announced its end.
    pub draining: bool,
}

/// A file among the rows that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OddView {
    /// Its name.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

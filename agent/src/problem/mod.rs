//! A problem: something that needs a person, in words that a person understands.
//!
//! Every code that the program can raise is in [`registry`], with what it means and what to do about it.

pub mod registry;

use serde::{Deserialize, Serialize};

/// Something that needs a person. Two problems are the same one when `code` and `subject` are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Stable name, `room.what`, such as `share.unreachable`.
    pub code: String,
    /// Whom or what it is about: a user's name, a file; nothing when it is about the VM.
    pub subject: Option<String>,
    /// What is, and what was left untouched: one or two sentences.
    pub summary: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// A problem of the whole VM.
    pub fn new(code: &str, summary: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.to_owned(), subject: None, summary: summary.into(), remedy: remedy.into() }
    }

    /// The same problem, about `subject`.
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

//! What is remembered of each source and user, and of what could not be told.

use super::super::model::Source;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// When something could not be told for longer than a moment: once, or again and again with too little between for the VM to
/// become idle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hidden {
    /// Since when, the first time.
    pub since: f64,
    /// Until when, the last time.
    pub until: f64,
    /// It was more than once.
    pub again: bool,
    /// Why, the last time.
    pub why: String,
}

impl Hidden {
    /// With what was `before`, if there is not enough between.
    fn with(before: Option<&Self>, (since, why): (f64, String), until: f64) -> Self {
        Self { since: before.map_or(since, |b| b.since), until, again: before.is_some(), why }
    }
}

/// Looking at one source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Look {
    /// When it was looked at last, with whatever result.
    pub at: f64,
    /// When it was read last; absent counts as read.
    pub read_at: Option<f64>,
    /// Since when it cannot be read, and why.
    pub unreadable: Option<(f64, String)>,
    /// There is no such thing here.
    pub absent: bool,
    /// When it could not be read before, for longer than a moment.
    #[serde(default)]
    pub hidden: Option<Hidden>,
}

/// One source of one user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The source.
    pub source: Source,
    /// Whose.
    pub who: Option<u32>,
    /// Busy now.
    pub busy: bool,
    /// Since when it is as it is.
    pub since: f64,
    /// When it was last busy.
    pub last_busy: Option<f64>,
    /// What was observed.
    pub observed: Option<f64>,
    /// When it ends by itself.
    pub until: Option<f64>,
    /// What it is, for a person.
    pub what: Option<String>,
    /// Since when it cannot be told, and why.
    #[serde(default)]
    pub unknown: Option<(f64, String)>,
    /// When it could not be told before, for longer than a moment.
    #[serde(default)]
    pub hidden: Option<Hidden>,
    /// What grew in the window: when, over how long, by how much.
    pub steps: VecDeque<(f64, f64, f64)>,
}

/// What could not be told since `before`, and now can: whether it was for longer than a moment, and is remembered.
fn hid(hidden: &mut Option<Hidden>, before: Option<(f64, String)>, at: f64, window: f64) -> bool {
    match before.filter(|(since, _)| at - since > window) {
        Some(before) => {
            *hidden = Some(Hidden::with(hidden.as_ref(), before, at));
            true
        }
        None => false,
    }
}

impl Look {
    /// It cannot be read, and why, or can. Whether it could not for longer than a moment and now can.
    pub(super) fn hid(&mut self, why: Option<&str>, at: f64, window: f64) -> bool {
        let before = self.unreadable.take();
        self.unreadable = why.map(|why| (before.as_ref().map_or(at, |(since, _)| *since), why.to_owned()));
        self.unreadable.is_none() && hid(&mut self.hidden, before, at, window)
    }
}

impl Row {
    pub(super) fn new(source: Source, who: Option<u32>, at: f64) -> Self {
        Self {
            source,
            who,
            busy: false,
            since: at,
            last_busy: None,
            observed: None,
            until: None,
            what: None,
            unknown: None,
            hidden: None,
            steps: VecDeque::new(),
        }
    }

    /// It cannot be told, and why, or can. Whether it could not for longer than a moment and now can: what went on
    /// meanwhile is not known.
    pub(super) fn hid(&mut self, why: Option<&str>, at: f64, window: f64) -> bool {
        let before = self.unknown.take();
        self.unknown = why.map(|why| (before.as_ref().map_or(at, |(since, _)| *since), why.to_owned()));
        self.unknown.is_none() && hid(&mut self.hidden, before, at, window)
    }

    pub(super) fn set(&mut self, busy: bool, at: f64) {
        if self.busy != busy {
            (self.busy, self.since) = (busy, at);
        }
        if busy {
            self.last_busy = Some(at);
        }
    }
}

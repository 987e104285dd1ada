//! Which configuration is in force, what is wrong with the one on disk, and whether the one in force is kept.

use crate::config::{self, Settings, Trust};
use crate::problem::Problem;
use crate::share::model::Failure;
use crate::worker::launcher::LAST_GOOD;
use std::path::Path;
use std::time::Duration;

/// How long after a failure it is tried again to keep the configuration.
const AGAIN: Duration = Duration::from_secs(60);

/// What the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// The settings to be in force: those of the files, or, while these have a mistake, those before it. Nothing when
    /// there were none.
    pub settings: Option<Settings>,
    /// What is wrong with the files.
    pub mistake: Option<Problem>,
    /// Whether the settings are kept already.
    pub kept: Kept,
}

/// Whether the settings in force are kept for when the files have a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// They are, or there is nothing to keep.
    Yes,
    /// They are to be kept, not before then (by the boot-time clock).
    NotBefore(Duration),
}

impl Kept {
    /// Whether they are to be kept now.
    pub fn wants(self, now: Duration) -> bool {
        matches!(self, Kept::NotBefore(at) if now >= at)
    }

    /// When it is time, if it is not done.
    pub fn again(self) -> Option<Duration> {
        match self {
            Kept::Yes => None,
            Kept::NotBefore(at) => Some(at),
        }
    }

    /// After a helper was asked to keep them, or could not be. It counts as done from when it is begun: should the files
    /// be read again meanwhile, what is kept may be older, and success says nothing ([`Kept::took`]).
    pub fn begun(asked: bool, now: Duration) -> Self {
        if asked { Kept::Yes } else { Kept::NotBefore(now + AGAIN) }
    }

    /// After they were kept, or not.
    pub fn took(self, result: Result<(), Failure>, now: Duration) -> Self {
        match result {
            Ok(()) => self,
            Err(failure) => {
                tracing::debug!("the configuration is not kept: {}", failure.line());
                Kept::NotBefore(now + AGAIN)
            }
        }
    }
}

/// Reads the configuration as root's orders. Quietly: see [`log_notes`].
pub fn read(path: &Path) -> Orders {
    read_at(path, Path::new(LAST_GOOD))
}

fn read_at(path: &Path, kept: &Path) -> Orders {
    match config::in_force(path, kept) {
        Ok(now) if now.mistakes.is_empty() => {
            Orders { settings: Some(now.loaded.settings), mistake: None, kept: Kept::NotBefore(Duration::ZERO) }
        }
        Ok(now) => Orders {
            settings: Some(now.loaded.settings),
            mistake: Some(mistake(&now.mistakes, "What was in force before it stays so.")),
            kept: Kept::Yes,
        },
        Err(mistakes) => Orders {
            settings: None,
            mistake: Some(mistake(&mistakes, "What is mounted stays; nobody new is connected.")),
            kept: Kept::Yes,
        },
    }
}

/// Logs what is right in the configuration but worth knowing.
pub fn log_notes(path: &Path) {
    if let Ok(loaded) = config::load(path, Trust::Root) {
        loaded.notes.iter().for_each(|note| tracing::info!("{note}"));
    }
}

fn mistake(mistakes: &[config::Mistake], stays: &str) -> Problem {
    let more = mistakes.len().saturating_sub(1);
    let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let summary = format!("The configuration has a mistake: {first}{more}. {stays}");
    let remedy = "Mend it, see: sudo dsvm-agent config check. It is read again by itself.";
    Problem::new("config.mistake", summary, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::model::Attempt;

    #[test]
    fn a_failure_to_keep_is_tried_again_after_a_pause() {
        let now = Duration::from_secs(1000);
        let new = Kept::NotBefore(Duration::ZERO);
        assert!(new.wants(now) && !Kept::Yes.wants(now));
        assert_eq!(new.took(Ok(()), now), new, "the files were read again meanwhile");
        let failed = Kept::Yes.took(Err(Failure::said(Attempt::Worker, "full")), now);
        assert!(!failed.wants(now) && failed.wants(now + AGAIN));
        assert_eq!(failed.again(), Some(now + AGAIN));
        assert_eq!((Kept::begun(false, now), Kept::begun(true, now)), (failed, Kept::Yes));
    }

    #[test]
    fn without_a_kept_one_a_mistake_leaves_nothing_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.toml");
        std::fs::write(&file, "no toml").unwrap();
        let orders = read_at(&file, &dir.path().join("none"));
        assert_eq!(orders.settings, None);
        let problem = orders.mistake.unwrap();
        assert!(problem.code == "config.mistake" && problem.summary.contains("nobody new"), "{problem:?}");
    }
}

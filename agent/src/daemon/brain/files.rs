//! When the brain has homes looked at, and what of that outlives it.

use super::{Brain, Mode};
use crate::daemon::engine::Decision;
use crate::idle::model::Verdict;
use crate::sys::clock::boottime;
use crate::worker::launcher::RUN;
use crate::workspace::rescue::watch::Files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file with what was seen, beside the status. A home whose owner is gone is not looked at again: it would be
/// forgotten.
const FILE: &str = "files-memory.json";

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    files: BTreeMap<String, Files>,
}

impl Brain {
    /// Starts the looks at users' files that are due, when everything else is settled: nobody waits for them.
    pub(super) fn tend_files(&mut self, decision: &Decision) {
        if self.mode != Mode::Service || self.ending || self.served.is_none() {
            return;
        }
        let (busy, now) = (self.idle.decision().is_some_and(|d| d.verdict == Verdict::Busy), boottime());
        for job in self.engine.looks_at_files(decision, busy, now) {
            if self.engine.has_room(&job) {
                self.engine.files_begun(&job, decision, now);
                self.start(job);
            }
        }
    }

    /// What a predecessor of this boot saw.
    pub(super) fn restore_files(&mut self) {
        let kept = std::fs::read(file()).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        if let Some(kept) = kept.filter(|k| k.boot_id == self.identity.boot_id && !k.boot_id.is_empty()) {
            // Who is gone may be enumerated by nobody: they are asked for by name.
            for name in kept.files.keys() {
                self.engine.users.name(name);
            }
            self.engine.users.files = kept.files;
            self.engine.users.files.values_mut().for_each(Files::doubt);
        }
    }

    /// Keeps what was seen for a successor: users' words, so for the agent alone.
    pub(super) fn keep_files(&self) {
        let kept = Kept { boot_id: self.identity.boot_id.clone(), files: self.engine.users.files.clone() };
        if let Err(e) = write(&file(), &kept) {
            tracing::debug!("{}: {e}", file().display());
        }
    }
}

fn file() -> PathBuf {
    Path::new(RUN).join("status").join(FILE)
}

fn write(file: &Path, kept: &Kept) -> std::io::Result<()> {
    let new = file.with_extension("new");
    // One that was left half written must not be in the way.
    let _ = std::fs::remove_file(&new);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(&serde_json::to_vec(kept)?)?;
    std::fs::rename(&new, file)
}

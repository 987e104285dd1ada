//! The brain's file with metrics.

use super::{Brain, Mode};
use crate::problem::Problem;
use crate::share::model::Failure;
use crate::status::textfile;
use crate::sys::clock::boottime;
use crate::worker::job::{Answer, Job};

impl Brain {
    /// Writes the file, if one is configured and it is time: not before the first passes are through, when there is nothing to say.
    pub(super) fn tend_textfile(&mut self) {
        if !self.through && !self.before_looks().is_zero() {
            return;
        }
        let path = self.engine.settings.status.textfile.clone();
        let Some(path) = path.filter(|_| self.mode == Mode::Service && !self.ending) else { return };
        let Some(status) = self.status.as_ref().filter(|_| self.textfile.wants(&path, boottime())) else { return };
        let job = Job::Textfile { text: textfile::text(status) };
        if self.engine.has_room(&job) && self.start(job) {
            self.textfile.started(path);
        }
    }

    /// Takes what came of it; whether that is to be told.
    pub(super) fn textfile_answered(&mut self, job: &Job, result: &Result<Answer, Failure>) -> bool {
        if !matches!(job, Job::Textfile { .. }) {
            return false;
        }
        let result = result.as_ref().map(drop).map_err(Failure::words);
        self.textfile.took(result, boottime())
    }

    /// What needs a person.
    pub(super) fn textfile_problem(&self) -> Option<Problem> {
        let path = self.engine.settings.status.textfile.as_ref()?;
        let why = self.textfile.failure(path)?;
        let summary = format!("Metrics cannot be written to {}: {why}.", path.display());
        let remedy =
            "Its directory, and those above it, must be root's or the exporter's, mode 0755, with no link on the way.";
        Some(Problem::new("agent.textfile", summary, remedy))
    }
}

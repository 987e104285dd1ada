//! What is said of a helper process that cannot be ended.

use super::engine::Engine;
use crate::problem::Problem;
use crate::worker::job::Job;

impl Engine {
    /// A helper at `job` neither finishes nor dies.
    pub(super) fn stuck_problem(&self, job: &Job) -> Problem {
        let user = match job {
            Job::Attach { wanted, .. } => self.of(&wanted.directory),
            Job::Link { directory, .. } | Job::Detach { directory } => self.of(directory),
            Job::Survey { directory, .. } | Job::Rescue { directory, .. } | Job::LastTime { directory, .. } => {
                self.of(directory)
            }
            _ => None,
        };
        let what = match (job, user) {
            (Job::Link { .. } | Job::Survey { .. }, _) => "a user's home",
            (_, Some(_)) => "a user's notebooks",
            _ => "the share",
        };
        let summary =
            format!("A helper process at work on {what} neither finishes nor can be ended. It is left alone.");
        let remedy = "It goes away when the file server or disk behind it answers again, or with the next reboot.";
        let problem = Problem::new("agent.helper-stuck", summary, remedy);
        match user {
            Some(record) => problem.about(&record.account.name),
            None => problem,
        }
    }
}

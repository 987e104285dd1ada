//! Protection from scale-in: on at boot before anything else, lifted only after idle was announced and committed, on
//! again at the first sign of use. What counts is what was read back after the last change, never what was asked for.
//!
//! Once it is known to be lifted it is only read. If it is there again then, and no change of the agent's own can have made
//! it so, somebody has protected the VM by hand: that is left as it is until they take it off. A VM in use is protected as
//! always, so that what was there before it was lifted cannot be told from the agent's own.
//!
//! A VM that may go and cannot be lifted, or cannot be read any more, costs money and nothing else: it holds nobody up, and
//! a person is told.

use super::Trouble;
use crate::problem::Problem;
use crate::scale_set::model::{Failure, Instance, Node, Protection, Reading, Service, Use};
use std::time::Duration;

/// What was read back is read again after this: somebody may change it in the portal.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// What was read back this long ago is no longer known.
const STALE: Duration = Duration::from_secs(30 * 60);
/// What was read so soon after the protection was lifted may be older than that: it is nobody's doing.
const ECHO: Duration = Duration::from_secs(2 * 60);
/// So long it may take before a person is told, unless the answer is final.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where nobody uses the VM: that it stays costs money only.
const LONG_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Commit the announcement with this number: look once more at everything, and if nobody came, let the VM go.
    Commit {
        /// The number.
        epoch: u64,
    },
    /// Make the VM's protection this one and read it back.
    Protect {
        /// What it shall be.
        wanted: Protection,
        /// Write it even if it is so already: an earlier change may still be on its way.
        force: bool,
    },
    /// Read the VM's protection, and change nothing.
    Look,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Change {
        wanted: Protection,
        /// What was read back before, and when: it is so still if the change is refused.
        before: Option<(Protection, Duration)>,
    },
    Look,
}

/// What is known from pass to pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// What was read back, and when; nothing after anything that may have changed it.
    seen: Option<(Protection, Duration)>,
    /// The request that is under way.
    under_way: Option<Request>,
    /// No change that was asked for earlier is still on its way, as far as anybody can know. Not at first: a predecessor may
    /// have died while it lifted the protection.
    settled: bool,
    /// The announcement that was committed.
    committed: Option<u64>,
    /// Failures.
    pub trouble: Trouble,
    /// What was asked for last.
    tried: Option<Protection>,
    /// Since when it is known to be lifted.
    pub lifted: Option<Duration>,
    /// Somebody else has protected the VM since it was lifted, and has not taken that off yet, as far as was seen. An agent
    /// that is started anew does not know.
    by_hand: bool,
    /// Since when the VM should be protected and is not known to be.
    bare_since: Option<Duration>,
    /// The VM was let go, and is not known to be unprotected.
    unlifted: bool,
    /// How long it took the last time until protection was confirmed.
    pub took: Option<Duration>,
}

impl Memory {
    /// What the VM is protected from, if that is known.
    pub fn known(&self, now: Duration) -> Option<Protection> {
        self.seen.filter(|(_, at)| now < *at + STALE).map(|(seen, _)| seen)
    }

    /// Whether it is known that scale-in passes this VM by.
    pub fn is_safe(&self, now: Duration) -> bool {
        self.known(now).is_some_and(|p| p.scale_in)
    }

    /// Whether the VM was given free: idle was committed, and it is known to be unprotected.
    pub fn is_free(&self, now: Duration, used: Use) -> bool {
        self.lets_go(used) && self.known(now).is_some_and(|p| !p.scale_in)
    }

    /// Whether scale-in does no harm as it is now: it passes this VM by, as far as that is known, or the VM may go. Where
    /// idle was committed that does not depend on what is known of its protection.
    pub fn is_harmless(&self, now: Duration, used: Use) -> bool {
        self.is_safe(now) || self.lets_go(used)
    }

    /// Whether it is being given free, or is: the first sign of use matters.
    pub fn is_going(&self) -> bool {
        self.committed.is_some()
    }

    /// Whether somebody else protects the VM from scale-in: it stays so until they take that off.
    pub fn is_by_hand(&self) -> bool {
        self.by_hand
    }

    /// Whether the announcement that stands was committed, and nobody else wants to keep the VM.
    fn lets_go(&self, used: Use) -> bool {
        !self.by_hand && matches!(used, Use::Due { epoch } if self.committed == Some(epoch))
    }

    /// Whether there is nothing to change: it is lifted, as it should be, or somebody else's. What the agent asked for itself
    /// must be through for that.
    fn only_looks(&self, used: Use) -> bool {
        let theirs = self.by_hand && matches!(used, Use::Due { .. });
        self.settled && (theirs || (self.lets_go(used) && self.lifted.is_some()))
    }

    /// The next step, if any. `full` is what a VM in use is protected from.
    pub fn decide(&mut self, full: Protection, used: Use, now: Duration) -> Option<Step> {
        if !matches!(used, Use::Due { epoch } if self.committed.is_none_or(|c| c == epoch)) {
            // The announcement is over: whatever comes next is another one.
            self.committed = None;
        }
        let wanted = if self.lets_go(used) { Protection::NONE } else { full };
        let known = self.known(now);
        self.unlifted = self.lets_go(used) && known.is_none_or(|p| p.scale_in);
        if wanted.scale_in && !known.is_some_and(|p| p.scale_in) {
            self.bare_since.get_or_insert(now);
        } else if let Some(since) = self.bare_since.take() {
            self.took = Some(now.saturating_sub(since));
        }
        if self.under_way.is_some() {
            return None;
        }
        let old = self.seen.is_none_or(|(_, at)| now >= at + LOOK_AGAIN);
        if self.only_looks(used) {
            return (old && self.trouble.is_due(now)).then_some(Step::Look);
        }
        if known == Some(wanted) && !old {
            return match used {
                // Only what is known to be protected is given free: otherwise nobody knows what is on its way.
                Use::Due { epoch } if self.committed.is_none() => Some(Step::Commit { epoch }),
                _ => None,
            };
        }
        // Whoever comes back does not wait because lifting it had failed.
        let turned = wanted.scale_in && self.tried.is_some_and(|tried| !tried.scale_in);
        (turned || self.trouble.is_due(now)).then_some(Step::Protect { wanted, force: !self.settled })
    }

    /// The announcement was committed: nobody came.
    pub fn committed(&mut self, epoch: u64) {
        self.committed = Some(epoch);
    }

    /// It is being read.
    pub fn looking(&mut self) {
        self.under_way = Some(Request::Look);
    }

    /// A change is on its way.
    pub fn started(&mut self, wanted: Protection) {
        (self.under_way, self.tried) = (Some(Request::Change { wanted, before: self.seen }), Some(wanted));
        if self.seen.is_some_and(|(seen, _)| seen != wanted) {
            self.seen = None;
        }
    }

    /// Takes what came of the request: what was read before, and after everything.
    pub fn take(&mut self, result: Result<Reading, Failure>, now: Duration, chance: u64) {
        let request = self.under_way.take();
        match result {
            Ok(Reading { found, now: seen }) => {
                self.judge(found, now);
                // What was asked for, and was taken, may come yet. Where it changes nothing about scale-in, and nothing
                // else is on its way, that does not matter.
                let alike = match request {
                    Some(Request::Change { wanted, .. }) => {
                        self.settled = wanted == seen || (self.settled && wanted.scale_in == seen.scale_in);
                        wanted == seen
                    }
                    Some(Request::Look) | None => true,
                };
                self.saw(seen, now);
                if alike {
                    self.trouble.over();
                } else {
                    let text = "it says that the change is done, and shows something else".to_owned();
                    self.trouble.failed(unlike(text), now, chance);
                }
            }
            Err(failure) => {
                match request {
                    _ if failure.doubtful => {
                        self.settled = false;
                        self.seen = None;
                    }
                    // It was refused: nothing came of it.
                    Some(Request::Change { before, .. }) => self.seen = before,
                    Some(Request::Look) | None => {}
                }
                if let Some(found) = failure.found.filter(|_| !failure.doubtful) {
                    self.judge(Some(found), now);
                    self.saw(found, now);
                }
                self.trouble.failed(failure, now, chance);
            }
        }
    }

    /// Notes what was read.
    fn saw(&mut self, seen: Protection, now: Duration) {
        self.seen = self.settled.then_some((seen, now));
        self.lifted = if seen.scale_in { None } else { self.lifted.or(Some(now)) };
    }

    /// Notes whose doing it is that the VM is, or is not, protected as it was found. While a change of the agent's own may
    /// still be on its way nobody can know, also not soon after one.
    fn judge(&mut self, found: Option<Protection>, now: Duration) {
        let Some(found) = found.filter(|_| self.settled) else { return };
        let lifted = self.lifted.is_some_and(|at| now >= at + ECHO);
        self.by_hand = found.scale_in && (self.by_hand || lifted);
    }

    /// What a person should know: that scale-in may take a VM that is in use, or that one stays that nobody uses.
    pub fn problem(&self, node: &Node, instance: &Instance, client_id: &str, now: Duration) -> Option<Problem> {
        let failure = self.trouble.failure.as_ref()?;
        let (since, patience) = match self.bare_since {
            Some(since) => (since, PATIENCE),
            None if self.unlifted => (self.trouble.since, LONG_PATIENCE),
            None => return None,
        };
        if !failure.is_lasting() && now < since + patience {
            return None;
        }
        let identity = match client_id.get(..8) {
            Some(start) => format!(", identity {start}…"),
            None => String::new(),
        };
        let why = format!("{}{identity}, {} in scale set {}", failure.line(), node.name, instance.set);
        if self.bare_since.is_some() {
            let summary = format!(
                "Autoscale may delete this VM with people on it: it cannot be protected from scale-in ({why}). Scale-in \
                 of the whole set is vetoed meanwhile."
            );
            return Some(Problem::new("scale-set.unprotected", summary, remedy(failure)));
        }
        let summary = if self.lifted.is_some() {
            format!(
                "Nobody uses this VM, and it does not count as idle: whether its protection from scale-in is still \
                 lifted cannot be read ({why}). No other VM is held up."
            )
        } else {
            format!(
                "Nobody uses this VM, and it stays all the same: its protection from scale-in cannot be lifted ({why}). \
                 No other VM is held up."
            )
        };
        Some(Problem::new("scale-set.not-lifted", summary, remedy(failure)))
    }
}

/// What to do about a protection that can be neither changed nor read.
fn remedy(failure: &Failure) -> &'static str {
    if failure.is_locked() {
        return "Take the read-only lock off the scale set, or off its resource group or subscription: nothing can be \
                written while it is there.";
    }
    match (failure.service, failure.status, failure.code.as_deref()) {
        (Service::Identity, Some(400 | 404), _) => {
            "Give the scale set a managed identity, and name it in [scale_set] client_id if there are several."
        }
        (_, Some(403), Some("RequestDisallowedByPolicy")) => {
            "A policy of Azure's forbids it: exempt the scale set from it. The scale set's activity log names the policy."
        }
        (_, Some(401 | 403), _) => {
            "Give the VM's identity a role on the scale set with Microsoft.Compute/virtualMachineScaleSets/\
             virtualMachines/read and write. A new role takes up to 10 minutes."
        }
        _ => "It is tried again by itself. If it lasts, see whether the VM reaches management.azure.com.",
    }
}

fn unlike(text: String) -> Failure {
    let service = Service::ResourceManager;
    Failure { service, status: None, code: None, text, retry_after: None, doubtful: true, found: None }
}

#[cfg(test)]
#[path = "protection_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "protection_schedule_tests.rs"]
mod schedule_tests;

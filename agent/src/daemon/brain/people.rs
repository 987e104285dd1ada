//! What people at terminals are told.

use super::super::accounts::Accounts;
use super::{Brain, Mode};
use crate::scale_set::decide::drain::Notice;
use crate::share::model::Failure;
use crate::sys::clock::boottime;
use crate::sys::terminals;
use crate::worker::job::{Answer, Job};
use std::path::Path;

/// What is being told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// The announcement with this number that the VM may go.
    MayGo(u64),
    /// Something about an event of Azure's.
    Notice(Notice),
    /// What was copied for this user.
    Rescued(String),
}

impl Brain {
    /// Notes who is somebody on this machine.
    pub(super) fn know_accounts(&mut self) {
        let known = Accounts::new(&self.idle.range, self.engine.users.users.values().map(|r| r.account.uid));
        if self.idle.accounts != known {
            self.accounts.send_replace(known.clone());
            self.idle.accounts = known;
        }
    }

    /// Tells people at terminals that the VM may go, if they have not been told. A round that ends by itself tells nobody.
    pub(super) fn tell_people(&mut self) {
        if self.mode != Mode::Service || self.ending || self.telling.is_some() || self.scale_set.is_ending() {
            return;
        }
        if let Some((epoch, text)) = self.idle.to_tell(boottime()) {
            self.say_to_people(Words::MayGo(epoch), &text, None);
        }
    }

    /// Writes on the terminals of `whom`, or of everybody. One thing after the other: what cannot be said now comes again.
    pub(super) fn say_to_people(&mut self, words: Words, text: &str, whom: Option<u32>) {
        if self.telling.is_some() {
            return self.said_to_people(&words, false);
        }
        let human = |uid: u32| self.idle.is_human(uid) && whom.is_none_or(|wanted| wanted == uid);
        let mut terminals = terminals::of_people(Path::new("/dev"), &human);
        terminals.retain(|terminal| whom.is_none_or(|uid| terminal.uid == uid));
        if terminals.is_empty() {
            return self.said_to_people(&words, true);
        }
        // A person may have many terminals on many VMs.
        let text = format!("dsvm-agent on {}:\n{text}", self.scale_set.node(&self.identity.host).name);
        match self.client.start(Job::Tell { terminals, text }) {
            Ok(id) => self.telling = Some((words, id)),
            Err(e) => {
                tracing::warn!("no helper process could be asked for: {e}");
                self.said_to_people(&words, false);
            }
        }
    }

    /// What came of it.
    pub(super) fn told_people(&mut self, id: u64, result: &Result<Answer, Failure>) {
        let Some((words, _)) = self.telling.take_if(|(_, of)| *of == id) else { return };
        if let Ok(Answer::Told(count)) = result {
            let what = match &words {
                Words::MayGo(_) => "that this VM may go",
                Words::Notice(_) => "of what Azure announces",
                Words::Rescued(_) => "what was copied to the share",
            };
            tracing::info!(terminals = count, "people at terminals were told {what}");
        }
        self.said_to_people(&words, matches!(result, Ok(Answer::Told(_))));
        self.tend_scale_set();
        self.tend_drain();
    }

    fn said_to_people(&mut self, words: &Words, done: bool) {
        match words {
            Words::MayGo(epoch) => self.idle.tell_done(*epoch, done, boottime()),
            Words::Notice(notice) => self.drain.told(*notice, done),
            Words::Rescued(user) => {
                if let Some(outcome) = self.drain.rescued.get_mut(user) {
                    outcome.told |= done;
                }
            }
        }
    }
}

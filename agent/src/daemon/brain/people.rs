//! What people at terminals are told.

use super::super::idle::is_human;
use super::{Brain, Mode};
use crate::share::model::Failure;
use crate::sys::clock::boottime;
use crate::sys::terminals;
use crate::worker::job::{Answer, Job};
use std::path::Path;

impl Brain {
    /// Tells people at terminals, if there is something that they have not been told. A round that ends by itself tells
    /// nobody.
    pub(super) fn tell_people(&mut self) {
        if self.mode != Mode::Service || self.ending || self.telling.is_some() || self.scale_set.is_ending() {
            return;
        }
        let Some((epoch, text)) = self.idle.to_tell(boottime()) else { return };
        let terminals = self.terminals();
        if terminals.is_empty() {
            return self.idle.tell_done(epoch, true, boottime());
        }
        match self.client.start(Job::Tell { terminals, text: self.headed(&text) }) {
            Ok(id) => self.telling = Some((epoch, id)),
            Err(e) => {
                tracing::warn!("no helper process could be asked for: {e}");
                self.idle.tell_done(epoch, false, boottime());
            }
        }
    }

    /// What came of it.
    pub(super) fn told_people(&mut self, id: u64, result: &Result<Answer, Failure>) {
        let Some((epoch, _)) = self.telling.take_if(|(_, of)| *of == id) else { return };
        if let Ok(Answer::Told(count)) = result {
            tracing::info!(terminals = count, "people at terminals were told that this VM may go");
        }
        self.idle.tell_done(epoch, matches!(result, Ok(Answer::Told(_))), boottime());
        self.tend_scale_set();
    }

    fn terminals(&self) -> Vec<terminals::Terminal> {
        terminals::of_people(Path::new("/dev"), &|uid| is_human(&self.idle.range, &self.engine, uid))
    }

    /// The text below a line that says who speaks, and where: a person may have many terminals on many VMs.
    fn headed(&self, text: &str) -> String {
        format!("dsvm-agent on {}:\n{text}", self.scale_set.node(&self.identity.host).name)
    }
}

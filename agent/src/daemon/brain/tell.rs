//! What the brain publishes and tells the launcher, and when there is nothing new to tell.

use super::super::changes;
use super::super::quiet::{self, PERIOD, PRESENCE};
use super::{Brain, PUBLISH};
use crate::status::model::Status;
use crate::status::{publish, sentence};
use crate::sys::clock::boottime;
use crate::worker::launcher::RUN;
use crate::worker::wire::Ask;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

impl Brain {
    pub(super) fn tell(&mut self, status: Status, idle: bool) {
        let age = self.published.map_or(Duration::MAX, |at| at.elapsed());
        let old = self.status.take();
        self.changes.lines(old.as_ref(), &status, boottime()).iter().for_each(changes::Line::write);
        let turn = old.as_ref().is_none_or(|s| s.share.state != status.share.state || s.health != status.health);
        self.news |= old.is_none_or(|old| !quiet::tells_the_same(&old, &status));
        if self.news && !(idle || turn || age >= PUBLISH) {
            self.look_after(PUBLISH.saturating_sub(age));
        } else if self.news || self.asked || age >= PERIOD - PRESENCE {
            let written = publish::publish(&Path::new(RUN).join("status"), &status);
            if let Err(e) = &written {
                tracing::warn!("the status cannot be written: {e}");
            }
            self.textfile.news = true;
            // What could not be written is still news to whoever reads it.
            (self.published, self.news, self.asked) = (Some(Instant::now()), written.is_err(), false);
            let sentence = sentence::sentence(&status);
            if sentence != self.sentence {
                self.say(&Ask::Status(sentence.clone()));
                self.sentence = sentence;
            }
        }
        self.status = Some(status);
        if !self.announced && self.served.is_some() {
            self.announced = true;
            self.say(&Ask::Ready);
        }
    }

    pub(super) fn say(&mut self, ask: &Ask) {
        self.told = Instant::now();
        if let Err(e) = self.client.tell(ask) {
            tracing::debug!("the launcher was not told: {e}");
        }
    }
}

//! What becomes of a configuration that changed while the brain lives.

use super::super::engine::Engine;
use super::super::orders::{self, Orders};
use super::Brain;
use crate::config;
use crate::sys::clock::boottime;
use crate::sys::random;
use crate::workspace::rescue::watch::Files;
use std::time::Duration;

impl Brain {
    /// Looks whether the configuration changed without anybody saying so: its directory may have been made after the
    /// watch was set, and a watch may lose an event.
    pub(super) fn look_at_config(&mut self) {
        let seal = config::seal(&self.config);
        if seal == self.seal {
            return;
        }
        self.seal = seal;
        let now = orders::read(&self.config);
        let differs = now.settings.is_some_and(|s| s != self.engine.settings);
        if differs || now.mistake != self.engine.mistake {
            self.reload();
        }
    }

    /// Takes the configuration as it is now; whoever asks for that without a change wants everything tried again.
    pub(super) fn reload(&mut self) {
        self.seal = config::seal(&self.config);
        let Orders { settings, mistake, kept } = orders::read(&self.config);
        if mistake.is_none() {
            orders::log_notes(&self.config);
        }
        (self.engine.mistake, self.engine.kept) = (mistake.clone(), kept);
        if let Some(settings) = settings.filter(|s| *s != self.engine.settings) {
            tracing::info!("the configuration changed and is in force");
            let (under_way, stuck) =
                (std::mem::take(&mut self.engine.under_way), std::mem::take(&mut self.engine.stuck));
            let mut named = std::mem::take(&mut self.engine.users.named);
            let mut files = std::mem::take(&mut self.engine.users.files);
            self.engine = Engine { kept, ..Engine::new(settings, mistake, random::seed()) };
            self.engine.users.named.append(&mut named);
            files.values_mut().for_each(Files::doubt);
            self.engine.users.files = files;
            (self.engine.under_way, self.engine.stuck) = (under_way, stuck);
            (self.served, self.through) = (None, false);
        } else {
            // Whoever asked for it wants everything tried again: a new key in the credentials file, most likely.
            (self.engine.share.next_try, self.engine.vault.next) = (Duration::ZERO, Duration::ZERO);
            self.engine.share.keys.taken = None;
            let now = boottime();
            self.engine.users.all_mut().flat_map(|r| r.troubles.values_mut()).for_each(|t| t.again = now);
        }
        self.engine.users.ask();
    }
}

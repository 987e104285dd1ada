//! What the brain answers to the network.

use super::super::listener::{Listener, Page};
use super::{Brain, Mode};
use crate::problem::Problem;
use crate::status::metrics::metrics;
use crate::sys::sockets;
use std::time::Duration;

/// A VM that is still starting is no place to send people to, but not for longer than this.
const STARTING: Duration = Duration::from_secs(60);

impl Brain {
    /// Opens the listener, or another one after the configuration changed; what needs a person if that fails.
    pub(super) fn open_listener(&mut self) -> Option<Problem> {
        let wanted = self.engine.settings.scale_set.listen.filter(|_| self.mode == Mode::Service);
        if self.listener.as_ref().map(|l| l.address) == wanted {
            return None;
        }
        // The old one first: the new one may want its port.
        self.listener = None;
        match Listener::open(wanted?, self.page()) {
            Ok(listener) => self.listener = Some(listener),
            Err(e) => {
                let taken = e.kind() == std::io::ErrorKind::AddrInUse;
                let by = wanted.filter(|_| taken).and_then(|address| self.holder(address.port()));
                let by = by.map(|who| format!(", by a program of {who}'s")).unwrap_or_default();
                let summary = format!("The address {} of [scale_set] listen cannot be used: {e}{by}.", wanted?);
                let remedy = "Name a port that is free, and an address of this VM, or 0.0.0.0 for all; or end what uses it: sudo ss -ltnp";
                return Some(Problem::new("scale-set.listener", summary, remedy));
            }
        }
        None
    }

    /// Who listens at a port, as far as the kernel says.
    fn holder(&self, port: u16) -> Option<String> {
        let uid = sockets::listeners().ok()?.into_iter().find(|l| l.port == port)?.uid;
        let record = self.engine.users.users.values().find(|r| r.account.uid == uid);
        let other = || if uid == 0 { "root".to_owned() } else { format!("uid {uid}") };
        Some(record.map_or_else(other, |r| r.account.name.clone()))
    }

    /// Answers with what is so now.
    pub(super) fn show_network(&self) {
        if let Some(listener) = &self.listener {
            listener.show(self.page());
        }
    }

    fn page(&self) -> Page {
        let not_ready = if self.scale_set.is_ending() {
            Some("draining")
        } else if self.served.is_none() && self.began.elapsed() < STARTING {
            Some("starting")
        } else {
            None
        };
        Page { not_ready, metrics: self.status.as_ref().map(metrics).unwrap_or_default() }
    }
}

//! What the package's unit runs while the VM goes down: as soon as the file server is dead, what cannot be written there is
//! given up, so that the programs that wait for it end: [`crate::share::abandon`]. While the server answers, or while nobody knows
//! whether it does, it only looks.

use crate::config::settings::Kind;
use crate::share::abandon::place::Places;
use crate::share::abandon::silence::{self, Look, Silence};
use crate::share::abandon::unmounting::Unmounting;
use crate::share::abandon::{self, Ending, Server};
use crate::share::doctor::examine::GREETING;
use crate::share::doctor::{Examine, Examined};
use crate::share::model::Attempt;
use crate::sys::clock::boottime;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::{process, systemd};
use crate::worker::job::{Answer, Job};
use crate::worker::spawn::Asker;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a server may take to answer. It is a question that costs it nothing.
const ANSWER: Duration = Duration::from_secs(4);
// Whoever asks says itself that there was no answer, with time left to start and to say so.
const _: () = assert!(GREETING.as_millis() < ANSWER.as_millis());
/// The user nobody looks: what a server writes is not read with root's rights.
const NOBODY: (u32, u32) = (65534, 65534);

/// Watches until nothing of the share is mounted any more, nor being unmounted. Returns the exit code.
///
/// # Errors
/// In words: the machine does not go down, or not any more, so that nothing may be given up.
pub fn run(config: &Path) -> Result<u8, String> {
    let config = std::path::absolute(config).map_err(|e| format!("{}: {e}", config.display()))?;
    process::hide().map_err(|e| e.to_string())?;
    let mut systemd = Systemd::default();
    let mut silence = BTreeMap::<Server, Silence>::new();
    let mut dead = Dead::default();
    let mut asked = Asked { asker: Asker::default(), config: &config };
    let mut unmounting = Unmounting::default();
    loop {
        // Whoever looked and took long to end. At the very end systemd waits 90 s for each process, also for one that has ended
        // and that its parent has not been told of.
        asked.asker.reap();
        let goes_down = systemd.says();
        if goes_down == Some(false) {
            // An order to go down can be taken back, and systemd can begin anew without a boot. Nobody stands in any longer.
            return Err("this VM does not go down".to_owned());
        }
        // What cannot be read is read the next time.
        let mounts = mountinfo::read().ok();
        if let Some(mounts) = &mounts {
            unmounting.look(mounts);
        }
        let mut servers = mounts.as_deref().map(abandon::servers);
        // What is unmounted while its server is dead is mounted no more, and holds everybody up.
        servers.iter_mut().for_each(|servers| servers.extend(unmounting.servers()));
        if dead.servers.is_empty() && servers.as_ref().is_some_and(BTreeMap::is_empty) {
            return Ok(0);
        }
        for (server, kind) in servers.unwrap_or_default() {
            let mounts = mounts.as_deref().unwrap_or_default();
            if dead.servers.contains(&server) {
                // One that was covered, or just being made.
                let _ = dead.ending.tell(mounts, server);
                unmounting.end(server);
                continue;
            }
            let began = boottime();
            let Some(answered) = asked.answers(server, kind) else { continue };
            let silence = silence.entry(server).or_default();
            *silence = silence.after(Look { began, answered, moved: abandon::moved(server) });
            if !silence.is_death(boottime()) || goes_down != Some(true) {
                continue;
            }
            match asked.answers_mounts(server) {
                Some(false) => {}
                Some(true) => {
                    *silence = Silence::default();
                    continue;
                }
                None => continue,
            }
            dead.give_up(mounts, server, kind);
            if dead.servers.contains(&server) {
                unmounting.end(server);
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Who asks file servers.
struct Asked<'a> {
    asker: Asker,
    config: &'a Path,
}

impl Asked<'_> {
    /// Whether such a server answers there; nothing, when it could not be asked: that says nothing of the server.
    fn answers(&mut self, (address, port): Server, kind: Kind) -> Option<bool> {
        let job = Job::Examine { what: Examine::Greet { address, port, kind } };
        heard(&self.asker.ask_within(ANSWER, &job, NOBODY, self.config))
    }

    /// Whether a server answers over the connection that what is mounted of it has, which may live while no new one comes
    /// about: where a firewall's table of connections is full, for one.
    fn answers_mounts(&mut self, (address, port): Server) -> Option<bool> {
        let job = Job::Examine { what: Examine::Held { address, port } };
        if self.asker.is_at(&job) {
            return Some(false);
        }
        let began = boottime();
        let answer = self.asker.ask_within(ANSWER, &job, NOBODY, self.config);
        held(&answer, boottime().saturating_sub(began))
    }
}

/// What the helper that greets a server found out of it. Nothing, when it said nothing: what a server does ends in time
/// (`greet`), so the helper was late.
fn heard(answer: &Result<Answer, String>) -> Option<bool> {
    match answer {
        Ok(Answer::Examined(_)) => Some(true),
        Ok(Answer::Failed(failure)) => silence::shown_by(failure),
        _ => None,
    }
}

/// What it means for the server that the helper that asks a file system of it said this after so long. One that
/// takes all its time waits for the server: whether it does so for another reason need not be known any more, since the server
/// was silent for long before it is asked this.
fn held(answer: &Result<Answer, String>, took: Duration) -> Option<bool> {
    match answer {
        Ok(Answer::Examined(Examined::Held { ms })) => Some(ms.is_some()),
        Ok(Answer::Failed(failure)) if failure.attempt == Attempt::Probe => Some(false),
        Err(_) if took >= ANSWER => Some(false),
        _ => None,
    }
}

/// What systemd says. It has much to do at this moment, and is not waited for.
#[derive(Default)]
struct Systemd {
    asked: Option<mpsc::Receiver<Option<bool>>>,
    said: Option<bool>,
}

impl Systemd {
    /// Whether the machine goes down, as it was said last; nothing as long as it was not.
    fn says(&mut self) -> Option<bool> {
        let asked = self.asked.take().unwrap_or_else(|| {
            let (tell, told) = mpsc::channel();
            // One that cannot be had gives no answer: its end of the channel is dropped with it.
            let _ = std::thread::Builder::new().spawn(move || tell.send(systemd::goes_down()));
            told
        });
        match asked.try_recv() {
            Ok(said) => self.said = said.or(self.said),
            Err(mpsc::TryRecvError::Empty) => self.asked = Some(asked),
            Err(mpsc::TryRecvError::Disconnected) => {}
        }
        self.said
    }
}

/// What is done to servers that are dead.
#[derive(Default)]
struct Dead {
    servers: BTreeSet<Server>,
    ending: Ending,
    places: Places,
    /// Why nothing could be given up, as it was said last: it is tried again with every look.
    said: BTreeMap<Server, String>,
}

impl Dead {
    /// Gives up what waits to be written to a server. When nobody can take its place nothing is told that it ends, which
    /// cannot be taken back: everything waits for the server, as without this.
    fn give_up(&mut self, mounts: &[Mount], server: Server, kind: Kind) {
        let (address, _) = server;
        let silent = format!("The file server at {address} does not answer while this VM goes down.");
        // The kernel's NFS client needs nobody there.
        let taken = if kind == Kind::Nfs { Ok(()) } else { self.places.take(server, mounts) };
        if let Err(e) = taken {
            let why = e.to_string();
            if self.said.get(&server) != Some(&why) {
                tracing::warn!(
                    "{silent} Nothing can stand in for it, and what is not written there waits for it: {why}"
                );
            }
            self.said.insert(server, why);
            return;
        }
        // Before 6.15 the kernel ends the client of a whole server with one of its file systems (`shut_down` of nfs.rs).
        let others =
            if kind == Kind::Nfs { ", also by what else is mounted from it here on Linux 6.5 to 6.14" } else { "" };
        tracing::warn!("{silent} What is not written there is given up{others}.");
        self.servers.insert(server);
        // An old kernel does not know it, and gives up without.
        if let Err(e) = self.ending.tell(mounts, server) {
            tracing::warn!("Not every file system of the share could be told that it ends: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::model::Failure;

    #[test]
    fn a_helper_that_says_nothing_says_nothing_of_the_server() {
        for (answer, expected) in [
            (Ok(Answer::Failed(Failure::said(Attempt::Worker, "x"))), None),
            // Whoever asks is late, or was never started.
            (Err("there is no answer within 4 s".to_owned()), None),
            (Ok(Answer::Done), None),
            (Ok(Answer::Examined(Examined::Held { ms: None })), Some(true)),
        ] {
            assert_eq!(heard(&answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn what_is_mounted_is_silent_when_it_fails_or_is_waited_for() {
        let failed = |attempt| Ok(Answer::Failed(Failure::said(attempt, "x")));
        let error = || Err("x".to_owned());
        let examined = |ms| Ok(Answer::Examined(Examined::Held { ms }));
        for (answer, took, expected) in [
            (examined(Some(1.0)), Duration::ZERO, Some(true)),
            (examined(None), Duration::ZERO, Some(false)),
            (failed(Attempt::Probe), Duration::ZERO, Some(false)),
            (failed(Attempt::Worker), Duration::ZERO, None),
            (error(), Duration::ZERO, None),
            (error(), ANSWER, Some(false)),
        ] {
            assert_eq!(held(&answer, took), expected, "{answer:?} after {took:?}");
        }
    }
}

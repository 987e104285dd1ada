//! What the package's unit runs while the VM goes down: as soon as the file server is dead, what cannot be written there is
//! given up, so that the programs that wait for it end: [`crate::share::abandon`]. While the server answers it only looks.

use crate::config::settings::Kind;
use crate::share::abandon::silence::{Look, Silence};
use crate::share::abandon::unmounting::Unmounting;
use crate::share::abandon::{self, Ending, Server, stand_in};
use crate::share::doctor::Examine;
use crate::share::model::Attempt;
use crate::sys::clock::boottime;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::{process, systemd};
use crate::worker::job::{Answer, Job};
use crate::worker::spawn;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a server may take to answer. It is a question that costs it nothing.
const ANSWER: Duration = Duration::from_secs(4);
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
    let mut dead = BTreeSet::new();
    let mut ending = Ending::default();
    let mut unmounting = Unmounting::default();
    loop {
        // Whoever looked and took long to end. At the very end systemd waits 90 s for each process, also for one that has ended
        // and that its parent has not been told of.
        spawn::reap();
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
        if dead.is_empty() && servers.as_ref().is_some_and(BTreeMap::is_empty) {
            return Ok(0);
        }
        for (server, kind) in servers.unwrap_or_default() {
            let mounts = mounts.as_deref().unwrap_or_default();
            if dead.contains(&server) {
                // One that was covered, or just being made.
                let _ = ending.tell(mounts, server);
                unmounting.end(server);
                continue;
            }
            let began = boottime();
            let Some(answered) = answers(server, kind, &config) else { continue };
            let silence = silence.entry(server).or_default();
            *silence = silence.after(Look { began, answered, moved: abandon::moved(server) });
            if silence.is_death(boottime()) && goes_down == Some(true) && give_up(&mut ending, mounts, server, kind) {
                dead.insert(server);
                unmounting.end(server);
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether such a server answers there; nothing, when it could not be asked: that says nothing of the server.
fn answers((address, port): Server, kind: Kind, config: &Path) -> Option<bool> {
    let job = Job::Examine { what: Examine::Greet { address, port, kind } };
    let began = boottime();
    let answer = spawn::ask_within(ANSWER, &job, NOBODY, config);
    heard(&answer, boottime().saturating_sub(began))
}

/// What it means that the helper said this after so long.
fn heard(answer: &Result<Answer, String>, took: Duration) -> Option<bool> {
    match answer {
        Ok(Answer::Examined(_)) => Some(true),
        Ok(Answer::Failed(failure)) if failure.attempt != Attempt::Worker => Some(false),
        // It waited for the server all that time. One that ended before, or was never started, did not.
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
            std::thread::spawn(move || tell.send(systemd::goes_down()));
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

/// Gives up what waits to be written to a server. Whether that was begun.
fn give_up(ending: &mut Ending, mounts: &[Mount], server: Server, kind: Kind) -> bool {
    let (address, port) = server;
    tracing::warn!(
        "The file server at {address} does not answer while this VM goes down. What is not written there is given up."
    );
    // An old kernel does not know it, and gives up without.
    if let Err(e) = ending.tell(mounts, server) {
        tracing::warn!("Not every file system of the share could be told that it ends: {e}");
    }
    if kind == Kind::Nfs {
        return true;
    }
    let begun = abandon::replace(server).and_then(|listener| {
        let name = format!("stand-in:{port}");
        std::thread::Builder::new().name(name).spawn(move || stand_in::stand_in(listener, address))
    });
    if let Err(e) = &begun {
        tracing::warn!("Nothing can stand in for the file server, and programs that wait for it go on waiting: {e}");
    }
    begun.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::model::Failure;

    #[test]
    fn a_server_that_could_not_be_asked_is_not_silent() {
        let failed = |attempt| Ok(Answer::Failed(Failure::said(attempt, "x")));
        let error = || Err("x".to_owned());
        for (answer, took, expected) in [
            (failed(Attempt::Connect), Duration::ZERO, Some(false)),
            (failed(Attempt::Worker), Duration::ZERO, None),
            (error(), Duration::ZERO, None),
            (error(), ANSWER, Some(false)),
            (Ok(Answer::Done), Duration::ZERO, None),
        ] {
            assert_eq!(heard(&answer, took), expected, "{answer:?} after {took:?}");
        }
    }
}

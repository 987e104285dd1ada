//! What the package's unit runs while the VM goes down: as soon as the file server is dead, what cannot be written there is
//! given up, so that the programs that wait for it end: [`crate::share::abandon`]. While the server answers it only looks.

use crate::config::settings::Kind;
use crate::share::abandon::silence::{Look, Silence};
use crate::share::abandon::unmounting::Unmounting;
use crate::share::abandon::{self, Ending, Server, stand_in};
use crate::share::doctor::{Examine, sign};
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
/// How long a helper may take that asks a server: longer than it waits for the server itself, so that one that says nothing
/// in that time was held up by this machine.
const ANSWER: Duration = Duration::from_secs(sign::BUDGET.as_secs() + 2);
/// The user nobody looks: what a server writes is not read with root's rights.
const NOBODY: (u32, u32) = (65534, 65534);

/// Watches until nothing of the share is mounted any more, nor being unmounted; where a server is dead, until it is ended. Returns
/// the exit code.
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
    let mut complaint = String::new();
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
            if silence.is_death(boottime()) && goes_down == Some(true) {
                match give_up(&mut ending, mounts, server, kind) {
                    Ok(()) => {
                        dead.insert(server);
                        unmounting.end(server);
                    }
                    // Tried again, and said once.
                    Err(why) if why == complaint => {}
                    Err(why) => {
                        tracing::warn!("{why}");
                        complaint = why;
                    }
                }
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether such a server answers there; nothing, when it could not be asked: that says nothing of the server.
fn answers((address, port): Server, kind: Kind, config: &Path) -> Option<bool> {
    let job = Job::Examine { what: Examine::Sign { address, port, kind } };
    heard(&spawn::ask_within(ANSWER, &job, NOBODY, config))
}

/// What it means that the helper said this. What users do to this VM is never taken for a server's death: that nothing
/// was heard of a helper, or that it had no port, descriptor or memory to ask with.
fn heard(answer: &Result<Answer, String>) -> Option<bool> {
    match answer {
        Ok(Answer::Examined(_)) => Some(true),
        Ok(Answer::Failed(failure)) if failure.errno.is_some_and(sign::is_silence) => Some(false),
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
            // Where no thread can be had, nothing is said.
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

/// Gives up what waits to be written to a server. Nothing is, before it is certain that somebody can stand in for it: one
/// without the other would lose what is not written, and hold up the VM all the same.
///
/// # Errors
/// In words, why nobody can stand in. Nothing was given up.
fn give_up(ending: &mut Ending, mounts: &[Mount], server: Server, kind: Kind) -> Result<(), String> {
    let (address, port) = server;
    if kind == Kind::Smb {
        let begun = abandon::replace(mounts, server).and_then(|listener| {
            let name = format!("stand-in:{port}");
            std::thread::Builder::new().name(name).spawn(move || stand_in::stand_in(listener, address))
        });
        begun.map_err(|e| {
            format!("Nothing can stand in for the file server at {address}, so that programs wait for it: {e}")
        })?;
    }
    tracing::warn!(
        "The file server at {address} does not answer while this VM goes down. What is not written there is given up."
    );
    // An old kernel does not know it, and gives up without.
    if let Err(e) = ending.tell(mounts, server) {
        tracing::warn!("Not every file system of the share could be told that it ends: {e}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::doctor::Examined;
    use crate::share::model::{Attempt, Failure};

    #[test]
    fn only_a_servers_own_silence_is_silence() {
        let failed = |attempt, errno| Ok(Answer::Failed(Failure { errno, ..Failure::said(attempt, "x") }));
        for (answer, expected) in [
            (Ok(Answer::Examined(Examined::Open { ms: 1.0 })), Some(true)),
            (failed(Attempt::Connect, Some(libc::ETIMEDOUT)), Some(false)),
            (failed(Attempt::Connect, Some(libc::ECONNREFUSED)), Some(false)),
            // A user has every port, or all descriptors.
            (failed(Attempt::Connect, Some(libc::EADDRNOTAVAIL)), None),
            (failed(Attempt::Connect, Some(libc::EMFILE)), None),
            (failed(Attempt::Connect, None), None),
            (failed(Attempt::Worker, None), None),
            // Nothing was heard of the helper, which had no time of the processor.
            (Err("x".to_owned()), None),
            (Ok(Answer::Done), None),
        ] {
            assert_eq!(heard(&answer), expected, "{answer:?}");
        }
    }
}

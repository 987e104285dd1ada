//! Starting a worker, and, for a command that an administrator gave, waiting for its answer.

use super::child;
use super::job::{Answer, Job};
use super::launcher::USER;
use super::started::{Started, copy, start};
use super::wire;
use crate::share::model::{Attempt, Failure};
use crate::sys::clock::boottime;
use crate::sys::process;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::{CStr, CString};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// What a worker gets of the environment: where the log and systemd's credentials are.
const KEPT: &[&str] = &["JOURNAL_STREAM", "CREDENTIALS_DIRECTORY"];

/// Longest answer that is read.
const LIMIT: usize = 16 * 1024 * 1024;

/// Starts a worker with its job on standard input. The answer goes to `answer`.
///
/// # Errors
/// As of the calls. Then no worker is left: one of which nobody knows would have no deadline, and a second one would be
/// started for its target.
pub(crate) fn spawn(job: &Job, own: (u32, u32), config: &Path, answer: OwnedFd) -> io::Result<Started> {
    let failure = Failure::said(Attempt::Worker, "the helper process could not be started");
    let excuse = serde_json::to_vec(&Answer::Failed(failure))?;
    let arguments = arguments(config)?;
    given(job, own, |input| Ok(start(&arguments, KEPT, (input, answer), &excuse)?))
}

/// A worker that has no job yet: it is started ahead, and waits for one.
#[derive(Debug)]
pub(super) struct Ahead {
    process: Started,
    job: OwnedFd,
}

impl Ahead {
    /// Starts it.
    ///
    /// # Errors
    /// As of [`spawn`].
    pub(super) fn start(config: &Path) -> io::Result<Self> {
        let (job, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
        // One that does not come up is noticed by whoever gives it a job.
        let process = start(&arguments(config)?, KEPT, (theirs, nowhere.into()), &[])?;
        Ok(Self { process, job })
    }

    /// Gives it its job: as [`spawn`].
    ///
    /// # Errors
    /// The killed worker, when it did not come up, or the job is too long.
    pub(super) fn give(self, job: &Job, own: (u32, u32), answer: &OwnedFd) -> Result<Started, Started> {
        match wire::send(&self.job, &(job, own), Some(answer)) {
            Ok(()) => Ok(self.process),
            Err(_) => Err(self.end()),
        }
    }

    /// Kills it, since nobody has a job for it. It is still to be waited for.
    pub(super) fn end(self) -> Started {
        self.process.kill();
        self.process
    }
}

/// What a worker of its own program is started with.
fn arguments(config: &Path) -> io::Result<Vec<CString>> {
    let arguments = [c"dsvm-agent", c"worker", c"--config"].map(CStr::to_owned).into_iter();
    Ok(arguments.chain([CString::new(config.as_os_str().as_bytes())?]).collect())
}

/// The same as a copy of this process, which must have one thread.
///
/// # Errors
/// As of [`spawn`].
pub(super) fn copied(job: &Job, own: (u32, u32), config: &Path, answer: OwnedFd) -> io::Result<Started> {
    given(job, own, |input| {
        let work = || {
            // The launcher's own: its lock and its socket, among others, must end with it.
            process::close_others();
            i32::from(child::run(config).is_err())
        };
        Ok(copy((input, answer), work)?)
    })
}

/// Gives a worker its job, once it is started.
fn given(job: &Job, own: (u32, u32), started: impl FnOnce(OwnedFd) -> io::Result<Started>) -> io::Result<Started> {
    let envelope = serde_json::to_vec(&(job, own))?;
    let (input, mut give) = io::pipe()?;
    let worker = started(input.into())?;
    // A pipe takes 64 KiB without waiting; a larger job waits for the worker to read, which it does first thing.
    if let Err(e) = give.write_all(&envelope) {
        // It has not read its job to the end, and so has begun nothing in which it could hang.
        worker.kill();
        worker.wait();
        return Err(e);
    }
    Ok(worker)
}

/// So long it is waited for the end of what was killed, in milliseconds.
const END: u16 = 1000;

/// A way to start a worker.
type Start = fn(&Job, (u32, u32), &Path, OwnedFd) -> io::Result<Started>;

/// Starts a worker and waits for its answer, for as long as the job may take.
///
/// # Errors
/// In words, when there is no answer. A job that failed is an answer.
pub fn ask(job: &Job, own: (u32, u32), config: &Path) -> Result<Answer, String> {
    ask_within(job.deadline(), job, own, config)
}

/// The same, for no longer than `within`.
///
/// # Errors
/// As of [`ask`].
pub fn ask_within(within: Duration, job: &Job, own: (u32, u32), config: &Path) -> Result<Answer, String> {
    // This process ends soon, and whoever is left behind with it.
    ask_one(spawn, within, job, own, config, drop)
}

/// Asks workers for a process that lives on, and keeps in mind who of them could not be ended.
#[derive(Debug, Default)]
pub struct Asker {
    left: Vec<(Job, Started)>,
}

impl Asker {
    /// As of [`ask_within`].
    ///
    /// # Errors
    /// As of [`ask`].
    pub fn ask_within(
        &mut self,
        within: Duration,
        job: &Job,
        own: (u32, u32),
        config: &Path,
    ) -> Result<Answer, String> {
        ask_one(spawn, within, job, own, config, |child| self.left.push((job.clone(), child)))
    }

    /// Takes those off the table of processes that were left behind, and have ended since: those, and no other child of this
    /// process, which whoever started it waits for.
    pub fn reap(&mut self) {
        self.left.retain(|(_, child)| !child.has_ended());
    }

    /// Whether one that was asked this still does not end: a second one would wait as well.
    pub fn is_at(&self, job: &Job) -> bool {
        self.left.iter().any(|(at, _)| at == job)
    }
}

fn ask_one(
    start: Start,
    within: Duration,
    job: &Job,
    own: (u32, u32),
    config: &Path,
    leave: impl FnOnce(Started),
) -> Result<Answer, String> {
    let (out, answer) = io::pipe().map_err(|e| format!("a pipe: {e}"))?;
    let child = start(job, own, config, answer.into()).map_err(|e| format!("starting a helper: {e}"))?;
    let answer = listen(out, within);
    // One that cannot be ended is left behind: it ends with this process's death, or when the server answers. All others
    // take a moment, on a busy machine a long one, and must not stay as what nobody waited for.
    child.kill();
    let _ = poll(&mut [PollFd::new(child.as_fd(), PollFlags::POLLIN)], END);
    if !child.has_ended() {
        leave(child);
    }
    serde_json::from_slice(&answer?).map_err(|_| "the helper process gave no answer".to_owned())
}

fn listen(mut out: PipeReader, within: Duration) -> Result<Vec<u8>, String> {
    let until = boottime() + within;
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 16 * 1024];
    loop {
        let left = until.saturating_sub(boottime());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(out.as_fd(), PollFlags::POLLIN)], timeout).unwrap_or(0);
        if ready == 0 {
            if boottime() >= until {
                return Err(format!("there is no answer within {} s", within.as_secs()));
            }
            continue;
        }
        match out.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(n) => bytes.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.to_string()),
        }
        if bytes.len() > LIMIT {
            return Err("the answer is too long".to_owned());
        }
    }
}

/// The numbers of the agent's own user, asked for by a worker like any other look-up: a name service may hang.
///
/// # Errors
/// In words: there is no such user, or nobody says.
pub fn identity(config: &Path) -> Result<(u32, u32), String> {
    look_up(spawn, config)
}

/// The same, by a copy of this process, which must have one thread, and know nothing yet: name services load foreign
/// libraries.
///
/// # Errors
/// As of [`identity`].
pub(super) fn identity_by_copy(config: &Path) -> Result<(u32, u32), String> {
    look_up(copied, config)
}

fn look_up(start: Start, config: &Path) -> Result<(u32, u32), String> {
    let missing =
        || format!("there is no user {USER}; the package makes it: sudo useradd --system --no-create-home {USER}");
    let job = Job::Identity { name: USER.to_owned() };
    // Nobody's numbers will do for looking up: nobody owns anything.
    let answer = ask_one(start, job.deadline(), &job, (65534, 65534), config, drop);
    match answer.map_err(|why| format!("looking up {USER}: {why}"))? {
        Answer::Identity { ids: Some((uid, gid)) } if uid != 0 && gid != 0 => Ok((uid, gid)),
        Answer::Identity { .. } => Err(missing()),
        Answer::Failed(failure) => Err(format!("looking up {USER}: {}", failure.line())),
        _ => Err(format!("looking up {USER}: the helper process gave no answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    /// What is started here is this test's own program, which takes no job and ends.
    #[test]
    fn one_that_takes_no_job_leaves_nothing_behind() {
        let job = Job::MountPoints { directories: vec!["notebooks/x".to_owned(); 100_000] };
        let answer = std::fs::File::options().write(true).open("/dev/null").unwrap();
        assert!(spawn(&job, (0, 0), Path::new("/nonexistent"), answer.into()).is_err());
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        assert_eq!(waitid(Id::All, flags), Err(nix::errno::Errno::ECHILD), "neither running nor waited for");
    }

    /// The same program, which closes its output before it ends: whoever listened is told before it can be waited for.
    #[test]
    fn one_that_was_asked_leaves_nothing_behind() {
        for _ in 0..20 {
            assert!(ask(&Job::KeepSettings, (0, 0), Path::new("/nonexistent")).is_err());
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            assert_eq!(waitid(Id::All, flags), Err(nix::errno::Errno::ECHILD), "neither running nor waited for");
        }
    }

    #[test]
    fn only_who_was_left_behind_is_taken_off_the_table() {
        let mut other = std::process::Command::new("true").spawn().unwrap();
        // Of another, which has ended, whoever started it is still to hear.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let id = |child: &std::process::Child| Id::Pid(nix::unistd::Pid::from_raw(child.id().try_into().unwrap()));
        waitid(id(&other), flags).unwrap();
        let mut left = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let started = Started::of_child(&left);
        let (is, is_not) = (Job::KeepSettings, Job::Probe);
        let mut asker = Asker { left: vec![(is.clone(), started)] };
        asker.reap();
        assert!(asker.is_at(&is) && !asker.is_at(&is_not), "it has not ended");
        asker.left.iter().for_each(|(_, child)| child.kill());
        waitid(id(&left), flags).unwrap();
        asker.reap();
        assert!(!asker.is_at(&is));
        assert_eq!(left.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
        assert!(other.wait().unwrap().success());
    }
}

//! The launcher: the one process that stays root. It starts the brain and the workers, ends workers that are late,
//! passes signals on, and speaks to systemd. It parses nothing but its own socket pair, and reads no answer.

use super::job::Job;
use super::spawn::{Ahead, copied, identity_by_copy, spawn};
use super::started::Started;
use super::wire::{self, Ask, Ending, Tell};
use crate::sys::clock::boottime;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags};
use sd_notify::NotifyState;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// So many workers at once, stuck ones not counted: eight for the share and its users, one for each thing that is asked
/// of Azure, of which one waits there for news all the time, and those that look for use of the VM.
const AT_ONCE: usize = 18;
/// So many messages of the brain's are taken in one turn.
const AT_A_TURN: usize = 64;
/// So much room, in bytes, gets an answer that users can make long. It is memory only as far as it is filled.
const ROOM: usize = 8 * 1024 * 1024;
/// A killed worker that is still there after this is stuck.
const DYING: Duration = Duration::from_secs(2);
/// How long the brain may take to end.
const ENDING: Duration = Duration::from_secs(5);
/// systemd is told that the service is ready after this at the latest, whatever the share or the brain does: boot and
/// log-in wait for it.
pub const READY_AT_LATEST: Duration = Duration::from_secs(19);
/// How long after the brain's death it is started again.
const AGAIN: Duration = Duration::from_secs(1);
/// systemd is told at most this often that the brain is alive, and waits for it for a minute.
const ALIVE: Duration = Duration::from_secs(10);
/// The agent's own user.
pub const USER: &str = "dsvm-agent";
/// Everything of the agent's that does not outlive the boot.
pub const RUN: &str = "/run/dsvm-agent";

/// The last configuration without a mistake, below [`RUN`].
pub const LAST_GOOD: &str = "/run/dsvm-agent/last-good.json";

/// What the launcher is started for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The brain's arguments.
    pub brain: Vec<String>,
    /// The configuration file, for workers.
    pub config: PathBuf,
    /// The brain stays: it is started again when it dies.
    pub service: bool,
    /// Only jobs that look are started.
    pub look_only: bool,
}

struct Worker {
    /// The brain's number for it; nothing when that brain is dead: the next one counts anew.
    id: Option<u64>,
    target: String,
    process: Started,
    /// Kill it then; when that is past: call it stuck then.
    deadline: Option<Duration>,
    killed: bool,
    stuck: bool,
}

/// Runs the launcher until the brain is through or a signal ends it. Returns the exit code.
///
/// # Errors
/// In words, when it cannot start.
pub fn run(options: &Options) -> Result<u8, String> {
    crate::sys::process::hide().map_err(|e| format!("PR_SET_DUMPABLE: {e}"))?;
    if !rustix::process::geteuid().is_root() {
        return Err("this needs root: sudo dsvm-agent …".to_owned());
    }
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let ready_by = options.service.then(|| boottime() + READY_AT_LATEST);
    let own = identity_by_copy(&options.config)?;
    directories(own).map_err(|e| format!("{RUN}: {e}"))?;
    let _lock = if options.look_only { None } else { Some(lock()?) };
    let mut mask = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|s| mask.add(s));
    mask.thread_block().map_err(|e| format!("signals: {e}"))?;
    let signals =
        SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(|e| e.to_string())?;
    let (workers, alive) = (BTreeMap::new(), Duration::ZERO);
    let mut launcher = Launcher { options, own, workers, ahead: None, next: 0, ending: None, ready_by, alive };
    loop {
        let code = launcher.one_brain(&signals)?;
        if launcher.ending.is_some() || !options.service {
            return Ok(code);
        }
        tracing::error!(exit_code = code, "the agent's main process ended by itself; starting it again");
        std::thread::sleep(AGAIN);
    }
}

struct Launcher<'a> {
    options: &'a Options,
    own: (u32, u32),
    workers: BTreeMap<u64, Worker>,
    /// The first worker that is a program of its own, while people may be waiting: most of what it does is to load.
    ahead: Option<Ahead>,
    next: u64,
    ending: Option<Duration>,
    ready_by: Option<Duration>,
    /// When systemd was told last that the brain is alive.
    alive: Duration,
}

impl Launcher<'_> {
    fn one_brain(&mut self, signals: &SignalFd) -> Result<u8, String> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|e| format!("socketpair: {e}"))?;
        let mut brain = self.start_brain(theirs).map_err(|e| format!("starting the main process: {e}"))?;
        let pidfd = pidfd(&brain).map_err(|e| e.to_string())?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(|e| e.to_string())?;
        if self.ready_by.is_some() && self.ahead.is_none() {
            self.ahead = Ahead::start(&self.options.config).ok();
        }
        let code = loop {
            self.wait(&[ours.as_fd(), pidfd.as_fd(), std::os::fd::AsFd::as_fd(signals)]);
            self.signals(signals, &ours);
            self.messages(&ours);
            self.reap(&ours);
            self.late(&ours);
            if self.ready_by.is_some_and(|at| boottime() >= at) {
                self.ready();
            }
            if let Ok(Some(status)) = brain.try_wait() {
                break u8::try_from(status.code().unwrap_or(70)).unwrap_or(70);
            }
            if self.ending.is_some_and(|at| boottime() >= at) {
                let _ = brain.kill();
            }
        };
        // What the dead brain asked for has nobody to answer to.
        for worker in self.workers.values_mut() {
            worker.process.kill();
            (worker.id, worker.killed) = (None, true);
            worker.deadline = Some(boottime() + DYING);
        }
        if self.ending.is_some() {
            self.ahead.take().map(Ahead::end);
        }
        Ok(code)
    }

    /// Keeps in mind, until it has ended, what was killed and has nobody to answer to.
    fn forget(&mut self, process: Started) {
        self.next += 1;
        let (target, deadline) = ("ahead".to_owned(), Some(boottime() + DYING));
        let worker = Worker { id: None, target, process, deadline, killed: true, stuck: false };
        self.workers.insert(self.next, worker);
    }

    fn start_brain(&self, theirs: OwnedFd) -> io::Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("dsvm-agent").arg("brain").args(&self.options.brain);
        command.env_clear().uid(self.own.0).gid(self.own.1).stdin(Stdio::from(theirs)).current_dir("/");
        // Where the log goes is systemd's to say; it tells the log's format, and nothing else of the environment.
        command.envs(std::env::vars_os().filter(|(k, _)| k == "JOURNAL_STREAM"));
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; sigprocmask(2) is one.
        unsafe {
            // The launcher takes its signals by descriptor and so has them blocked; what it starts must not.
            command.pre_exec(|| Ok(SigSet::all().thread_unblock()?));
        }
        command.spawn()
    }

    fn wait(&self, others: &[std::os::fd::BorrowedFd<'_>]) {
        let now = boottime();
        let deadlines = self.workers.values().filter_map(|w| w.deadline).chain(self.ending).chain(self.ready_by);
        let timeout = deadlines.min().map(|at| at.saturating_sub(now));
        let timeout = timeout.map_or(PollTimeout::NONE, |t| {
            PollTimeout::try_from(t + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds: Vec<PollFd<'_>> = others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        fds.extend(self.workers.values().map(|w| PollFd::new(w.process.as_fd(), PollFlags::POLLIN)));
        // An interrupted or failed poll only means another turn.
        let _ = poll(&mut fds, timeout);
    }

    fn signals(&mut self, signals: &SignalFd, brain: &OwnedFd) {
        while let Ok(Some(signal)) = signals.read_signal() {
            let tell = if signal.ssi_signo == libc::SIGHUP.unsigned_abs() { Tell::Reload } else { Tell::Terminate };
            if tell == Tell::Terminate {
                let _ = notify(&[NotifyState::Stopping]);
                self.ending.get_or_insert(boottime() + ENDING);
            }
            self.tell(brain, &tell);
        }
    }

    fn messages(&mut self, brain: &OwnedFd) {
        // Not for as long as it talks: signals and deadlines are looked at in between.
        for _ in 0..AT_A_TURN {
            match wire::receive::<Ask>(brain) {
                Ok(Some((ask, descriptor))) => self.answer(brain, ask, descriptor),
                Ok(None) => return,
                Err(e) if e.kind() == io::ErrorKind::InvalidData => tracing::warn!("a message that is none: {e}"),
                Err(_) => return,
            }
        }
    }

    fn answer(&mut self, brain: &OwnedFd, ask: Ask, descriptor: Option<OwnedFd>) {
        // Whatever it says, it is alive.
        if boottime() >= self.alive + ALIVE {
            self.alive = boottime();
            let _ = notify(&[NotifyState::Watchdog]);
        }
        match ask {
            Ask::Ready => self.ready(),
            Ask::Alive => {}
            Ask::Status(sentence) => {
                let _ = notify(&[NotifyState::Status(&one_line(&sentence))]);
            }
            Ask::Start { id, job } => {
                let started = match descriptor {
                    Some(answer) => self.start(id, &job, answer),
                    None => Err("no descriptor for the answer".to_owned()),
                };
                if let Err(why) = started {
                    self.tell(brain, &Tell::Ended { id, how: Ending::Refused(why) });
                }
            }
        }
    }

    fn ready(&mut self) {
        // Without this one systemd would wait in vain: it is said until it was taken.
        self.ready_by = (!notify(&[NotifyState::Ready])).then(|| boottime() + AGAIN);
        if let Some(ahead) = self.ahead.take() {
            self.forget(ahead.end());
        }
    }

    fn start(&mut self, id: u64, job: &Job, answer: OwnedFd) -> Result<(), String> {
        let target = job.target();
        if job.is_by_hand() {
            return Err("only a person asks for that, and not by way of the agent".to_owned());
        }
        if self.options.look_only && !job.only_looks() {
            return Err("only looking is allowed".to_owned());
        }
        if self.ending.is_some() {
            return Err("the agent is ending".to_owned());
        }
        if self.workers.values().any(|w| w.target == target) {
            return Err("another helper is at it".to_owned());
        }
        if self.workers.values().filter(|w| !w.stuck).count() >= AT_ONCE {
            return Err("too many helpers at once".to_owned());
        }
        if job.may_answer_at_length() {
            make_room(&answer);
        }
        let process = self.worker(job, answer).map_err(|e| e.to_string())?;
        let deadline = Some(boottime().saturating_add(job.deadline()));
        self.next += 1;
        self.workers.insert(self.next, Worker { id: Some(id), target, process, deadline, killed: false, stuck: false });
        Ok(())
    }

    /// A process for the job.
    fn worker(&mut self, job: &Job, answer: OwnedFd) -> io::Result<Started> {
        if job.may_be_copied() {
            // The launcher has one thread.
            return copied(job, self.own, &self.options.config, answer);
        }
        match self.ahead.take().map(|ahead| ahead.give(job, self.own, &answer)) {
            Some(Ok(started)) => return Ok(started),
            Some(Err(killed)) => self.forget(killed),
            None => {}
        }
        spawn(job, self.own, &self.options.config, answer)
    }

    fn reap(&mut self, brain: &OwnedFd) {
        let ended: Vec<u64> = self.workers.iter().filter(|(_, w)| w.process.has_ended()).map(|(key, _)| *key).collect();
        for key in ended {
            if let Some(worker) = self.workers.remove(&key)
                && let Some(id) = worker.id
            {
                let tell = match (worker.stuck, worker.killed) {
                    (true, _) => Tell::Freed { id },
                    (false, true) => Tell::Ended { id, how: Ending::Late },
                    (false, false) => Tell::Ended { id, how: Ending::Ended },
                };
                self.tell(brain, &tell);
            }
        }
    }

    fn late(&mut self, brain: &OwnedFd) {
        let now = boottime();
        let mut stuck = Vec::new();
        for worker in self.workers.values_mut().filter(|w| w.deadline.is_some_and(|at| now >= at)) {
            if worker.killed {
                (worker.stuck, worker.deadline) = (true, None);
                stuck.extend(worker.id);
            } else {
                worker.process.kill();
                (worker.killed, worker.deadline) = (true, Some(now + DYING));
            }
        }
        stuck.into_iter().for_each(|id| self.tell(brain, &Tell::Ended { id, how: Ending::Stuck }));
    }

    fn tell(&self, brain: &OwnedFd, tell: &Tell) {
        // A brain that is gone is noticed by its pidfd; one that does not read is ended by systemd's watchdog.
        if let Err(e) = wire::send(brain, tell, None) {
            tracing::debug!("the main process was not told {tell:?}: {e}");
        }
    }
}

/// A descriptor that tells when a child ends.
fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Makes the directories under `/run`. systemd is not asked to (`RuntimeDirectory=`): what it makes it also removes, and
/// users' data is mounted below.
fn directories(own: (u32, u32)) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
    let run = Path::new(RUN);
    for (path, mode, owner) in [
        (run.to_owned(), 0o755, (0, 0)),
        (run.join("share"), 0o700, (0, 0)),
        (run.join("late"), 0o700, (0, 0)),
        (run.join("status"), 0o755, own),
    ] {
        match std::fs::DirBuilder::new().mode(mode).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let meta = std::fs::symlink_metadata(&path)?;
        if !meta.is_dir() {
            return Err(io::Error::other(format!("{} is no directory", path.display())));
        }
        if (meta.uid(), meta.gid()) != owner {
            chown(&path, Some(owner.0), Some(owner.1))?;
        }
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    }
    Ok(())
}

/// One agent on a machine.
fn lock() -> Result<std::fs::File, String> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = Path::new(RUN).join("lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|e| format!("{}: {e}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err("another dsvm-agent runs on this machine: dsvm-agent status".to_owned())
        }
        Err(std::fs::TryLockError::Error(e)) => Err(format!("{}: {e}", path.display())),
    }
}

/// Tells systemd, if it listens, and says whether there is nothing left to tell. Nobody waits for it: its queue takes a
/// few messages, and whoever writes to a full one would hang with it.
fn notify(state: &[NotifyState<'_>]) -> bool {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return true };
    match tell_systemd(&path, &state.iter().map(|s| format!("{s}\n")).collect::<String>()) {
        Err(e) => {
            tracing::debug!("systemd was not told: {e}");
            e.kind() != io::ErrorKind::WouldBlock
        }
        Ok(()) => true,
    }
}

fn tell_systemd(path: &std::ffi::OsStr, text: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let address = match path.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

/// A status is one line: a second one would be a message of its own to systemd.
fn one_line(sentence: &str) -> String {
    sentence.chars().filter(|c| !c.is_control()).take(400).collect()
}

/// Lets an answer of some megabytes lie in the socket (`SO_SNDBUFFORCE`, socket(7), which takes CAP_NET_ADMIN). Without that
/// right it stays as it is, and what is longer is not heard.
fn make_room(answer: &OwnedFd) {
    let _ = setsockopt(answer, sockopt::SndBufForce, &ROOM);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_lies_in_the_socket_until_its_worker_has_ended() {
        use std::io::{Read, Write};
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        make_room(&theirs);
        let mut theirs = std::os::unix::net::UnixStream::from(theirs);
        theirs.set_nonblocking(true).unwrap();
        let long = vec![b'x'; 4 * 1024 * 1024];
        theirs.write_all(&long).expect("nobody has read a byte of it");
        drop(theirs);
        let mut read = Vec::new();
        ours.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), long.len());
    }

    #[test]
    fn boot_is_never_held_up_for_more_than_20_seconds() {
        // Counted from the launcher's first moment: looking up the agent's own user is part of it.
        let look_up = Job::Identity { name: USER.to_owned() }.deadline();
        assert!(look_up < READY_AT_LATEST && READY_AT_LATEST < Duration::from_secs(20));
    }

    #[test]
    fn a_sentence_for_systemd_is_one_line() {
        assert_eq!(one_line("Ready\nMAINPID=1\u{1b}[0m"), "ReadyMAINPID=1[0m");
        assert_eq!(one_line(&"x".repeat(1000)).len(), 400);
    }
}

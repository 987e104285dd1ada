//! The brain's side: asks the launcher for workers, gathers their answers, never waits for one.

use super::job::{Answer, Job};
use super::wire::{self, Ask, Ending, Tell};
use crate::share::doctor::Examine;
use crate::share::model::{Attempt, Failure};
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longest answer that is read: that of ten thousand accounts is a quarter of it.
const LIMIT: u64 = 16 * 1024 * 1024;
/// How long the rest of an answer may take after its worker ended.
const REST: Duration = Duration::from_secs(1);

/// What the launcher and the workers have to say.
#[derive(Debug)]
pub enum Event {
    /// A job is through.
    Done {
        /// Its number.
        id: u64,
        /// The job.
        job: Job,
        /// What came of it.
        result: Result<Answer, Failure>,
        /// Its worker cannot be killed and is waited for no longer; the job's target stays taken.
        stuck: bool,
    },
    /// A stuck worker is gone at last.
    Freed {
        /// The job's number.
        id: u64,
    },
    /// Read the configuration again.
    Reload,
    /// End.
    Terminate,
}

struct Pending {
    job: Job,
    answer: Answering,
}

/// How an answer comes.
enum Answering {
    /// It may be longer than a socket holds: it is read while it comes.
    Read(JoinHandle<io::Result<Vec<u8>>>),
    /// It lies in the socket until its worker has ended: nobody wakes for it before.
    Lies(std::os::unix::net::UnixStream),
}

/// The connection to the launcher.
#[derive(Debug)]
pub struct Client {
    socket: AsyncFd<OwnedFd>,
    pending: BTreeMap<u64, Pending>,
    next: u64,
    done: mpsc::UnboundedSender<Event>,
    through: mpsc::UnboundedReceiver<Event>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.job.fmt(f)
    }
}

impl Client {
    /// Takes over the socket to the launcher. To be called within a tokio runtime.
    ///
    /// # Errors
    /// As of registering a descriptor.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let (done, through) = mpsc::unbounded_channel();
        // That there is room in it again is no news: what does not fit is not sent.
        // SAFETY: the socket is owned by the AsyncFd from here on: it is closed only after it was deregistered.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket, pending: BTreeMap::new(), next: 0, done, through })
    }

    /// Asks for a worker and returns the job's number. The answer comes as an [`Event`].
    ///
    /// # Errors
    /// When the launcher cannot be asked: it is gone, or out of descriptors.
    pub fn start(&mut self, job: Job) -> io::Result<u64> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        self.next += 1;
        let id = self.next;
        wire::send(self.socket.get_ref(), &Ask::Start { id, job: job.clone() }, Some(&OwnedFd::from(theirs)))?;
        let answer = if job.answers_at_length() {
            let stream = UnixStream::from_std(ours)?;
            Answering::Read(tokio::spawn(async move {
                let mut bytes = Vec::new();
                stream.take(LIMIT).read_to_end(&mut bytes).await?;
                Ok(bytes)
            }))
        } else {
            Answering::Lies(ours)
        };
        self.pending.insert(id, Pending { job, answer });
        Ok(id)
    }

    /// Tells the launcher something without a worker.
    ///
    /// # Errors
    /// As of sendmsg(2).
    pub fn tell(&self, ask: &Ask) -> io::Result<()> {
        wire::send(self.socket.get_ref(), ask, None)
    }

    /// Waits for the next event; nothing when the launcher is gone. May be dropped and called again.
    ///
    /// # Errors
    /// As of recvmsg(2).
    pub async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let received = tokio::select! {
                // Both may be dropped: an event stays in the channel, a message in the socket, until it is taken.
                event = self.through.recv() => return Ok(event),
                ready = self.socket.readable() => match ready?.try_io(|fd| wire::receive::<Tell>(fd.get_ref())) {
                    Ok(result) => result?,
                    Err(_would_block) => continue,
                },
            };
            let Some((tell, _)) = received else { return Ok(None) };
            match tell {
                Tell::Ended { id, how } => self.gather(id, how),
                // In line behind what was said of the same worker before.
                Tell::Freed { id } => drop(self.done.send(Event::Freed { id })),
                Tell::Reload => return Ok(Some(Event::Reload)),
                Tell::Terminate => return Ok(Some(Event::Terminate)),
            }
        }
    }

    fn gather(&mut self, id: u64, how: Ending) {
        let Some(Pending { job, answer }) = self.pending.remove(&id) else { return };
        let done = self.done.clone();
        let stuck = how == Ending::Stuck;
        // At once, where that is possible: what is said of this worker next must not overtake it. Nobody is left to hear it
        // when the brain ends.
        let tell = |job, result| drop(done.send(Event::Done { id, job, result, stuck }));
        match (ending(&job, how), answer) {
            (Err(failure), Answering::Lies(_)) => tell(job, Err(failure)),
            (Err(failure), Answering::Read(reader)) => {
                reader.abort();
                tell(job, Err(failure));
            }
            (Ok(()), Answering::Lies(stream)) => tell(job, lying(stream)),
            (Ok(()), Answering::Read(reader)) => drop(tokio::spawn(async move {
                let result = finish(reader).await;
                drop(done.send(Event::Done { id, job, result, stuck }));
            })),
        }
    }
}

/// What it means that a worker ended so; nothing when its answer is to be read.
fn ending(job: &Job, how: Ending) -> Result<(), Failure> {
    let late = |what: &str| Failure {
        attempt: attempt_of(job),
        errno: Some(libc::ETIMEDOUT),
        details: vec![format!("no answer in {} s{what}", job.deadline().as_secs())],
    };
    match how {
        Ending::Ended => Ok(()),
        Ending::Late => Err(late("")),
        Ending::Stuck => Err(late(", and it cannot be ended")),
        Ending::Refused(why) => Err(Failure::said(Attempt::Worker, why)),
    }
}

/// The answer of a worker that has ended. It does not block: what is not there now does not come.
fn lying(stream: std::os::unix::net::UnixStream) -> Result<Answer, Failure> {
    use std::io::Read;
    let mut bytes = Vec::new();
    match stream.take(LIMIT).read_to_end(&mut bytes) {
        Ok(_) => parse(&bytes),
        Err(_) => Err(Failure::said(Attempt::Worker, "its answer cannot be read")),
    }
}

async fn finish(mut reader: JoinHandle<io::Result<Vec<u8>>>) -> Result<Answer, Failure> {
    let bytes = match tokio::time::timeout(REST, &mut reader).await {
        Ok(Ok(Ok(bytes))) => bytes,
        _ => {
            reader.abort();
            return Err(Failure::said(Attempt::Worker, "its answer cannot be read"));
        }
    };
    parse(&bytes)
}

/// What a worker wrote.
///
/// # Errors
/// The failure that it tells of, or that it wrote no answer.
pub fn parse(bytes: &[u8]) -> Result<Answer, Failure> {
    match serde_json::from_slice(bytes) {
        Ok(Answer::Failed(failure)) => Err(failure),
        Ok(answer) => Ok(answer),
        Err(_) if bytes.is_empty() => Err(Failure::said(Attempt::Worker, "it ended without an answer")),
        Err(e) => Err(Failure::said(Attempt::Worker, format!("its answer makes no sense: {e}"))),
    }
}

/// What a job that never answered was trying.
fn attempt_of(job: &Job) -> Attempt {
    match job {
        Job::Identity { .. } | Job::KeepSettings | Job::Accounts { .. } => Attempt::Worker,
        Job::Link { .. } | Job::ScaleSet(_) | Job::Sense { .. } | Job::Jupyter { .. } | Job::Survey { .. } => {
            Attempt::Worker
        }
        Job::Textfile { .. } | Job::Tell { .. } | Job::LogIns { .. } => Attempt::Worker,
        Job::Reach { .. } => Attempt::Connect,
        Job::LayGuard => Attempt::Guard,
        Job::MountPoints { .. } => Attempt::MountPoints,
        Job::MountRoot { .. } | Job::Trial { .. } => Attempt::Mount,
        Job::UnmountRoot => Attempt::Unmount,
        Job::Heal { .. } => Attempt::Heal,
        Job::Rekey { .. } => Attempt::Rekey,
        Job::Probe => Attempt::Probe,
        Job::Directories { .. } | Job::OwnDirectory { .. } | Job::Ledger { .. } | Job::Import { .. } => {
            Attempt::Directory
        }
        Job::Rescue { .. } | Job::LastTime { .. } => Attempt::Directory,
        Job::Row { .. } | Job::Rows => Attempt::Directory,
        Job::ReadAhead { .. } => Attempt::Mount,
        Job::Flush { .. } => Attempt::Flush,
        Job::Attach { .. } | Job::ShowAll { .. } => Attempt::Attach,
        Job::HideAll | Job::Detach { .. } | Job::TakeDown { .. } => Attempt::Detach,
        Job::FetchKeys => Attempt::Vault,
        Job::Examine { what } => match what {
            Examine::Name { .. } => Attempt::Resolve,
            Examine::Port { .. } | Examine::Stranger { .. } | Examine::Greet { .. } | Examine::Sign { .. } => {
                Attempt::Connect
            }
            Examine::Key => Attempt::Credentials,
            Examine::Kernel { .. } => Attempt::Worker,
            Examine::Trial { .. } => Attempt::Mount,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::wire::Tell;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    #[test]
    fn that_a_worker_is_gone_never_overtakes_that_it_was_stuck() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (launcher, brain) =
                socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
            let mut client = Client::new(brain).unwrap();
            for _ in 0..50 {
                let id = client.start(Job::Probe).unwrap();
                wire::send(&launcher, &Tell::Ended { id, how: Ending::Stuck }, None).unwrap();
                wire::send(&launcher, &Tell::Freed { id }, None).unwrap();
                assert!(matches!(client.next().await, Ok(Some(Event::Done { stuck: true, .. }))));
                assert!(matches!(client.next().await, Ok(Some(Event::Freed { .. }))));
            }
        });
    }
}

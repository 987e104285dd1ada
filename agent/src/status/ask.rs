//! Asks the agent over its socket. It may be dead, stuck or hostile: one deadline holds for all of connecting, asking
//! and reading, and an answer is never larger than its bound.

use super::model::OwnView;
use crate::pool::model::PoolView;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long `status` waits for an answer.
pub const DEADLINE: Duration = Duration::from_millis(200);
/// Largest answer, in bytes.
pub const LARGEST: usize = 64 << 10;
/// Largest answer about the pool: that of a thousand VMs is a tenth of it.
const LARGEST_POOL: usize = 8 << 20;

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked<T> {
    /// The answer.
    Answer(T),
    /// Nobody listens: no agent runs.
    NobodyThere,
    /// Whether an agent runs cannot be told, or it runs and gave no answer that can be used: why.
    NoAnswer(String),
}

/// Whether somebody listens at the socket.
pub fn is_there(socket: &Path) -> Asked<()> {
    match reach(socket, Instant::now() + DEADLINE) {
        Ok(_) => Asked::Answer(()),
        Err(error) => failed(&error),
    }
}

/// What the agent says of the user who asks; the kernel tells it who that is.
pub fn own(socket: &Path, deadline: Duration) -> Asked<OwnView> {
    ask(socket, "{\"request\":\"self\"}", LARGEST, deadline)
}

/// What the agent knows of the pool, for the user who asks.
pub fn pool(socket: &Path, deadline: Duration) -> Asked<PoolView> {
    ask(socket, "{\"request\":\"pool\"}", LARGEST_POOL, deadline)
}

/// Asks a question, a line of JSON, of which the answer is at most so large.
fn ask<T: DeserializeOwned>(socket: &Path, question: &str, largest: usize, deadline: Duration) -> Asked<T> {
    let until = Instant::now() + deadline;
    let stream = match reach(socket, until) {
        Ok(stream) => stream,
        Err(error) => return failed(&error),
    };
    // Once somebody listened an agent is there, whatever becomes of the question.
    match exchange(stream, format!("{question}\n").as_bytes(), largest, until) {
        Ok(line) => match serde_json::from_slice(&line) {
            Ok(view) => Asked::Answer(view),
            Err(error) => Asked::NoAnswer(said(&line).unwrap_or(format!("the answer cannot be read: {error}"))),
        },
        Err(error) => Asked::NoAnswer(error.to_string()),
    }
}

/// Tells the agent something, as a line of JSON, and drops what it answers.
///
/// # Errors
/// When it is not told, or does not answer in time.
pub fn tell(socket: &Path, question: &str, deadline: Duration) -> io::Result<()> {
    let until = Instant::now() + deadline;
    exchange(reach(socket, until)?, format!("{question}\n").as_bytes(), LARGEST, until).map(drop)
}

/// Why the agent does not answer, if that is what it says.
fn said(line: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(line).ok()?;
    answer.get("error")?.as_str().map(str::to_owned)
}

fn failed<T>(error: &io::Error) -> Asked<T> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => Asked::NobodyThere,
        _ => Asked::NoAnswer(error.to_string()),
    }
}

/// Connects. A full queue (a stuck agent) makes a connecting socket wait for ever, unless it is a non-blocking one.
fn reach(path: &Path, until: Instant) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => return Ok(fd.into()),
            Err(nix::errno::Errno::EAGAIN) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(nix::errno::Errno::EAGAIN) => return Err(late()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends one line and gets one back, without its end.
fn exchange(mut stream: UnixStream, question: &[u8], largest: usize, until: Instant) -> io::Result<Vec<u8>> {
    let mut unsent = question;
    while !unsent.is_empty() {
        match stream.write(unsent) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => unsent = &unsent[sent..],
            Err(error) => wait_if_blocked(&stream, PollFlags::POLLOUT, until, error)?,
        }
    }
    let mut answer = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        // Also between bytes that come one by one.
        if Instant::now() >= until {
            return Err(late());
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Err(io::Error::other("the agent hung up")),
            Ok(read) => {
                let end = chunk[..read].iter().position(|byte| *byte == b'\n');
                answer.extend_from_slice(&chunk[..end.unwrap_or(read)]);
                if answer.len() > largest {
                    return Err(io::Error::other("the answer is too large"));
                }
                if end.is_some() {
                    return Ok(answer);
                }
            }
            Err(error) => wait_if_blocked(&stream, PollFlags::POLLIN, until, error)?,
        }
    }
}

/// Waits until the stream can go on; any other error than that it cannot comes back.
fn wait_if_blocked(stream: &UnixStream, flags: PollFlags, until: Instant, error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => return Ok(()),
        io::ErrorKind::WouldBlock => {}
        _ => return Err(error),
    }
    let left = until.saturating_duration_since(Instant::now());
    // Up to the next millisecond, lest the last one is spent in turning round.
    let millis = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
    let mut fds = [PollFd::new(stream.as_fd(), flags)];
    match poll(&mut fds, PollTimeout::from(millis)) {
        Ok(0) => Err(late()),
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the agent gave no answer in time")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::user;
    use super::super::model::UserState;
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    /// A socket at which `serve` has the first connection.
    fn agent(serve: impl FnOnce(UnixStream) + Send + 'static) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("request.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || serve(listener.accept().unwrap().0));
        (dir, path)
    }

    fn question(stream: &mut UnixStream) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 && byte != [b'\n'] {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    fn reason(asked: Asked<OwnView>) -> String {
        match asked {
            Asked::NoAnswer(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn asks_and_is_told() {
        let view = OwnView {
            user: Some(user("alice", 1001, UserState::Ready)),
            problems: Vec::new(),
            idle: None,
            elsewhere: Vec::new(),
        };
        let answer = format!("{}\n", serde_json::to_string(&view).unwrap());
        let (_dir, path) = agent(move |mut stream| {
            assert_eq!(question(&mut stream), r#"{"request":"self"}"#);
            let (one, two) = answer.as_bytes().split_at(10);
            stream.write_all(one).unwrap();
            stream.write_all(two).unwrap();
        });
        assert_eq!(own(&path, Duration::from_secs(10)), Asked::Answer(view));
    }

    #[test]
    fn nobody_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("request.sock");
        assert_eq!(own(&path, DEADLINE), Asked::NobodyThere);
        assert_eq!(is_there(&dir.path().join("none/request.sock")), Asked::NobodyThere);
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(own(&path, DEADLINE), Asked::NobodyThere);
        assert_eq!(is_there(&path), Asked::NobodyThere);
    }

    #[test]
    fn silence_drops_floods_and_nonsense_end() {
        let began = Instant::now();
        let (_dir, path) = agent(|stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        });
        assert!(reason(own(&path, DEADLINE)).contains("in time"));

        let (_dir, path) = agent(|mut stream| {
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(reason(own(&path, DEADLINE)).contains("in time"));

        let (_dir, path) = agent(|mut stream| while stream.write_all(&[b' '; 4096]).is_ok() {});
        assert!(reason(own(&path, Duration::from_secs(30))).contains("too large"));

        let (_dir, path) = agent(|mut stream| {
            question(&mut stream);
            stream.write_all(b"{\"error\":1}\n").unwrap();
        });
        assert!(reason(own(&path, Duration::from_secs(30))).contains("cannot be read"));

        let (_dir, path) = agent(|mut stream| {
            question(&mut stream);
        });
        assert!(reason(own(&path, Duration::from_secs(30))).contains("hung up"));
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_full_queue_does_not_hold_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("request.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut waiting = Vec::new();
        // The queue of a listener that accepts nobody is at most net.core.somaxconn long.
        for _ in 0..10_000 {
            match reach(&path, Instant::now()) {
                Ok(stream) => waiting.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    break;
                }
            }
        }
        let began = Instant::now();
        assert!(matches!(is_there(&path), Asked::NoAnswer(_)));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

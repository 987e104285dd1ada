//! What the doctor looks at, one thing in one worker each. Nothing here changes anything that stays.

use super::{Examine, Examined, Kernel, Trial};
use crate::config::settings::{Kind, Share, Source};
use crate::share::act::{self, clone_source, network};
use crate::share::credentials;
use crate::share::greeting::{self, Greeting};
use crate::share::model::{Attempt, Failure, ROOT, parent_of};
use crate::share::observe;
use crate::share::options::For;
use crate::sys::{mountinfo, open};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long all of a greeting may take: the connection, the question and the whole answer.
pub const GREETING: Duration = Duration::from_secs(3);
/// How long its connection may take: one more attempt of the kernel's, which comes after a second (RFC 6298, 2.1).
const ACCEPTED: Duration = Duration::from_secs(2);
/// So long a server was listened to at least of which is said that it is silent.
const LISTENED: Duration = Duration::from_secs(1);

/// Looks.
///
/// # Errors
/// What failed, for [`crate::share::diagnosis`].
pub fn examine(what: &Examine, share: Option<&Share>, parent: &str) -> Result<Examined, Failure> {
    let share = || share.ok_or_else(|| Failure::said(Attempt::Worker, "no share is configured"));
    Ok(match what {
        Examine::Name { host, port } => Examined::Addresses(resolve(host, *port)?),
        Examine::Port { address, port } | Examine::Stranger { address, port } => {
            Examined::Open { ms: connect(*address, *port)?.1 }
        }
        Examine::Greet { address, port, kind } => Examined::Greeting(greet(*address, *port, *kind)?),
        Examine::Held { address, port } => held(*address, *port)?,
        Examine::Key => key(share()?)?,
        Examine::Kernel { kind } => Examined::Kernel(kernel(*kind)),
        Examine::Trial { address } => Examined::Trial(trial(share()?, *address, parent)?),
    })
}

/// The addresses of a name.
///
/// # Errors
/// [`Attempt::Resolve`] with the resolver's words.
pub fn resolve(host: &str, port: u16) -> Result<Vec<IpAddr>, Failure> {
    let found = (host, port).to_socket_addrs().map_err(|e| Failure::said(Attempt::Resolve, e.to_string()))?;
    let mut addresses: Vec<IpAddr> = found.map(|a| a.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(Failure::said(Attempt::Resolve, "the name has no address"));
    }
    Ok(addresses)
}

/// Connects once; and how many milliseconds it took.
///
/// # Errors
/// [`Attempt::Connect`] with the address.
pub fn connect(address: IpAddr, port: u16) -> Result<(TcpStream, f64), Failure> {
    connect_within(address, port, PATIENCE)
}

fn connect_within(address: IpAddr, port: u16, within: Duration) -> Result<(TcpStream, f64), Failure> {
    let start = Instant::now();
    let stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), within).map_err(|e| {
        let errno = e.raw_os_error().or((e.kind() == io::ErrorKind::TimedOut).then_some(libc::ETIMEDOUT));
        Failure { attempt: Attempt::Connect, errno, details: vec![address.to_string()] }
    })?;
    Ok((stream, start.elapsed().as_secs_f64() * 1000.0))
}

/// Asks the server what it speaks. Whatever the server does, that ends in time by itself: whoever waits for this no longer
/// knows then that it is this VM that is slow.
///
/// # Errors
/// [`Attempt::Connect`] as of [`connect`]. [`Attempt::Mount`] with, in words, what answered instead: with `EPROTONOSUPPORT`
/// when something did, be it half an answer, else with the error's number: `ETIMEDOUT` or `ECONNRESET` of a server that says
/// nothing or hangs up, `EAGAIN` when this VM was too slow to listen.
pub fn greet(address: IpAddr, port: u16, kind: Kind) -> Result<Greeting, Failure> {
    let until = Instant::now() + GREETING;
    let failed = |errno, why| Failure { attempt: Attempt::Mount, errno: Some(errno), details: vec![why] };
    let refused = |why| failed(libc::EPROTONOSUPPORT, why);
    let (mut stream, _) = connect_within(address, port, ACCEPTED)?;
    let smb = kind == Kind::Smb;
    let id = 0x6473_766d;
    let ask = if smb { greeting::ask_smb(salt()) } else { greeting::ask_nfs(id) };
    let asked = Instant::now();
    let mut heard = Vec::new();
    match exchange(&mut stream, &ask, smb, until, &mut heard) {
        Ok(true) => {
            let answer = heard.get(HEAD..).unwrap_or_default();
            if smb { greeting::read_smb(answer) } else { greeting::read_nfs(answer, id) }.map_err(refused)
        }
        Ok(false) => Err(refused(format!("what answers there is no {} server", if smb { "SMB" } else { "NFS" }))),
        Err(e) => {
            let errno = if heard.is_empty() { silence(&e, asked.elapsed()) } else { libc::EPROTONOSUPPORT };
            Err(failed(errno, format!("what listens there does not answer as a file server: {e}")))
        }
    }
}

/// The first bytes of an answer, which tell its length.
const HEAD: usize = 4;

/// Asks, and adds to `heard` what comes, until that is a whole answer, or cannot become one. Whether it is one.
fn exchange(stream: &mut TcpStream, ask: &[u8], smb: bool, until: Instant, heard: &mut Vec<u8>) -> io::Result<bool> {
    let left = || Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
    let left = || left().ok_or(io::ErrorKind::TimedOut);
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(ask)?;
    let mut buffer = [0u8; 4096];
    loop {
        let whole = heard.first_chunk::<HEAD>().map(|first| greeting::length(*first, smb).map(|length| HEAD + length));
        match whole {
            Some(None) => return Ok(false),
            Some(Some(whole)) if heard.len() >= whole => {
                heard.truncate(whole);
                return Ok(true);
            }
            _ => {}
        }
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => heard.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The number of an error that came `after` so long instead of an answer. A time that is over is said of a socket with
/// `EAGAIN` (socket(7), `SO_RCVTIMEO`). Where this process was held up before it could listen, that means just that.
fn silence(e: &io::Error, after: Duration) -> i32 {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if after < LISTENED => libc::EAGAIN,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => libc::ETIMEDOUT,
        io::ErrorKind::UnexpectedEof => libc::ECONNRESET,
        _ => e.raw_os_error().unwrap_or(libc::EAGAIN),
    }
}

/// Asks the server of the agent's mounts over the connection that they have: whether any is there and whether it answers.
/// A call that no cache answers; whoever waits for it can be killed.
///
/// # Errors
/// [`Attempt::Probe`] with what the kernel says of it; [`Attempt::Worker`] when it could not be asked.
fn held(address: IpAddr, port: u16) -> Result<Examined, Failure> {
    let start = Instant::now();
    let mounts = mountinfo::read().map_err(|e| Failure::said(Attempt::Worker, e.to_string()))?;
    let of = observe::own(&mounts).filter(|mount| observe::server(mount) == Some((address, port)));
    let mut of: Vec<_> = of.collect();
    // What the agent alone has may be over a connection of its own.
    of.sort_by_key(|mount| mount.target == Path::new(ROOT));
    // Any will do, and the first may be covered by something of a user's, which is not to be asked.
    for mount in of {
        let handle = match open::directory(&mount.target) {
            Ok(handle) => handle,
            Err(e) if is_own(e) => return Err(Failure::call(Attempt::Worker, e)),
            Err(_) => continue,
        };
        if mountinfo::id_of(&handle) != Some(mount.id) {
            continue;
        }
        let failed = |e| Failure::call(if is_own(e) { Attempt::Worker } else { Attempt::Probe }, e);
        rustix::fs::fstatfs(&handle).map_err(failed)?;
        return Ok(Examined::Held { ms: Some(start.elapsed().as_secs_f64() * 1000.0) });
    }
    Ok(Examined::Held { ms: None })
}

/// Whether an error says that this VM is short of something, and nothing of a server.
fn is_own(e: Errno) -> bool {
    matches!(e, Errno::NOMEM | Errno::NOBUFS | Errno::MFILE | Errno::NFILE | Errno::INTR)
}

/// Whether a server that answered so is one to mount from.
pub fn is_wanted(greeting: &Result<Greeting, Failure>) -> bool {
    greeting.as_ref().is_ok_and(|g| g.wanted && g.encrypts != Some(false))
}

/// Any bytes will do: nothing is protected by them here.
fn salt() -> [u8; 32] {
    let mut out = [0u8; 32];
    out.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&crate::sys::random::seed().to_ne_bytes()));
    out
}

fn key(share: &Share) -> Result<Examined, Failure> {
    match &share.credentials {
        None => Err(Failure::said(Attempt::Credentials, "none is configured")),
        Some(from) => {
            let keys = credentials::obtain(from)?;
            Ok(Examined::Key { account: keys.username.to_string(), keys: if keys.password2.is_some() { 2 } else { 1 } })
        }
    }
}

fn kernel(kind: Kind) -> Kernel {
    let name = match kind {
        Kind::Smb => Some("cifs"),
        Kind::Nfs => Some("nfs4"),
        Kind::Directory => None,
    };
    let context = |name| rustix::mount::fsopen(name, rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC);
    let module = name.map(|name| !matches!(context(name), Err(Errno::NODEV)));
    // The word is tried on a context that is thrown away.
    let second = (kind == Kind::Smb).then(|| context("cifs").ok()).flatten();
    let second_key = second.map(|c| rustix::mount::fsconfig_set_string(&c, "password2", "x").is_ok());
    Kernel {
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
        module,
        second_key,
        openat2: !matches!(open::directory(Path::new("/")), Err(Errno::NOSYS)),
        request_key: Path::new("/sbin/request-key").exists(),
        fips: std::fs::read_to_string("/proc/sys/crypto/fips_enabled").is_ok_and(|t| t.trim() == "1"),
    }
}

/// Mounts the share where nobody sees it, over a connection of its own, looks at it, and lets it go.
fn trial(share: &Share, address: Option<IpAddr>, parent: &str) -> Result<Trial, Failure> {
    let start = Instant::now();
    let tree = match &share.source {
        Source::Directory(path) => clone_source(share, path)?,
        _ => network(share, For::Agent, None, address, Attempt::Mount)?,
    };
    let ms = start.elapsed().as_secs_f64() * 1000.0;
    let probe = act::room(&tree, start).map_err(|e| Failure::call(Attempt::Mount, e))?;
    let (refusal, parent_is_there) = match may_write(&tree, parent) {
        Ok(there) => (None, there),
        Err(e) => (Some(Failure::call(Attempt::Directory, e)), false),
    };
    Ok(Trial { ms, bytes_total: probe.bytes_total, bytes_free: probe.bytes_free, refusal, parent_is_there })
}

/// Makes a directory and takes it away again: where the users' directories are, or will be. Whether that place is there.
fn may_write(tree: &OwnedFd, parent: &str) -> Result<bool, Errno> {
    let parent = parent_of(Path::new(parent));
    let (place, there) = match open::below(tree, parent) {
        _ if parent.as_os_str().is_empty() => (rustix::io::fcntl_dupfd_cloexec(tree, 3)?, true),
        Ok(place) => (place, true),
        Err(Errno::NOENT) => (rustix::io::fcntl_dupfd_cloexec(tree, 3)?, false),
        Err(e) => return Err(e),
    };
    let name = format!(".dsvm-agent-doctor-{:016x}", crate::sys::random::seed());
    rustix::fs::mkdirat(&place, &name, Mode::from(0o700))?;
    // Only a directory that is empty, and only the one that was just made.
    rustix::fs::unlinkat(&place, &name, AtFlags::REMOVEDIR)?;
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What comes of greeting one who does this with the connection, and after how long.
    fn greeted(kind: Kind, peer: impl FnOnce(TcpStream) + Send + 'static) -> (Failure, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || peer(listener.accept().unwrap().0));
        let start = Instant::now();
        let failure = greet(at.ip(), at.port(), kind).unwrap_err();
        (failure, start.elapsed())
    }

    /// As long as the other side listens.
    fn wait(mut stream: &TcpStream) {
        while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}
    }

    #[test]
    fn a_time_that_is_over_is_silence_only_for_who_listened() {
        let (long, short) = (LISTENED, LISTENED / 2);
        let number = io::Error::from_raw_os_error;
        for (error, after, expected) in [
            (number(libc::EAGAIN), long, libc::ETIMEDOUT),
            (number(libc::EAGAIN), short, libc::EAGAIN),
            (io::ErrorKind::TimedOut.into(), long, libc::ETIMEDOUT),
            (io::ErrorKind::TimedOut.into(), short, libc::EAGAIN),
            (io::ErrorKind::UnexpectedEof.into(), short, libc::ECONNRESET),
            (number(libc::ECONNRESET), short, libc::ECONNRESET),
            (number(libc::ENOMEM), long, libc::ENOMEM),
        ] {
            assert_eq!(silence(&error, after), expected, "{error} after {after:?}");
        }
        assert!(ACCEPTED + LISTENED <= GREETING, "one that accepts in time is listened to for long enough");
    }

    #[test]
    fn who_says_nothing_is_silent_and_who_says_anything_is_not() {
        // It ends: how soon is the machine's business.
        for kind in [Kind::Smb, Kind::Nfs] {
            let (failure, took) = greeted(kind, |stream| wait(&stream));
            assert_eq!((failure.attempt, failure.errno), (Attempt::Mount, Some(libc::ETIMEDOUT)), "{failure:?}");
            assert!(took < 10 * GREETING, "{took:?}");
            let (failure, _) = greeted(kind, |mut stream| drop(stream.read(&mut [0; 512])));
            assert_eq!((failure.attempt, failure.errno), (Attempt::Mount, Some(libc::ECONNRESET)), "{failure:?}");
            // The head of an answer, a byte now and then: it would never end.
            let (failure, took) = greeted(kind, |mut stream| {
                while stream.write_all(&[0]).is_ok() {
                    std::thread::sleep(Duration::from_millis(900));
                }
            });
            assert_eq!((failure.attempt, failure.errno), (Attempt::Mount, Some(libc::EPROTONOSUPPORT)), "{failure:?}");
            assert!(took < 10 * GREETING, "{took:?}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        let refused = greet(at.ip(), at.port(), Kind::Smb).unwrap_err();
        assert_eq!((refused.attempt, refused.errno), (Attempt::Connect, Some(libc::ECONNREFUSED)));
    }
}

//! What the doctor looks at, one thing in one worker each. Nothing here changes anything that stays.

use super::{Examine, Examined, Kernel, Trial, sign};
use crate::config::settings::{Kind, Share, Source};
use crate::share::act::{self, clone_source, network};
use crate::share::credentials;
use crate::share::greeting::{self, Greeting};
use crate::share::model::{Attempt, Failure, parent_of};
use crate::share::options::For;
use crate::sys::open;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a server may take to accept a connection, and to answer the first question.
const PATIENCE: Duration = Duration::from_secs(3);

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
        Examine::Sign { address, port, kind } => Examined::Open { ms: sign::sign(*address, *port, *kind)? },
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
    let start = Instant::now();
    let stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE).map_err(|e| {
        let errno = e.raw_os_error().or((e.kind() == std::io::ErrorKind::TimedOut).then_some(libc::ETIMEDOUT));
        Failure { attempt: Attempt::Connect, errno, details: vec![address.to_string()] }
    })?;
    Ok((stream, start.elapsed().as_secs_f64() * 1000.0))
}

/// Asks the server what it speaks.
///
/// # Errors
/// [`Attempt::Mount`] with `EPROTONOSUPPORT` and, in words, what answered instead.
pub fn greet(address: IpAddr, port: u16, kind: Kind) -> Result<Greeting, Failure> {
    let refused =
        |why: String| Failure { attempt: Attempt::Mount, errno: Some(libc::EPROTONOSUPPORT), details: vec![why] };
    let silent = |e: std::io::Error| refused(format!("what listens there does not answer as a file server: {e}"));
    let (mut stream, _) = connect(address, port)?;
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(silent)?;
    let smb = kind == Kind::Smb;
    let id = 0x6473_766d;
    let ask = if smb { greeting::ask_smb(salt()) } else { greeting::ask_nfs(id) };
    stream.write_all(&ask).map_err(silent)?;
    let mut first = [0u8; 4];
    stream.read_exact(&mut first).map_err(silent)?;
    let no_server = || refused(format!("what answers there is no {} server", if smb { "SMB" } else { "NFS" }));
    let mut answer = vec![0u8; greeting::length(first, smb).ok_or_else(no_server)?];
    stream.read_exact(&mut answer).map_err(silent)?;
    if smb { greeting::read_smb(&answer) } else { greeting::read_nfs(&answer, id) }.map_err(refused)
}

/// Whether a server that answered so is one to mount from.
pub fn is_wanted(greeting: &Result<Greeting, Failure>) -> bool {
    greeting.as_ref().is_ok_and(|g| g.wanted && g.encrypts != Some(false))
}

/// Any bytes will do: nothing is protected by them here.
pub(super) fn salt() -> [u8; 32] {
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

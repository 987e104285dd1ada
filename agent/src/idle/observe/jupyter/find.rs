//! Finds a user's Jupyter servers, in a worker that has become that user.
//!
//! A server is a process of theirs that holds a socket which waits for connections, and that says which token opens it:
//! by its environment, as JupyterHub starts it (jupyterhub, spawner.py, `get_env`), or by the file that it writes for
//! programs of its user's, `jpserver-PID.json` in Jupyter's runtime directory (jupyter_server, serverapp.py,
//! `server_info`). Both name the port; it must be one of this very process's sockets, so that nobody's claim leads to
//! another's server. Kernels inherit a server's environment, but not its sockets.

use super::MOST_SERVERS;
use crate::sys::sockets::Listener;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The largest environment or file that is read, in bytes.
const LONGEST: u64 = 256 * 1024;
/// The longest token and path.
const LONGEST_WORD: usize = 1024;
/// So many descriptors of one process are looked at.
const MOST_DESCRIPTORS: usize = 4096;
/// Programs that are Jupyter servers, or start as one when Python runs them as a module.
const PROGRAMS: &[&str] = &[
    "jupyter-lab",
    "jupyter-labhub",
    "jupyter-notebook",
    "jupyter-server",
    "jupyterhub-singleuser",
    "jupyterlab",
    "jupyter_server",
    "jupyterhub.singleuser",
];

/// A server.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Its socket.
    pub socket: Listener,
    /// Where it is asked.
    pub at: SocketAddr,
    /// It speaks TLS.
    pub secure: bool,
    /// The path below which it answers: begins and ends with a slash.
    pub base: String,
    /// What opens it; empty: nothing is needed.
    pub token: Zeroizing<String>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("at", &self.at).field("base", &self.base).finish_non_exhaustive()
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The port that it listens on.
    pub port: u16,
    /// It speaks TLS.
    pub secure: bool,
    /// The path below which it answers: begins and ends with a slash.
    pub base: String,
    /// What opens it; empty: nothing is needed.
    pub token: Zeroizing<String>,
}

/// The servers of `uid`, who this process is, among `sockets`; in place of one that is there and cannot be asked, why.
///
/// # Errors
/// The process table cannot be read.
pub fn servers(proc: &Path, uid: u32, sockets: &[Listener]) -> Result<Vec<Result<Server, String>>, String> {
    let own: Vec<Listener> = sockets.iter().copied().filter(|s| s.uid == uid && s.inode != 0).collect();
    let entries = std::fs::read_dir(proc).map_err(|e| format!("the process table: {e}"))?;
    let mut found: BTreeMap<u16, Result<Server, String>> = BTreeMap::new();
    let (mut hidden, mut elsewhere) = (0_usize, 0_usize);
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if !entry.metadata().is_ok_and(|m| m.uid() == uid) {
            continue;
        }
        let Some(held) = inodes(&entry.path()) else {
            // Keys' agents and sshd's own processes hide from their user, too: they are no servers.
            hidden += usize::from(is_server(&line(&entry.path())));
            continue;
        };
        let held: Vec<Listener> = own.iter().copied().filter(|s| held.contains(&s.inode)).collect();
        let Some(first) = held.first() else {
            elsewhere += usize::from(is_elsewhere(proc, &entry.path()) && is_server(&line(&entry.path())));
            continue;
        };
        let server = match claim(&entry.path(), pid, uid, &held) {
            Some(claim) => server(&claim, &held),
            None if is_server(&line(&entry.path())) => {
                Err("a Jupyter server does not say how it is opened: it is not asked".to_owned())
            }
            None => continue,
        };
        let port = server.as_ref().map_or(first.port, |s| s.socket.port);
        // A child that holds its parent's sockets is no second server.
        if server.is_ok() || !found.contains_key(&port) {
            found.insert(port, server);
        }
    }
    let hides = || Err("a Jupyter server lets nobody look into it: it is not asked".to_owned());
    let waits = || Err("a Jupyter server in a network of its own, as a container has one, cannot be asked".to_owned());
    let more = (found.len() + hidden + elsewhere).saturating_sub(MOST_SERVERS);
    let hidden = std::iter::repeat_with(hides).take(hidden);
    let elsewhere = std::iter::repeat_with(waits).take(elsewhere);
    let mut out: Vec<_> = found.into_values().chain(hidden).chain(elsewhere).take(MOST_SERVERS).collect();
    if more > 0 {
        out.push(Err(format!("{more} more Jupyter servers than are asked")));
    }
    Ok(out)
}

/// The inodes of a process's sockets: no set when it does not let its own user look (PR_SET_DUMPABLE(2const), or more
/// capabilities than its user has), an empty one when it is gone.
fn inodes(directory: &Path) -> Option<BTreeSet<u32>> {
    let entries = match std::fs::read_dir(directory.join("fd")) {
        Ok(entries) => Some(entries),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => None,
        Err(_) => return None,
    };
    let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let entries = entries.into_iter().flatten().flatten().take(MOST_DESCRIPTORS);
    Some(entries.filter_map(|e| inode(std::fs::read_link(e.path()).ok()?)).collect())
}

/// Whether a process is in another network than this one (namespaces(7)): its sockets are in no table that is read here.
fn is_elsewhere(proc: &Path, directory: &Path) -> bool {
    let network = |process: &Path| std::fs::read_link(process.join("ns/net")).ok();
    network(directory).zip(network(&proc.join("self"))).is_some_and(|(its, own)| its != own)
}

/// What the process says of itself, if it is a server that waits at one of these sockets.
fn claim(directory: &Path, pid: u32, uid: u32, held: &[Listener]) -> Option<Claim> {
    let environment = environment(&read_some(std::fs::File::open(directory.join("environ")).ok()?)?);
    let files = runtime(&environment)
        .map(|dir| ["jpserver", "nbserver"].map(|kind| own_file(&dir.join(format!("{kind}-{pid}.json")), uid)));
    let of_file = files.into_iter().flatten().flatten().filter_map(|text| from_file(&text));
    from_environment(&environment).into_iter().chain(of_file).find(|c| held.iter().any(|s| s.port == c.port))
}

/// Where to ask it: on loopback, at the very address that its socket is bound to, since another's may have the same port
/// elsewhere.
fn server(claim: &Claim, held: &[Listener]) -> Result<Server, String> {
    let near = |address: IpAddr| match address {
        IpAddr::V4(a) if a.is_unspecified() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(a) if a.is_unspecified() => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        other => other.is_loopback().then_some(other),
    };
    let mut sockets = held.iter().filter(|s| s.port == claim.port);
    let found = sockets.find_map(|s| Some((*s, near(s.address)?)));
    let (socket, address) = found.ok_or("a Jupyter server listens on no loopback address: it is not asked")?;
    let at = SocketAddr::new(address, claim.port);
    Ok(Server { socket, at, secure: claim.secure, base: claim.base.clone(), token: claim.token.clone() })
}

/// The variables that matter, from `/proc/PID/environ` (proc_pid_environ(5)).
pub fn environment(bytes: &[u8]) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    const WANTED: [&str; 7] = [
        "JUPYTERHUB_API_TOKEN",
        "JUPYTERHUB_SERVICE_URL",
        "JUPYTERHUB_SERVICE_PREFIX",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTER_DATA_DIR",
        "XDG_DATA_HOME",
        "HOME",
    ];
    let pairs = bytes.split(|b| *b == 0).filter_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        let name = std::str::from_utf8(pair.get(..at)?).ok().filter(|name| WANTED.contains(name))?;
        Some((name.to_owned(), Zeroizing::new(pair.get(at + 1..)?.to_vec())))
    });
    pairs.filter(|(_, value)| !value.is_empty()).collect()
}

/// A server that JupyterHub started.
pub fn from_environment(environment: &BTreeMap<String, Zeroizing<Vec<u8>>>) -> Option<Claim> {
    let text = |name: &str| environment.get(name).and_then(|v| std::str::from_utf8(v).ok());
    let url = text("JUPYTERHUB_SERVICE_URL")?;
    let (secure, rest) = match url.split_once("://")? {
        ("http", rest) => (false, rest),
        ("https", rest) => (true, rest),
        _ => return None,
    };
    let port = rest.split('/').next()?.rsplit_once(':')?.1.parse().ok()?;
    checked(port, secure, text("JUPYTERHUB_SERVICE_PREFIX")?, text("JUPYTERHUB_API_TOKEN")?)
}

/// A server by the file that it wrote.
pub fn from_file(text: &[u8]) -> Option<Claim> {
    #[derive(Deserialize)]
    struct File {
        port: u16,
        base_url: String,
        #[serde(default)]
        token: String,
        #[serde(default)]
        secure: bool,
    }
    let file: File = serde_json::from_slice(text).ok()?;
    checked(file.port, file.secure, &file.base_url, &Zeroizing::new(file.token))
}

fn checked(port: u16, secure: bool, base: &str, token: &str) -> Option<Claim> {
    let plain = |text: &str| text.len() <= LONGEST_WORD && text.bytes().all(|b| b.is_ascii_graphic());
    let path = base.starts_with('/') && plain(base) && !base.contains(['?', '#']);
    let base = format!("{}/", base.trim_end_matches('/'));
    (port != 0 && path && plain(token)).then(|| Claim { port, secure, base, token: Zeroizing::new(token.to_owned()) })
}

/// Jupyter's runtime directory (jupyter_core, paths.py, `jupyter_runtime_dir`).
pub fn runtime(environment: &BTreeMap<String, Zeroizing<Vec<u8>>>) -> Option<PathBuf> {
    let path = |name: &str| environment.get(name).map(|v| PathBuf::from(std::ffi::OsString::from_vec(v.to_vec())));
    let data = || path("JUPYTER_DATA_DIR");
    let local = || path("XDG_DATA_HOME").or_else(|| Some(path("HOME")?.join(".local/share")));
    let of_data = || data().or_else(|| Some(local()?.join("jupyter"))).map(|data| data.join("runtime"));
    path("JUPYTER_RUNTIME_DIR").or_else(of_data).filter(|p| p.is_absolute() && !p.as_os_str().as_bytes().contains(&0))
}

/// Reads a plain file of this user's own.
fn own_file(path: &Path, uid: u32) -> Option<Zeroizing<Vec<u8>>> {
    // Non-blocking, so that a FIFO in its place does not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.uid() != uid || meta.len() > LONGEST { None } else { read_some(file) }
}

fn read_some(file: std::fs::File) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A command line, argument by argument.
fn line(directory: &Path) -> Vec<String> {
    let file = std::fs::File::open(directory.join("cmdline")).ok();
    let bytes = file.and_then(read_some).unwrap_or_default();
    bytes.split(|b| *b == 0).take(4).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Whether a command line is that of a Jupyter server: `python …/jupyter-lab`, `python -m jupyterlab`, or the program.
fn is_server(line: &[String]) -> bool {
    let name = |word: &String| PROGRAMS.contains(&word.rsplit('/').next().unwrap_or_default());
    line.iter().take(3).any(name)
}

#[cfg(test)]
mod tests;

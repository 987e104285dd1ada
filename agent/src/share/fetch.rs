//! Fetches the key from Key Vault with the VM's identity, in a worker of two processes.
//!
//! The worker is root's, and speaks to nobody. It forks a child that becomes the agent's own user for good and asks
//! instance metadata for a token and the vault for the secrets; what the child read comes back through a pipe. The worker
//! keeps it in a file on a ramfs of its own, which is memory that is never swapped, and only root may read it: from there
//! the workers that mount take it. So the process that parses what the network says is not root, the one that is root
//! parses two lines, and neither the process that decides nor any disk ever has the key.

use super::credentials::{FETCHED, KEYS};
use super::model::{Attempt, Failure};
use crate::config::settings::{KeyVault, Share};
use crate::sys::http::{self, Method, Request, Response, Url};
use crate::sys::mount::{self, FsOption};
use crate::sys::{open, process};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use serde::Deserialize;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// Where instance metadata is (the vendor's "Azure Instance Metadata Service").
const METADATA: &str = "http://169.254.169.254";
/// Largest answer of either, and of the child.
const LIMIT: usize = 64 * 1024;
/// Longest key. A storage account's has 88 letters.
const LONGEST: usize = 1024;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The magic number of ramfs (statfs(2)).
const RAMFS: u64 = 0x8584_58f6;

/// Fetches the keys and puts them where [`super::credentials`] finds them. `own` are the numbers of the agent's user.
///
/// # Errors
/// A [`Failure`] of [`Attempt::Vault`], without any part of a secret.
pub fn fetch(share: &Share, vault: &KeyVault, own: (u32, u32)) -> Result<(), Failure> {
    let account = share.server().map(|(host, _)| host.split('.').next().unwrap_or_default()).unwrap_or_default();
    let keys = child(own, |mut out| match ask(vault) {
        Ok(keys) => {
            let lines = keys.iter().try_for_each(|key| writeln!(out, "{}", key.as_str()));
            out.write_all(b".").and(lines)
        }
        Err(why) => writeln!(out, "!{why}"),
    })?;
    keep(&text(account, &parse(&keys).map_err(|why| Failure::said(Attempt::Vault, why))?))
}

/// What `work` writes, done in a child that is the agent's own user and has no right but that.
fn child(
    own: (u32, u32),
    work: impl FnOnce(std::fs::File) -> std::io::Result<()>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let fail = |e: nix::errno::Errno| Failure::call(Attempt::Vault, Errno::from_raw_os_error(e as i32));
    let (read, write) = nix::unistd::pipe().map_err(fail)?;
    let parent = nix::unistd::getpid().as_raw();
    // SAFETY: a worker has one thread, so that the child may do everything that its parent could.
    match unsafe { nix::unistd::fork() }.map_err(fail)? {
        nix::unistd::ForkResult::Child => {
            drop(read);
            let done = process::become_user(own.0, own.1, &[own.1], parent).is_ok() && work(write.into()).is_ok();
            // Nothing of the parent's is to be written or run at the end.
            // SAFETY: _exit(2) only ends this process.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            drop(write);
            // Reserved at once: a vector that grows leaves copies behind.
            let mut answer = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
            let result = std::fs::File::from(read).take(LIMIT as u64).read_to_end(&mut answer);
            // Its deadline is ours, and it dies with us.
            let _ = nix::sys::wait::waitpid(child, None);
            match result {
                Ok(n) if n > 0 => Ok(answer),
                Ok(_) => Err(Failure::said(Attempt::Vault, "the helper that asks for it ended without an answer")),
                Err(e) => Err(Failure { attempt: Attempt::Vault, errno: e.raw_os_error(), details: Vec::new() }),
            }
        }
    }
}

/// The keys in what the child wrote: a line for each and a dot at the end, or `!` and why there are none.
///
/// # Errors
/// Why there are none, in words, and never with a part of a key.
pub fn parse(answer: &[u8]) -> Result<Vec<Zeroizing<String>>, String> {
    let text = std::str::from_utf8(answer).map_err(|_| "the answer is no text".to_owned())?;
    if let Some(why) = text.strip_prefix('!') {
        return Err(why.trim_end().chars().filter(|c| !c.is_control()).take(300).collect());
    }
    let lines = text.strip_suffix('.').ok_or("the answer stopped in the middle")?.lines();
    let keys: Vec<Zeroizing<String>> = lines.map(|line| Zeroizing::new(line.to_owned())).collect();
    let good = |key: &str| !key.is_empty() && key.len() <= LONGEST && key.bytes().all(|b| b.is_ascii_graphic());
    if keys.is_empty() || keys.len() > 2 || !keys.iter().all(|k| good(k)) {
        return Err("what the vault has there is no key".to_owned());
    }
    Ok(keys)
}

/// As a credentials file has it.
fn text(account: &str, keys: &[Zeroizing<String>]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(LIMIT));
    text.push_str("username=");
    text.push_str(account);
    for (name, key) in ["\npassword=", "\npassword2="].into_iter().zip(keys) {
        text.push_str(name);
        text.push_str(key);
    }
    text.push('\n');
    text
}

/// Writes the file, unless it has this text: who watches it sees a change only when there is one.
fn keep(text: &str) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Vault, e);
    let directory = memory().map_err(fail)?;
    let name = Path::new(FETCHED).file_name().unwrap_or_default();
    if let Ok(file) =
        rustix::fs::openat(&directory, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    {
        let mut old = Zeroizing::new(Vec::with_capacity(LIMIT));
        if std::fs::File::from(file).take(LIMIT as u64).read_to_end(&mut old).is_ok()
            && old.as_slice() == text.as_bytes()
        {
            return Ok(());
        }
    }
    let new = ".new";
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, new, flags, Mode::from(0o600)).map_err(fail)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let n = rustix::io::write(&file, rest).map_err(fail)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    rustix::fs::renameat(&directory, new, &directory, name).map_err(fail)
}

/// The directory in memory, made when it is not there: root's, and nobody else may read in it.
fn memory() -> Result<OwnedFd, Errno> {
    let keys = Path::new(KEYS);
    let parent = open::directory(keys.parent().unwrap_or(Path::new("/")))?;
    let name = keys.file_name().unwrap_or_default();
    match rustix::fs::mkdirat(&parent, name, Mode::from(0o711)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    let there = open::directory(keys)?;
    let stat = rustix::fs::fstat(&there)?;
    if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(Errno::PERM);
    }
    if u64::try_from(rustix::fs::fstatfs(&there)?.f_type).is_ok_and(|t| t == RAMFS) {
        return Ok(there);
    }
    // Others may pass, to see whether the file changed.
    let fresh = mount::make("ramfs", &[FsOption::new("mode", "0711")], mount::SAFE | MountAttrFlags::MOUNT_ATTR_NOEXEC)
        .map_err(|e| Errno::from_raw_os_error(e.errno))?;
    mount::attach(&fresh, &there).map_err(|e| Errno::from_raw_os_error(e.errno))?;
    // The handle above is of what is covered now.
    open::directory(keys)
}

/// Asks for a token, and with it for the secrets.
fn ask(vault: &KeyVault) -> Result<Vec<Zeroizing<String>>, String> {
    let base = Url::parse(&vault.url()).map_err(|e| format!("{}: {e}", vault.vault))?;
    let token = token(vault)?;
    let names = std::iter::once(&vault.secret).chain(&vault.secret2);
    names.map(|name| secret(vault, &base, name, &token)).collect()
}

fn token(vault: &KeyVault) -> Result<Zeroizing<String>, String> {
    #[derive(Deserialize)]
    struct Token {
        access_token: String,
    }
    let mut path =
        format!("/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}", http::encode(&vault.audience()));
    if let Some(id) = &vault.client_id {
        path.push_str("&client_id=");
        path.push_str(&http::encode(id));
    }
    let url = Url::parse(METADATA).and_then(|u| u.at(&path)).map_err(|e| e.to_string())?;
    let answer = send(Request::new(Method::Get, url).header("Metadata", "true"))
        .map_err(|e| format!("instance metadata, which gives the VM's identity, does not answer: {e}"))?;
    match answer.status {
        200 => read::<Token>(&answer).map(|t| Zeroizing::new(t.access_token)),
        // No identity at all, or none of this client_id.
        400 => Err(format!("instance metadata knows no identity for it ({})", whose(vault))),
        other => Err(format!("instance metadata answers {other} when asked for a token")),
    }
}

fn secret(vault: &KeyVault, base: &Url, name: &str, token: &Zeroizing<String>) -> Result<Zeroizing<String>, String> {
    #[derive(Deserialize)]
    struct Secret {
        value: String,
    }
    let url = base.at(&format!("/secrets/{}?api-version=7.4", http::encode(name))).map_err(|e| e.to_string())?;
    let answer = send(Request::new(Method::Get, url).bearer(token)).map_err(|e| e.to_string())?;
    let vault_name = &vault.vault;
    match answer.status {
        200 => {
            let mut value = read::<Secret>(&answer)?.value;
            // A line's end is easily stored with it.
            let key = Zeroizing::new(value.trim().to_owned());
            value.zeroize();
            Ok(key)
        }
        status @ (401 | 403) => Err(format!("{vault_name} says {status} to {}", whose(vault))),
        404 => Err(format!("{vault_name} has no secret {name}")),
        429 => Err(format!("{vault_name} is asked too often")),
        other => Err(format!("{vault_name} answers {other} when asked for {name}")),
    }
}

/// Who asks, for people.
fn whose(vault: &KeyVault) -> String {
    vault.client_id.as_ref().map_or("this VM's own identity".to_owned(), |id| format!("identity {id}"))
}

fn send(request: Request) -> Result<Response, http::Error> {
    http::send(&request.within(PATIENCE).limit(LIMIT), Path::new(http::SYSTEM_ROOTS))
}

fn read<T: for<'de> Deserialize<'de>>(answer: &Response) -> Result<T, String> {
    // What serde says may quote what it read.
    serde_json::from_slice(&answer.body).map_err(|_| "the answer makes no sense".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_child_says() {
        let keys = |text: &str| parse(text.as_bytes()).map(|k| k.iter().map(|k| k.to_string()).collect::<Vec<_>>());
        assert_eq!(keys("abc==\n."), Ok(vec!["abc==".to_owned()]));
        assert_eq!(keys("a,b=\nc\n."), Ok(vec!["a,b=".to_owned(), "c".to_owned()]));
        assert_eq!(keys("!contoso-kv says 403 to x\n"), Err("contoso-kv says 403 to x".to_owned()));
        for (text, says) in [
            ("abc==\n", "stopped"),
            ("abc\n\n.", "no key"),
            (".", "no key"),
            ("a\nb\nc\n.", "no key"),
            ("a b\n.", "no key"),
            ("a\r\nb\u{e9}\n.", "no key"),
        ] {
            assert!(keys(text).unwrap_err().contains(says), "{text:?}");
        }
        assert!(keys(&format!("{}\n.", "a".repeat(LONGEST + 1))).is_err());
    }

    #[test]
    fn what_is_kept_is_a_credentials_file() {
        let keys = [Zeroizing::new("a,b==".to_owned()), Zeroizing::new("c".to_owned())];
        let text = text("contosods", &keys);
        let read = super::super::credentials::parse(&text).unwrap();
        assert_eq!((read.username.as_str(), read.password.as_str()), ("contosods", "a,b=="));
        assert_eq!(read.password2.unwrap().as_str(), "c");
    }

    proptest! {
        #[test]
        fn no_key_can_add_a_line_to_the_file(text in "\\PC{0,40}|[a-z=\\n.]{0,40}") {
            if let Ok(keys) = parse(text.as_bytes()) {
                let file = super::text("account", &keys);
                prop_assert_eq!(file.lines().count(), 1 + keys.len());
                prop_assert!(super::super::credentials::parse(&file).is_ok());
            }
        }
    }
}

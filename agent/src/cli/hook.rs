//! The log-in hook that PAM runs (pam_exec(8)): asks for the workspace, waits a moment, lets the user in whatever
//! happens. It says nothing: any output would break scp and rsync.
//!
//! One log-in runs it more than once (PAM's `account`, then `session`). So that all of them together hold it up for no
//! more than one may, who waited in vain leaves a note, and the next one asks without waiting.

use crate::daemon::request::{Reply, Request};
use crate::sys::clock::boottime;
use crate::workspace::names;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The hook's whole life: PAM itself sets no limit.
const LIFE: Duration = Duration::from_secs(2);
/// Whoever waited so long waited in vain.
const LONG: Duration = Duration::from_millis(1200);
/// So long a note counts: from the first question of a log-in to its last.
const RECENT: Duration = Duration::from_secs(15);

/// Asks for the workspace of `PAM_USER` when `PAM_TYPE` says that somebody comes. `late` is the directory of the notes,
/// which is root's alone.
pub fn run(socket: &Path, late: &Path) {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (kind, service, user) = (variable("PAM_TYPE"), variable("PAM_SERVICE"), variable("PAM_USER"));
    let note = names::escape(&user).map(|name| late.join(name));
    // A watch over all that follows: whatever blocks, the log-in goes on after this.
    let watch = note.clone();
    std::thread::spawn(move || {
        std::thread::sleep(LIFE);
        leave(watch.as_deref());
        std::process::exit(0);
    });
    let comes = matches!(kind.as_str(), "account" | "open_session");
    // The user's own service manager comes with every log-in, right after it.
    if !comes || service == "systemd-user" || user.is_empty() {
        return;
    }
    let began = Instant::now();
    let patience = if waited(note.as_deref()) { None } else { Some(LIFE) };
    // Whatever comes of it, the user gets in: the status tells the rest.
    let _ = ask(socket, user, service, patience);
    if began.elapsed() >= LONG {
        leave(note.as_deref());
    }
}

/// Asks, and waits for the answer if there is patience.
fn ask(socket: &Path, user: String, service: String, patience: Option<Duration>) -> std::io::Result<Option<Reply>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIFE))?;
    stream.set_write_timeout(Some(LIFE))?;
    let mut line = serde_json::to_vec(&Request::Login { user: Some(user), service: Some(service) })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    if patience.is_none() {
        return Ok(None);
    }
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer).ok())
}

/// Notes that this log-in waited in vain.
fn leave(note: Option<&Path>) {
    let Some(note) = note else { return };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    // Where it cannot be noted, the next question waits too.
    let _ = options.open(note).and_then(|mut file| write!(file, "{}", boottime().as_millis()));
}

/// Whether this log-in waited in vain already.
fn waited(note: Option<&Path>) -> bool {
    let Some(text) = note.and_then(|n: &Path| std::fs::read_to_string(PathBuf::from(n)).ok()) else { return false };
    let Ok(then) = text.trim().parse() else { return false };
    boottime().checked_sub(Duration::from_millis(then)).is_some_and(|age| age <= RECENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_counts_for_one_log_in() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("alice");
        assert!(!waited(Some(&note)) && !waited(None));
        leave(Some(&note));
        assert!(waited(Some(&note)));
        let now = u64::try_from(boottime().as_millis()).unwrap();
        for (text, expected) in [
            (now.saturating_sub(1000).to_string(), true),
            (now.saturating_sub(16_000).to_string(), false),
            ((now + 60_000).to_string(), false),
            ("soon".to_owned(), false),
        ] {
            std::fs::write(&note, &text).unwrap();
            assert_eq!(waited(Some(&note)), expected, "{text}");
        }
        leave(Some(&dir.path().join("no/such/directory")));
    }

    #[test]
    fn a_note_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (other, note) = (dir.path().join("other"), dir.path().join("alice"));
        std::fs::write(&other, "kept").unwrap();
        std::os::unix::fs::symlink(&other, &note).unwrap();
        leave(Some(&note));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "kept");
    }
}

//! What makes the agent look again before its time: a change to the users or to the configuration, a log-in. A lost
//! trigger costs at most one period of the timer, since every pass looks at everything.

use notify::event::{AccessKind, AccessMode};
use notify::{Config, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher};
use std::fs::File;
use std::path::{Path, PathBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// A file that was written was closed: only then is it whole.
const WRITTEN: AccessKind = AccessKind::Close(AccessMode::Write);

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// The users, perhaps.
    Users,
    /// The configuration, perhaps.
    Config,
    /// Somebody came or went.
    Sessions,
}

/// Watches directories, not files: tools replace files by renaming new ones over them, and a watch stays with the old.
/// The watcher ends when it is dropped. What cannot be watched is left to the timer, and said in the log.
pub fn watch(config: &Path, out: mpsc::UnboundedSender<Trigger>) -> Option<RecommendedWatcher> {
    let config_dir = directory(config);
    let classify = move |path: &Path| classify(path, &config_dir);
    let handler = move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if matches!(event.kind, EventKind::Access(kind) if kind != WRITTEN) {
            return;
        }
        // A lost event means: look at everything.
        let all = event.need_rescan().then_some([Trigger::Users, Trigger::Config, Trigger::Sessions]);
        for trigger in all.into_iter().flatten().chain(event.paths.iter().filter_map(|p| classify(p))) {
            // Nobody is left to hear it when the brain ends.
            let _ = out.send(trigger);
        }
    };
    // Asked of the kernel, not sorted out here: somebody opens a file in /etc many times a minute, and each would wake us.
    let kinds = EventKindMask::CREATE
        | EventKindMask::REMOVE
        | EventKindMask::MODIFY_NAME
        | EventKindMask::MODIFY_META
        | EventKindMask::ACCESS_CLOSE;
    let mut watcher = match RecommendedWatcher::new(handler, Config::default().with_event_kinds(kinds)) {
        Ok(watcher) => watcher,
        Err(e) => {
            tracing::warn!("changes are noticed by the timer only: {e}");
            return None;
        }
    };
    again(&mut watcher, config);
    Some(watcher)
}

/// Watches what was not there before, and once more what was.
pub fn again(watcher: &mut RecommendedWatcher, config: &Path) {
    let own = directory(config);
    for path in [PathBuf::from("/etc"), own.clone(), own.join("agent.d"), PathBuf::from("/run/systemd/users")] {
        if let Err(e) = watcher.watch(&path, RecursiveMode::NonRecursive) {
            tracing::debug!("{} is not watched: {e}", path.display());
        }
    }
}

/// A descriptor that tells when anything is mounted or unmounted (proc_pid_mountinfo(5): `POLLPRI`). Nothing: it is left
/// to the timer, and said in the log.
pub fn mounts() -> Option<AsyncFd<File>> {
    let opened = File::open("/proc/self/mountinfo");
    // SAFETY: the file is owned by the AsyncFd from here on: it is closed only after it was deregistered.
    let watched = opened.and_then(|file| Ok(unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }?));
    watched.inspect_err(|e| tracing::warn!("mounts are noticed by the timer only: {e}")).ok()
}

/// Waits until something was mounted or unmounted; for ever where nothing tells. May be dropped and called again.
pub async fn changed(mounts: &Option<AsyncFd<File>>) {
    match mounts {
        Some(mounts) => {
            if let Ok(mut ready) = mounts.ready(Interest::PRIORITY).await {
                ready.clear_ready();
            }
        }
        None => std::future::pending().await,
    }
}

fn directory(config: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("/")).to_owned()
}

fn classify(path: &Path, config: &Path) -> Option<Trigger> {
    let parent = path.parent()?;
    let name = path.file_name()?.to_str()?;
    if parent == Path::new("/run/systemd/users") {
        return Some(Trigger::Sessions);
    }
    // The directories themselves may come later than the agent.
    if path == config || path == config.join("agent.d") {
        return Some(Trigger::Config);
    }
    if parent == config || parent == config.join("agent.d") {
        return name.ends_with(".toml").then_some(Trigger::Config);
    }
    let users = parent == Path::new("/etc") && matches!(name, "passwd" | "group" | "login.defs" | "nsswitch.conf");
    users.then_some(Trigger::Users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_makes_a_pass() {
        let config = Path::new("/etc/dsvm-agent");
        for (path, expected) in [
            ("/etc/passwd", Some(Trigger::Users)),
            ("/etc/passwd.lock", None),
            ("/etc/passwd+", None),
            ("/etc/hosts", None),
            ("/etc/dsvm-agent/agent.toml", Some(Trigger::Config)),
            ("/etc/dsvm-agent/agent.d/50-x.toml", Some(Trigger::Config)),
            ("/etc/dsvm-agent", Some(Trigger::Config)),
            ("/etc/dsvm-agent/agent.d", Some(Trigger::Config)),
            ("/etc/dsvm-agent/share.key", None),
            ("/run/systemd/users/1001", Some(Trigger::Sessions)),
        ] {
            assert_eq!(classify(Path::new(path), config), expected, "{path}");
        }
    }
}

//! What `config check` finds on this machine beyond the files: the key's file and the mount point.

use crate::config::settings::{Credentials, Share};
use crate::config::{Loaded, Mistake, Place};
use crate::share::credentials;
use crate::share::model::GUARD_SOURCE;
use crate::sys::mountinfo;

/// Looks at what the settings name. As root only: others may not see it.
pub fn findings(loaded: &Loaded) -> Vec<Mistake> {
    let Some(share) = loaded.settings.share.as_ref().filter(|_| rustix::process::geteuid().is_root()) else {
        return Vec::new();
    };
    let place = |key: &str| {
        let file = loaded.files.first().cloned().unwrap_or_default();
        loaded.places.get(key).cloned().unwrap_or_else(|| Place::of_file(file))
    };
    let mut out = Vec::new();
    if let Some(Credentials::File(path)) = &share.credentials
        && let Err(failure) = credentials::read(path)
    {
        out.push(Mistake::new(place("share.credentials.file"), failure.details.join("; ")));
    }
    out.extend(mount_point(share).map(|what| Mistake::new(place("share.mount_point"), what)));
    out
}

fn mount_point(share: &Share) -> Option<String> {
    let at = share.mount_point.display();
    let mounted = mountinfo::read().unwrap_or_default().into_iter().rfind(|m| m.target == share.mount_point);
    match mounted {
        Some(m) if m.source == GUARD_SOURCE => return None,
        Some(m) => {
            return Some(format!("{} is mounted on {at}, where the agent would mount the share", m.source.display()));
        }
        None => {}
    }
    let meta = match std::fs::symlink_metadata(&share.mount_point) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(e) => return Some(format!("{at}: {e}")),
        Ok(meta) => meta,
    };
    if meta.is_symlink() {
        return Some(format!("{at} is a link; write where it leads"));
    }
    if !meta.is_dir() {
        return Some(format!("{at} is no directory"));
    }
    match std::fs::read_dir(&share.mount_point).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Some(format!("{at} is not empty; the agent mounts over nothing that would be hidden by it")),
        Ok(false) => None,
        Err(e) => Some(format!("{at}: {e}")),
    }
}

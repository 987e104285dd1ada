//! Paths: on this machine, on the share, and in a home.

use super::tidy;
use std::path::{Path, PathBuf};

/// Linux's and SMB's limit for one component, in bytes.
const LONGEST_COMPONENT: usize = 255;

/// Linux's limit for a path, in bytes, with the zero at its end.
const LONGEST_PATH: usize = 4096;

/// Directories under which no mount point lies, and why.
const NO_MOUNT_POINT: &[(&str, &str)] = &[
    (
        "/mnt",
        "Azure mounts the VM's ephemeral disk there, and would hide the share; \
         write, for example, \"/datamnt/dsvmshare\"",
    ),
    ("/proc", "it is the kernel's"),
    ("/sys", "it is the kernel's"),
    ("/dev", "it is the kernel's"),
    ("/run", "it is emptied at every boot"),
];

/// An absolute path without `.` and `..`, and not `/`.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        let hint = if text.starts_with('~') { "; there is no home here to replace ~ with" } else { "" };
        return Err(format!("must be an absolute path, which begins with a slash, not {text:?}{hint}"));
    }
    if text.len() >= LONGEST_PATH {
        return Err(format!("is longer than {} bytes", LONGEST_PATH - 1));
    }
    let mut components = 0;
    // Repeated slashes are one.
    for component in text.split('/').filter(|component| !component.is_empty()) {
        plain(component).map_err(|reason| format!("{text:?} {reason}"))?;
        components += 1;
    }
    if components == 0 {
        return Err("cannot be the root of the file system".to_owned());
    }
    Ok(tidy(text))
}

/// Where users see the share.
pub(super) fn mount_point(text: &str) -> Result<PathBuf, String> {
    let path = absolute(text)?;
    match NO_MOUNT_POINT.iter().find(|(refused, _)| path.starts_with(refused)) {
        Some((refused, reason)) if path == Path::new(refused) => Err(format!("cannot be {refused}: {reason}")),
        Some((refused, reason)) => Err(format!("cannot be under {refused} ({text:?}): {reason}")),
        None => Ok(path),
    }
}

/// A directory that stands for the share; `local` says that it is meant to be on this machine's own disk.
pub(super) fn directory(path: &Path, local: bool) -> Result<(), String> {
    if let Some(kernel) = ["/proc", "/sys", "/dev"].into_iter().find(|kernel| path.starts_with(kernel)) {
        return Err(format!("cannot be under {kernel} ({path:?}): it is the kernel's"));
    }
    if local && path.starts_with("/mnt") {
        return Err(format!(
            "is local and under /mnt ({path:?}): Azure empties that disk when the VM is moved or deallocated, and \
             everybody's notebooks would go with it"
        ));
    }
    Ok(())
}

/// Whether one of the two lies within the other.
pub(super) fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// A user's directory on the share: `{user}` is its last component.
pub(super) fn user_directory(text: &str) -> Result<String, String> {
    let example = "write, for example, \"notebooks/{user}\"";
    if text.starts_with('/') {
        return Err(format!("must be relative to the share, not {text:?}: {example}"));
    }
    let components: Vec<_> = text.split('/').collect();
    let Some((&"{user}", earlier)) = components.split_last() else {
        let message = match text.matches("{user}").count() {
            0 => format!("has no {{user}}: {text:?} would be one directory for everybody; {example}"),
            1 => format!("must have {{user}} as its last component, whole, not {text:?}: {example}"),
            _ => format!("must have {{user}} once, not {text:?}: {example}"),
        };
        return Err(message);
    };
    for component in earlier {
        if component.contains("{user}") {
            return Err(format!("must have {{user}} once, not {text:?}: {example}"));
        }
        if component.contains(['{', '}']) {
            return Err(format!("knows only {{user}} in braces, not {text:?}: {example}"));
        }
        safe_on_smb(component).map_err(|reason| format!("{text:?} {reason}"))?;
    }
    Ok(text.to_owned())
}

/// A directory on the share that is nobody's own.
pub(super) fn shared_directory(text: &str) -> Result<String, String> {
    let example = "write, for example, \"datasets\"";
    if text.starts_with('/') {
        return Err(format!("must be relative to the share, not {text:?}: {example}"));
    }
    if text.contains(['{', '}']) {
        return Err(format!("replaces nothing in braces ({text:?}): {example}"));
    }
    for component in text.split('/') {
        safe_on_smb(component).map_err(|reason| format!("{text:?} {reason}"))?;
    }
    if text.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case(".dsvm-agent")) {
        return Err(format!("cannot be the agent's own directory, {text:?}"));
    }
    Ok(text.to_owned())
}

/// The link in the home.
pub(super) fn link(text: &str) -> Result<String, String> {
    let example = "write, for example, \"notebooks/remote\"";
    let first = text.split('/').next().unwrap_or_default();
    if first.is_empty() || first == "~" || first == "$HOME" {
        return Err(format!("must be relative to the home, not {text:?}: {example}"));
    }
    if text.contains(['{', '}']) {
        return Err(format!("replaces nothing in braces ({text:?}): {example}"));
    }
    for component in text.split('/') {
        plain(component).map_err(|reason| format!("{text:?} {reason}"))?;
    }
    Ok(text.to_owned())
}

/// Whether a component of a path can be one at all; else why not.
fn plain(component: &str) -> Result<(), String> {
    match component {
        "" => Err("has an empty component".to_owned()),
        "." | ".." => Err(format!("has the component `{component}`")),
        _ if component.contains(char::is_control) => Err("has a control character".to_owned()),
        _ if component.len() > LONGEST_COMPONENT => Err(format!("has a component of over {LONGEST_COMPONENT} bytes")),
        _ => Ok(()),
    }
}

/// Whether a component can be a name on an SMB share; else why not. After Azure Files' page "Naming and referencing
/// shares, directories, files, and metadata".
pub(crate) fn safe_on_smb(component: &str) -> Result<(), String> {
    plain(component)?;
    if let Some(c) = component.chars().find(|c| "\"\\:|<>*?".contains(*c)) {
        return Err(format!("has {c}, which names on SMB cannot have"));
    }
    if component.ends_with(['.', ' ']) {
        return Err("has a component that ends with a dot or a space, which SMB takes away".to_owned());
    }
    // CON.txt means the console, too.
    let stem = component.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |stem: &str| {
        let mut rest = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT")).unwrap_or_default().chars();
        matches!((rest.next(), rest.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    };
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CLOCK$") || numbered(&stem) {
        return Err(format!("has the component `{component}`, which means a device on SMB"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points() {
        for (text, path) in [
            ("/datamnt/dsvmshare", "/datamnt/dsvmshare"),
            ("/data//share/", "/data/share"),
            ("//data", "/data"),
            ("/mnt2/share", "/mnt2/share"),
            ("/data/mnt", "/data/mnt"),
            ("/data/a b", "/data/a b"),
            ("/data/...", "/data/..."),
        ] {
            assert_eq!(mount_point(text), Ok(PathBuf::from(path)), "{text}");
        }
        let long = format!("/{}", "a".repeat(256));
        let longer = "/a".repeat(2048);
        for (text, says) in [
            ("", "absolute"),
            ("data", "absolute"),
            ("./data", "absolute"),
            ("~/data", "home"),
            ("/", "root of the file system"),
            ("///", "root of the file system"),
            ("/data/.", "`.`"),
            ("/data/../mnt", "`..`"),
            ("/mnt", "ephemeral"),
            ("/mnt/", "ephemeral"),
            ("//mnt/x", "ephemeral"),
            ("/mnt/dsvmshare", "ephemeral"),
            ("/proc/x", "kernel"),
            ("/sys", "kernel"),
            ("/dev/shm/x", "kernel"),
            ("/run/share", "boot"),
            ("/data/a\nb", "control"),
            (&long, "255"),
            (&longer, "4095"),
        ] {
            let message = mount_point(text).expect_err(text);
            assert!(message.contains(says), "{text}: {message}");
        }
    }

    #[test]
    fn directories_that_stand_for_the_share() {
        for (path, local, good) in [
            ("/srv/share", false, true),
            ("/srv/share", true, true),
            ("/mnt/lustre", false, true),
            ("/mnt/lustre", true, false),
            ("/proc/self", false, false),
            ("/dev/shm", true, false),
        ] {
            assert_eq!(directory(Path::new(path), local).is_ok(), good, "{path} {local}");
        }
    }

    #[test]
    fn overlapping() {
        for (a, b, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a/b", "/a", true),
            ("/a/b", "/a/c", false),
            ("/a", "/ab", false),
        ] {
            assert_eq!(overlap(Path::new(a), Path::new(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn directories_of_users() {
        for text in ["notebooks/{user}", "{user}", "team a/2024/{user}", ".hidden/{user}", "CONSOLE/{user}"] {
            assert_eq!(user_directory(text).as_deref(), Ok(text));
        }
        for (text, says) in [
            ("", "no {user}"),
            ("notebooks", "no {user}"),
            ("notebooks/{users}", "no {user}"),
            ("notebooks/$USER", "no {user}"),
            ("/notebooks/{user}", "relative"),
            ("notebooks/{user}/", "last component"),
            ("{user}/notebooks", "last component"),
            ("notebooks/x-{user}", "last component"),
            ("{user}/{user}", "once"),
            ("{user}x/{user}", "once"),
            ("{user}{user}", "once"),
            ("{group}/{user}", "only {user}"),
            ("a//{user}", "empty"),
            ("./{user}", "`.`"),
            ("../{user}", "`..`"),
            ("a\u{7}b/{user}", "control"),
            ("a:b/{user}", ":"),
            ("a\\b/{user}", "\\"),
            ("what?/{user}", "?"),
            ("a./{user}", "dot"),
            ("a /{user}", "space"),
            ("con/{user}", "device"),
            ("Lpt1.txt/{user}", "device"),
            ("COM²/{user}", "device"),
        ] {
            let message = user_directory(text).expect_err(text);
            assert!(message.contains(says), "{text}: {message}");
        }
    }

    #[test]
    fn links() {
        for text in ["notebooks/remote", "remote", "a b/c", ".remote"] {
            assert_eq!(link(text).as_deref(), Ok(text));
        }
        for (text, says) in [
            ("", "relative"),
            ("/home/alice/remote", "relative"),
            ("~/notebooks/remote", "relative"),
            ("$HOME/remote", "relative"),
            ("notebooks//remote", "empty"),
            ("notebooks/", "empty"),
            (".", "`.`"),
            ("../alice", "`..`"),
            ("notebooks/..", "`..`"),
            ("a\nb", "control"),
            ("notebooks/{user}", "braces"),
        ] {
            let message = link(text).expect_err(text);
            assert!(message.contains(says), "{text}: {message}");
        }
    }
}

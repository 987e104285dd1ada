//! Maintenance: packages being installed, and a VM that cloud-init still sets up.

use super::Roots;
use crate::idle::model::{Level, Seen};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files that dpkg and apt lock while they work (fcntl(2) locks; apt.conf(5), dpkg(1)).
const LOCKS: [&str; 4] =
    ["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"];

/// So much of the kernel's list is read, in bytes: some ten thousand locks. Whoever takes a million holds nobody up.
const LONGEST: u64 = 1024 * 1024;

/// Looks at the kernel's list of locks (proc_locks(5)) and at cloud-init's files.
pub fn look(roots: &Roots) -> Seen {
    let mut levels = Vec::new();
    let mut busy = |what: &str| levels.push(Level { value: 1.0, what: Some(what.to_owned()), ..Level::default() });
    match locks(&roots.proc.join("locks")) {
        Ok((locks, whole)) => {
            let inodes = LOCKS.iter().filter_map(|l| std::fs::metadata(roots.root.join(l)).ok());
            if inodes.map(|m| m.ino()).any(|inode| is_locked(&locks, inode)) {
                busy("packages are being installed");
            } else if !whole {
                // Not idle, and it has a name: nobody keeps a VM in secret.
                let why = "more files are locked than are looked through (/proc/locks)".to_owned();
                let owner = |pid: u32| std::fs::metadata(roots.proc.join(pid.to_string())).ok().map(|m| m.uid());
                let who = most(&locks).and_then(owner);
                return Seen::Levels(vec![Level { who, unknown: true, what: Some(why), ..Level::default() }]);
            }
        }
        Err(e) => return Seen::Unreadable(format!("/proc/locks: {e}")),
    }
    // cloud-init makes its directory at boot and writes result.json when it is through (cloud-init status --wait).
    let cloud = roots.root.join("run/cloud-init");
    if cloud.join("enabled").exists() && !cloud.join("result.json").exists() {
        busy("cloud-init is not through");
    }
    Seen::Levels(levels)
}

/// The list of locks, as much of it as is read, and whether that is all. A last line that was cut off is left out.
fn locks(path: &Path) -> io::Result<(String, bool)> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    let whole = (bytes.len() as u64) < LONGEST;
    if !whole {
        bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').unwrap_or(0));
    }
    Ok((String::from_utf8_lossy(&bytes).into_owned(), whole))
}

/// The process that holds the most locks of the list.
fn most(locks: &str) -> Option<u32> {
    let mut count: BTreeMap<u32, usize> = BTreeMap::new();
    let holder = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let place = words.iter().position(|word| word.matches(':').count() == 2)?;
        words.get(place.checked_sub(1)?)?.parse::<u32>().ok()
    };
    locks.lines().filter_map(holder).for_each(|pid| *count.entry(pid).or_default() += 1);
    count.into_iter().max_by_key(|(_, n)| *n).map(|(pid, _)| pid)
}

/// Whether the list has a lock on this inode: `1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF`.
pub fn is_locked(locks: &str, inode: u64) -> bool {
    let held = |line: &str| {
        // `->` marks one that waits for the lock before it.
        let place = line.split_ascii_whitespace().find(|word| word.matches(':').count() == 2)?;
        Some(!line.contains("->") && place.rsplit(':').next()?.parse() == Ok(inode))
    };
    locks.lines().any(|line| held(line).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_by_its_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 812 fd:01:131 0 EOF\n1: -> POSIX  ADVISORY  WRITE 813 fd:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 5 00:1a:42 0 EOF\n";
        assert!(is_locked(locks, 131) && is_locked(locks, 42));
        assert!(!is_locked(locks, 77) && !is_locked(locks, 13) && !is_locked("nonsense\n", 1));
    }

    #[test]
    fn a_list_without_end_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().into(), root: dir.path().into(), ..Roots::default() };
        std::fs::create_dir_all(dir.path().join("var/lib/dpkg")).unwrap();
        std::fs::write(dir.path().join("var/lib/dpkg/lock"), "").unwrap();
        let inode = std::fs::metadata(dir.path().join("var/lib/dpkg/lock")).unwrap().ino();
        let many = "1: POSIX  ADVISORY  WRITE 812 fd:01:0 7 7\n".repeat(30_000);
        std::fs::create_dir(dir.path().join("812")).unwrap();
        let whose = std::fs::metadata(dir.path().join("812")).unwrap().uid();
        let own = format!("1: POSIX  ADVISORY  WRITE 812 fd:01:{inode} 0 EOF\n");
        for (text, told) in [(format!("{own}{many}"), Some(1)), (format!("{many}{own}"), None), (many.clone(), None)] {
            std::fs::write(dir.path().join("locks"), &text).unwrap();
            assert!(text.len() as u64 > LONGEST);
            match (look(&roots), told) {
                (Seen::Levels(levels), Some(count)) => assert_eq!(levels.len(), count),
                (Seen::Levels(levels), None) => {
                    let [level] = levels.as_slice() else { panic!("{levels:?}") };
                    assert!(level.unknown && level.who == Some(whose), "{level:?}");
                }
                (other, _) => panic!("{other:?}"),
            }
            let (read, whole) = locks(&dir.path().join("locks")).unwrap();
            assert!(!whole && read.len() as u64 <= LONGEST && read.ends_with(['7', 'F']), "the last line is whole");
        }
    }

    #[test]
    fn cloud_init_is_busy_until_it_is_through() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().into(), root: dir.path().into(), ..Roots::default() };
        assert!(matches!(look(&roots), Seen::Unreadable(_)));
        std::fs::write(dir.path().join("locks"), "").unwrap();
        assert_eq!(look(&roots), Seen::Levels(vec![]));
        std::fs::create_dir_all(dir.path().join("run/cloud-init")).unwrap();
        std::fs::write(dir.path().join("run/cloud-init/enabled"), "").unwrap();
        assert!(matches!(look(&roots), Seen::Levels(levels) if levels.len() == 1));
        std::fs::write(dir.path().join("run/cloud-init/result.json"), "{}").unwrap();
        assert_eq!(look(&roots), Seen::Levels(vec![]));
    }
}

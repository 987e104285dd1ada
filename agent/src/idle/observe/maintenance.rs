//! Maintenance: packages being installed, and a VM that cloud-init still sets up.

use super::Roots;
use crate::idle::model::{Level, Seen};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files that dpkg and apt lock while they work (fcntl(2) locks; apt.conf(5), dpkg(1)).
const LOCKS: [&str; 4] =
    ["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"];

/// What a person does who locks a file with the number of one of those.
const LIKENESS: &str = "a file is locked that looks like the package manager's";

/// So much of the kernel's list is read, in bytes: some ten thousand locks. Whoever takes a million holds nobody up.
const LONGEST: u64 = 1024 * 1024;

/// A file, as the kernel tells them apart.
struct File {
    device: (u32, u32),
    inode: u64,
}

/// One lock of the kernel's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// The process that took it, where it is one.
    pub pid: Option<u32>,
    /// It is not held: it waits for the lock before it (`->`).
    pub waits: bool,
    /// The file's device, major and minor.
    pub device: (u32, u32),
    /// The file's inode.
    pub inode: u64,
}

/// Looks at the kernel's list of locks (proc_locks(5)) and at cloud-init's files. `is_human` says whether a user id is a
/// person's.
pub fn look(roots: &Roots, is_human: &dyn Fn(u32) -> bool) -> Seen {
    let mut levels = Vec::new();
    let mut busy =
        |who, what: &str| levels.push(Level { who, value: 1.0, what: Some(what.to_owned()), ..Level::default() });
    match locks(&roots.proc.join("locks")) {
        Ok((locks, whole)) => {
            let owner = |pid: u32| std::fs::metadata(roots.proc.join(pid.to_string())).ok().map(|m| m.uid());
            let holders = holders(&locks, &files(roots), &owner);
            // Nobody keeps a VM in secret: a person cannot open the package manager's files, and has made one that looks like
            // them.
            let whose: BTreeSet<Option<u32>> =
                holders.into_iter().map(|uid| uid.filter(|uid| is_human(*uid))).collect();
            for who in &whose {
                busy(*who, if who.is_some() { LIKENESS } else { "packages are being installed" });
            }
            if whose.is_empty() && !whole {
                // Not idle, and it has a name, too.
                let why = "more files are locked than are looked through (/proc/locks)".to_owned();
                let who = most(&locks).and_then(owner);
                return Seen::Levels(vec![Level { who, unknown: true, what: Some(why), ..Level::default() }]);
            }
        }
        Err(e) => return Seen::Unreadable(format!("/proc/locks: {e}")),
    }
    // cloud-init makes its directory at boot and writes result.json when it is through (cloud-init status --wait).
    let cloud = roots.root.join("run/cloud-init");
    if cloud.join("enabled").exists() && !cloud.join("result.json").exists() {
        busy(None, "cloud-init is not through");
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
    locks.lines().filter_map(|line| parse(line)?.pid).for_each(|pid| *count.entry(pid).or_default() += 1);
    count.into_iter().max_by_key(|(_, n)| *n).map(|(pid, _)| pid)
}

/// Who holds locks on any of these files; nothing for one of whom nobody can say whose it is.
///
/// The number of the file tells: the kernel's list has another device than stat(2) on btrfs and on overlays. Where a lock
/// has no process that could be asked for its owner, the device must be the file's, or anybody could make such a lock.
fn holders(locks: &str, files: &[File], owner: &dyn Fn(u32) -> Option<u32>) -> Vec<Option<u32>> {
    let holder = |line: &str| {
        let lock = parse(line).filter(|lock| !lock.waits)?;
        let mut same = files.iter().filter(|file| file.inode == lock.inode).peekable();
        same.peek()?;
        let uid = lock.pid.and_then(owner);
        (uid.is_some() || same.any(|file| file.device == lock.device)).then_some(uid)
    };
    locks.lines().filter_map(holder).collect()
}

/// The package manager's files, as far as they are there.
fn files(roots: &Roots) -> Vec<File> {
    let file = |meta: std::fs::Metadata| {
        let device = meta.dev();
        File { device: (rustix::fs::major(device), rustix::fs::minor(device)), inode: meta.ino() }
    };
    LOCKS.iter().filter_map(|path| std::fs::metadata(roots.root.join(path)).ok()).map(file).collect()
}

/// Parses a line of the list: `1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF`. Nothing when it is none.
pub fn parse(line: &str) -> Option<Lock> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let place = words.iter().position(|word| word.matches(':').count() == 2)?;
    let mut parts = words.get(place)?.split(':');
    let mut device = || u32::from_str_radix(parts.next()?, 16).ok();
    let device = (device()?, device()?);
    Some(Lock {
        // Locks of open files have none (`OFDLCK`, -1), and those of a process outside of this name space 0.
        pid: words.get(place.checked_sub(1)?)?.parse().ok().filter(|pid| *pid > 0),
        waits: line.contains("->"),
        device,
        inode: parts.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_from_its_line() {
        let lock = |pid, waits, device, inode| Some(Lock { pid, waits, device, inode });
        for (line, expected) in [
            ("1: POSIX  ADVISORY  WRITE 812 fd:01:131 0 EOF", lock(Some(812), false, (0xfd, 1), 131)),
            ("1: -> POSIX  ADVISORY  WRITE 813 fd:01:77 0 EOF", lock(Some(813), true, (0xfd, 1), 77)),
            ("2: FLOCK  ADVISORY  WRITE 5 00:1a:42 0 EOF", lock(Some(5), false, (0, 0x1a), 42)),
            ("3: OFDLCK ADVISORY  READ  -1 103:02:9 0 EOF", lock(None, false, (0x103, 2), 9)),
            ("4: POSIX  ADVISORY  WRITE 0 00:1a:42 0 0", lock(None, false, (0, 0x1a), 42)),
            ("5: POSIX  ADVISORY  WRITE 5 zz:1a:42 0 0", None),
            ("fd:01:131 0 EOF", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn a_lock_is_found_by_the_number_of_its_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 812 fd:01:131 0 EOF\n1: -> POSIX  ADVISORY  WRITE 813 fd:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 5 00:1a:42 0 EOF\n";
        for (inode, held) in [(131, Some(Some(812))), (42, Some(Some(5))), (77, None), (13, None)] {
            let holders = holders(locks, &[File { device: (8, 1), inode }], &Some);
            assert_eq!(holders, held.into_iter().collect::<Vec<_>>(), "{inode}");
        }
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
            match (look(&roots, &|_| false), told) {
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
        assert!(matches!(look(&roots, &|_| false), Seen::Unreadable(_)));
        std::fs::write(dir.path().join("locks"), "").unwrap();
        assert_eq!(look(&roots, &|_| false), Seen::Levels(vec![]));
        std::fs::create_dir_all(dir.path().join("run/cloud-init")).unwrap();
        std::fs::write(dir.path().join("run/cloud-init/enabled"), "").unwrap();
        assert!(matches!(look(&roots, &|_| false), Seen::Levels(levels) if levels.len() == 1));
        std::fs::write(dir.path().join("run/cloud-init/result.json"), "{}").unwrap();
        assert_eq!(look(&roots, &|_| false), Seen::Levels(vec![]));
    }

    #[test]
    fn a_persons_lock_is_theirs_and_one_that_is_nobodys_is_the_package_managers_only_on_its_device() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().into(), root: dir.path().into(), ..Roots::default() };
        std::fs::create_dir_all(dir.path().join("var/lib/dpkg")).unwrap();
        std::fs::write(dir.path().join("var/lib/dpkg/lock"), "").unwrap();
        std::fs::create_dir(dir.path().join("812")).unwrap();
        let meta = std::fs::metadata(dir.path().join("var/lib/dpkg/lock")).unwrap();
        let (own, inode) = (meta.uid(), meta.ino());
        let device = |of: u64| format!("{:02x}:{:02x}", rustix::fs::major(of), rustix::fs::minor(of));
        let (same, other) = (device(meta.dev()), "fe:dc".to_owned());
        for (pid, device, is_person, told) in [
            // As on btrfs and overlays, where the list has another device.
            ("812", &other, true, Some(Some(own))),
            ("812", &other, false, Some(None)),
            ("812", &same, true, Some(Some(own))),
            // Whoever locked it has ended, or it is of a kind that has no owner.
            ("813", &same, true, Some(None)),
            ("-1", &same, true, Some(None)),
            ("813", &other, true, None),
            ("-1", &other, true, None),
        ] {
            let line = format!("1: POSIX  ADVISORY  WRITE {pid} {device}:{inode} 0 EOF\n");
            std::fs::write(dir.path().join("locks"), line).unwrap();
            let Seen::Levels(levels) = look(&roots, &|uid| is_person && uid == own) else { panic!() };
            let who: Vec<_> = levels.iter().map(|l| l.who).collect();
            assert_eq!(who, told.into_iter().collect::<Vec<_>>(), "{pid} {device} {is_person}");
            let what = levels.first().and_then(|l| l.what.as_deref()).unwrap_or_default();
            assert_eq!(what == "packages are being installed", told == Some(None), "{what}");
        }
    }
}

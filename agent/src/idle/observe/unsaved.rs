//! Bytes that programs wrote and that have not reached the share yet.
//!
//! The kernel counts them for each file server, and shows that in debugfs alone
//! (mm/backing-dev.c, bdi_debug_stats_show): `/sys/kernel/debug/bdi/cifs-N/stats` for SMB, `bdi/MAJOR:MINOR/stats` for NFS. A kernel that is locked down, or has no debugfs, shows nothing: then there is no such
//! evidence, and what is left is that the kernel writes everything within half a minute while the server answers, and that
//! a VM that is deleted flushes first.
//!
//! While the server does not answer, a program that waits for it does nothing that could be counted, and mostly not even
//! sleeps as one that waits for a disk does. Whether it would go on once the server is back, cannot be told.

use super::Roots;
use crate::idle::model::{Level, Seen};
use crate::sys::mountinfo::Mount;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Looks, as root. `mounts` are the machine's.
pub fn look(roots: &Roots, mounts: &[Mount]) -> Seen {
    let network = |m: &&Mount| matches!(m.fs_type.as_str(), "cifs" | "smb3" | "nfs4" | "nfs");
    let numbers: Vec<&str> = mounts.iter().filter(network).map(|m| m.device.as_str()).collect();
    let Ok(entries) = std::fs::read_dir(roots.root.join("sys/kernel/debug/bdi")) else { return Seen::Absent };
    let mut bytes = 0.0;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("cifs-") || numbers.contains(&name.as_str()) {
            match stats(&entry.path().join("stats")) {
                Ok(Some(more)) => bytes += more,
                // The server was let go of meanwhile.
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Seen::Absent,
                Err(e) => return Seen::Unreadable(format!("debugfs, bdi/{name}/stats: {e}")),
            }
        }
    }
    match bytes > 0.0 {
        true => Seen::Levels(vec![Level { value: bytes, ..Level::default() }]),
        false => Seen::Levels(Vec::new()),
    }
}

/// Bytes of one file server; nothing when it is gone.
///
/// # Errors
/// Its file cannot be read, and a kernel that is locked down refuses; or there is nothing of the kind in it.
fn stats(path: &Path) -> io::Result<Option<f64>> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).map(Some).ok_or_else(|| io::Error::other("it says nothing of what waits")),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Bytes that are dirty or being written, of lines such as `BdiReclaimable:          12 kB`; nothing when there is no such
/// line.
pub fn parse(text: &str) -> Option<f64> {
    let amount = |line: &str| {
        let rest = line.strip_prefix("BdiWriteback:").or_else(|| line.strip_prefix("BdiReclaimable:"))?;
        rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    text.lines().filter_map(amount).map(|kib| kib as f64 * 1024.0).reduce(|a, b| a + b)
}

/// Whose programs may wait for a share that does not answer: of the mounts' `owners` those who are `present`; anybody who is
/// present, where a mount has no owner of its own. While nobody knows who is present, every owner.
pub fn may_wait(
    owners: &BTreeSet<Option<u32>>,
    present: Option<&BTreeSet<u32>>,
    is_human: &dyn Fn(u32) -> bool,
) -> BTreeSet<Option<u32>> {
    let Some(present) = present else { return owners.clone() };
    let people = present.iter().copied().filter(|uid| is_human(*uid)).map(Some);
    people.filter(|uid| owners.contains(uid) || owners.contains(&None)).collect()
}

/// What was seen, and that it cannot be told of those who may wait for the share.
pub fn with_waiting(seen: Seen, waiting: &BTreeSet<Option<u32>>) -> Seen {
    let why = "the share does not answer, and programs may wait for it";
    let unknown =
        |who: &Option<u32>| Level { who: *who, unknown: true, what: Some(why.to_owned()), ..Level::default() };
    match seen {
        Seen::Levels(mut levels) => {
            levels.extend(waiting.iter().map(unknown));
            Seen::Levels(levels)
        }
        Seen::Absent if !waiting.is_empty() => Seen::Levels(waiting.iter().map(unknown).collect()),
        seen => seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_here_and_has_a_mount_may_wait_for_the_share() {
        let (ada, bob, nobodys) = (Some(1001), Some(1002), None);
        let here = |uids: &[u32]| Some(uids.iter().copied().collect::<BTreeSet<u32>>());
        for (owners, present, expected) in [
            (vec![ada, bob], here(&[0, 33, 1001, 1003]), vec![ada]),
            (vec![ada, bob], here(&[0, 33, 1003]), vec![]),
            (vec![], here(&[1001]), vec![]),
            (vec![nobodys], here(&[0, 33, 1001, 1003]), vec![ada, Some(1003)]),
            (vec![nobodys], here(&[0, 33]), vec![]),
            (vec![ada, nobodys], None, vec![nobodys, ada]),
        ] {
            let owners: BTreeSet<Option<u32>> = owners.into_iter().collect();
            let told = may_wait(&owners, present.as_ref(), &|uid| uid >= 1000);
            assert_eq!(told.into_iter().collect::<Vec<_>>(), expected, "{owners:?} {present:?}");
        }
    }

    #[test]
    fn who_waits_for_the_share_cannot_be_told_beside_what_is_seen() {
        let waiting: BTreeSet<Option<u32>> = [Some(1001)].into();
        let bytes = || Level { value: 5.0, ..Level::default() };
        for (seen, expected) in [
            (Seen::Absent, vec![(Some(1001), true)]),
            (Seen::Levels(vec![]), vec![(Some(1001), true)]),
            (Seen::Levels(vec![bytes()]), vec![(None, false), (Some(1001), true)]),
        ] {
            assert_eq!(with_waiting(seen.clone(), &BTreeSet::new()), seen);
            let Seen::Levels(levels) = with_waiting(seen, &waiting) else { panic!() };
            assert_eq!(levels.iter().map(|l| (l.who, l.unknown)).collect::<Vec<_>>(), expected);
        }
        let unreadable = Seen::Unreadable("x".to_owned());
        assert_eq!(with_waiting(unreadable.clone(), &waiting), unreadable);
    }

    const STATS: &str = "BdiWriteback:            4 kB\nBdiReclaimable:         12 kB\nBdiDirtyThresh:     99 kB\n\
                         DirtyThresh: 1 kB\nBdiDirtied: 500 kB\nstate: 1\n";

    #[test]
    fn what_is_on_its_way_to_file_servers_counts() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { root: dir.path().into(), ..Roots::default() };
        let line = "30 1 0:52 / /x rw - nfs4 h:/e rw\n31 1 8:1 / /y rw - ext4 /dev/sda1 rw\n";
        let mounts = crate::sys::mountinfo::parse(line.as_bytes()).unwrap();
        assert_eq!(look(&roots, &mounts), Seen::Absent);
        for (name, text) in [("cifs-1", STATS), ("0:52", STATS), ("8:1", STATS), ("0:53", STATS)] {
            let path = dir.path().join("sys/kernel/debug/bdi").join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("stats"), text).unwrap();
        }
        let Seen::Levels(levels) = look(&roots, &mounts) else { panic!() };
        assert_eq!(levels.iter().map(|l| l.value).collect::<Vec<_>>(), [2.0 * 16.0 * 1024.0]);
        for name in ["cifs-1", "0:52"] {
            let none = STATS.replace("4 kB", "0 kB").replace("12 kB", "0 kB");
            std::fs::write(dir.path().join("sys/kernel/debug/bdi").join(name).join("stats"), none).unwrap();
        }
        assert_eq!(look(&roots, &mounts), Seen::Levels(vec![]));
        // A server that is let go of in between is nothing; one that cannot be read is not the same as one without a byte.
        let stats = dir.path().join("sys/kernel/debug/bdi/cifs-1/stats");
        std::fs::remove_file(&stats).unwrap();
        assert_eq!(look(&roots, &mounts), Seen::Levels(vec![]));
        std::fs::write(&stats, "nonsense").unwrap();
        assert!(matches!(look(&roots, &mounts), Seen::Unreadable(why) if why.contains("cifs-1")));
        std::fs::remove_file(&stats).unwrap();
        std::fs::create_dir(&stats).unwrap();
        assert!(matches!(look(&roots, &mounts), Seen::Unreadable(why) if why.contains("cifs-1")));
    }
}

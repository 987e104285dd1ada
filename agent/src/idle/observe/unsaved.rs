//! Bytes that programs wrote and that have not reached the share yet.
//!
//! The kernel counts them for each file server, and shows that in debugfs alone
//! (mm/backing-dev.c, bdi_debug_stats_show): `/sys/kernel/debug/bdi/cifs-N/stats` for SMB, `bdi/MAJOR:MINOR/stats` for NFS. A kernel that is locked down, or has no debugfs, shows nothing: then there is no such
//! evidence, and what is left is that the kernel writes everything within half a minute while the server answers, and that
//! a VM that is deleted flushes first.

use super::Roots;
use crate::idle::model::{Level, Seen};
use crate::sys::mountinfo::Mount;

/// Looks, as root. `mounts` are the machine's.
pub fn look(roots: &Roots, mounts: &[Mount]) -> Seen {
    let network = |m: &&Mount| matches!(m.fs_type.as_str(), "cifs" | "smb3" | "nfs4" | "nfs");
    let numbers: Vec<&str> = mounts.iter().filter(network).map(|m| m.device.as_str()).collect();
    let Ok(entries) = std::fs::read_dir(roots.root.join("sys/kernel/debug/bdi")) else { return Seen::Absent };
    let mut bytes = 0.0;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("cifs-") || numbers.contains(&name.as_str()) {
            bytes += std::fs::read_to_string(entry.path().join("stats")).map_or(0.0, |text| parse(&text));
        }
    }
    match bytes > 0.0 {
        true => Seen::Levels(vec![Level { value: bytes, ..Level::default() }]),
        false => Seen::Levels(Vec::new()),
    }
}

/// Bytes that are dirty or being written, of lines such as `BdiReclaimable:          12 kB`.
pub fn parse(text: &str) -> f64 {
    let amount = |line: &str| {
        let rest = line.strip_prefix("BdiWriteback:").or_else(|| line.strip_prefix("BdiReclaimable:"))?;
        rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    text.lines().filter_map(amount).map(|kib| kib as f64 * 1024.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}

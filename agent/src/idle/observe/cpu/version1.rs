//! Containers where control groups are of version 1. Each controller has a hierarchy of its own there, and systemd's tree of
//! version 2 is beside them or is not there at all (systemd, CGROUP_DELEGATION.md, "hybrid" and "legacy"): Ubuntu 20.04 comes
//! with the former. Docker makes its groups in those hierarchies itself, unless told otherwise (docs.docker.com, "cgroup
//! driver"), and on the side of version 2 a container's processes stay in the service of its engine, which is nobody's.
//!
//! What a group used, the controller `cpuacct` counts, with all that is below it and all that ended
//! (Documentation/admin-guide/cgroup-v1/cpuacct.rst). So the groups of that hierarchy are looked through, not the processes.

use super::{DEEPEST, container, directories, inode, is_container};
use crate::idle::model::Counter;
use crate::idle::observe::{Roots, containers, process};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The counter of a container, by the name of its group.
pub(super) type Named = (String, Counter);

/// Adds containers of version 1 to those that were found in version 2.
///
/// # Errors
/// There is one whose CPU time cannot be read: which.
pub(super) fn with(roots: &Roots, found: Vec<Named>) -> Result<Vec<Named>, String> {
    match hierarchy(&roots.cgroup) {
        Some(hierarchy) => Ok(together(found, look(&hierarchy)?)),
        None => uncounted(roots, &found).map(|()| found),
    }
}

/// Where the hierarchy of `cpuacct` is: systemd mounts it with that of `cpu`, and links to it by either name.
fn hierarchy(cgroup: &Path) -> Option<PathBuf> {
    let places = ["cpuacct", "cpu,cpuacct"].map(|name| cgroup.join(name));
    places.into_iter().find(|place| place.join("cpuacct.usage").exists())
}

/// The containers of a hierarchy. In users' own sessions there are none: only root makes groups of version 1.
fn look(hierarchy: &Path) -> Result<Vec<Named>, String> {
    let (mut found, mut left) = (Vec::new(), vec![(hierarchy.to_owned(), 0)]);
    while let Some((path, depth)) = left.pop() {
        for (name, path) in directories(&path) {
            if !is_container(&name) {
                if depth < DEEPEST {
                    left.push((path, depth + 1));
                }
                continue;
            }
            let value = std::fs::read_to_string(path.join("cpuacct.usage")).ok().as_deref().and_then(parse_usage);
            match value {
                Some(value) => {
                    let (id, what) = (format!("v{}", inode(&path)), Some(container(&name)));
                    found.push((name, Counter { id, value, what, ..Counter::default() }));
                }
                None if path.exists() => return Err(format!("{}: its CPU time cannot be read", container(&name))),
                // It ended meanwhile.
                None => {}
            }
        }
    }
    Ok(found)
}

/// Both sides of one machine. A container may be on both, as with systemd's driver: what version 2 counts is then a part of
/// what version 1 does. So it is told once, and nothing is lost that only one side counts.
fn together(found: Vec<Named>, older: Vec<Named>) -> Vec<Named> {
    let wholes: BTreeMap<String, String> = older.iter().map(|(name, c)| (name.clone(), c.id.clone())).collect();
    let part = |(name, counter): Named| {
        let within = wholes.get(&name).cloned();
        (name, Counter { within, ..counter })
    };
    found.into_iter().map(part).chain(older).collect()
}

/// Whether all containers were found where `cpuacct` is not there, by the processes that there are: the sum of their times
/// does not tell what those used that ended and nobody waited for, and falls when they end.
fn uncounted(roots: &Roots, found: &[Named]) -> Result<(), String> {
    process::shows_all(&roots.proc).map_err(|e| e.to_string())?;
    let members = containers::members(&roots.proc).map_err(|e| e.to_string())?;
    let counted = |name: &String| found.iter().any(|(known, _)| known == name);
    match members.keys().find(|name| !counted(name)) {
        Some(name) => Err(format!("{}: nothing counts its CPU time", container(name))),
        None => Ok(()),
    }
}

/// CPU time in seconds, from the text of a group's `cpuacct.usage`: nanoseconds (cpuacct.rst).
pub fn parse_usage(text: &str) -> Option<f64> {
    let nanoseconds: u64 = text.trim().parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}

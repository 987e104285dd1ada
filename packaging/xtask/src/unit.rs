//! What systemd says of the unit, before anybody installs it.

use crate::cloud_init;
use crate::deb::{copy, files, fresh_directory, root};
use crate::host::{Error, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tenths of systemd's exposure level. The smallest that mounting for the whole machine and seeing who holds a connection
/// leave, by systemd 252's rules: 5.3 without the latter.
const MAX_EXPOSURE: &str = "56";

/// The same of the unit that loads firewall rules.
const MAX_GUARD_EXPOSURE: &str = "30";

/// The same of the unit that runs while the VM goes down.
const MAX_GOING_DOWN_EXPOSURE: &str = "50";

/// The agent's unit.
const UNIT: &str = "dsvm-agent.service";
/// The one that keeps instance metadata to root and the agent.
const GUARD: &str = "dsvm-agent-metadata-guard.service";
/// The one that runs while the VM goes down.
const GOING_DOWN: &str = "dsvm-agent-going-down.service";

/// Asks systemd about the units among the host's own units and cloud-init's, in a tree that nothing runs from, and returns
/// the agent's exposure as systemd says it, such as `5.2 MEDIUM`.
///
/// An ordering cycle is why cloud-init is there: systemd breaks one by silently not starting some unit.
pub fn check(tree: &Path, program: &Path) -> Result<String, Error> {
    fresh_directory(tree)?;
    let units = tree.join("usr/lib/systemd/system");
    let wants = tree.join("etc/systemd/system/multi-user.target.wants");
    for path in [&units, &wants, &tree.join("usr/bin"), &tree.join("usr/sbin"), &tree.join("bin")] {
        fs::create_dir_all(path).map_err(|error| Error::File(path.clone(), error))?;
    }
    let cloud_init = cloud_init::package()?;
    for directory in [cloud_init.join("lib"), cloud_init.join("usr/lib"), PathBuf::from("/usr/lib")] {
        for unit in files(&directory.join("systemd/system")).unwrap_or_default() {
            let name = unit.file_name().unwrap_or_default();
            // A masked unit is a link to nowhere that a file can be copied from.
            if unit.is_file() && unit.extension().is_some_and(|kind| kind == "service" || kind == "target") {
                copy(&unit, &units.join(name))?;
            }
        }
    }
    for unit in [UNIT, GUARD, GOING_DOWN] {
        copy(&root().join("packaging/systemd").join(unit), &units.join(unit))?;
    }
    copy(program, &tree.join("usr/bin/dsvm-agent"))?;
    copy(Path::new("/bin/kill"), &tree.join("bin/kill"))?;
    // Any program will do: it is not started.
    copy(Path::new("/bin/kill"), &tree.join("usr/sbin/nft"))?;
    // Started together, as on a VM: a cycle shows only among units that all have a reason to start.
    for unit in files(&units)? {
        let name = unit.file_name().unwrap_or_default();
        let cloud = name.to_string_lossy().starts_with("cloud-") && !name.to_string_lossy().contains("hotplug");
        if cloud || name == UNIT || name == GUARD || name == "systemd-user-sessions.service" {
            let link = wants.join(name);
            symlink(Path::new("/usr/lib/systemd/system").join(name), &link)
                .map_err(|error| Error::File(link, error))?;
        }
    }
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.arg("--root").arg(tree).args(["--man=no", "--no-pager"]).args(arguments);
        command
    };
    // What it says decides, not how it ends: the programs of other units are not in this tree, and it minds.
    let (_, said) = output(&mut analyze(&["verify", UNIT, GUARD, GOING_DOWN, "multi-user.target"]))?;
    // The directory of the repository may have the unit's name.
    let said = said.replace(&*tree.to_string_lossy(), "");
    if said.contains("dsvm-agent") || said.contains("cycle") {
        return Err(Error::Failed("systemd-analyze verify".to_owned(), said));
    }
    let threshold = format!("--threshold={MAX_EXPOSURE}");
    let guard = format!("--threshold={MAX_GUARD_EXPOSURE}");
    run(&mut analyze(&["security", "--offline=true", &guard, GUARD]))?;
    let going_down = format!("--threshold={MAX_GOING_DOWN_EXPOSURE}");
    run(&mut analyze(&["security", "--offline=true", &going_down, GOING_DOWN]))?;
    let said = run(&mut analyze(&["security", "--offline=true", &threshold, UNIT]))?;
    let level = said.lines().find_map(|line| line.split_once("exposure level for dsvm-agent.service: "));
    let level = level.map(|(_, level)| level.trim_end_matches(|c: char| !c.is_ascii()).trim().to_owned());
    level.ok_or_else(|| Error::Failed("systemd-analyze security".to_owned(), said))
}

/// Runs a command to its end. Nothing of it is shown: a build that goes well says one line.
fn output(command: &mut Command) -> Result<(bool, String), Error> {
    let output = command.output().map_err(|error| Error::Start(format!("{command:?}"), error))?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::target;
    use std::collections::{BTreeMap, BTreeSet};

    /// The systemd of Ubuntu 20.04, the oldest that the package is for. An older one ignores a directive that it does
    /// not know, with a warning: the unit would start with less protection, or be given up on.
    const OLDEST: u32 = 245;

    /// Since which version of systemd each directive of the unit is known: "Added in version" of systemd.unit(5),
    /// systemd.service(5), systemd.exec(5), systemd.kill(5) and systemd.resource-control(5). 0: before they say so.
    const SINCE: &[(&str, u32)] = &[
        ("After", 0),
        ("Before", 0),
        ("CapabilityBoundingSet", 0),
        ("DefaultDependencies", 0),
        ("Description", 0),
        ("DeviceAllow", 208),
        ("DevicePolicy", 208),
        ("Documentation", 0),
        ("ExecReload", 0),
        ("ExecStart", 0),
        ("ExecStop", 0),
        ("KeyringMode", 235),
        ("KillMode", 187),
        ("LimitCORE", 0),
        ("LockPersonality", 235),
        ("MemoryDenyWriteExecute", 231),
        ("MemoryMax", 231),
        ("MemorySwapMax", 232),
        ("NoNewPrivileges", 187),
        ("NotifyAccess", 0),
        ("OOMPolicy", 243),
        ("OOMScoreAdjust", 0),
        ("PartOf", 0),
        ("PrivateDevices", 209),
        ("PrivateTmp", 0),
        ("ProtectClock", 245),
        ("ProtectControlGroups", 232),
        ("ProtectHome", 214),
        ("ProtectHostname", 242),
        ("ProtectKernelLogs", 244),
        ("ProtectSystem", 214),
        ("ReloadPropagatedFrom", 0),
        ("RemainAfterExit", 0),
        ("Restart", 0),
        ("RestartSec", 0),
        ("RestrictAddressFamilies", 211),
        ("RestrictNamespaces", 233),
        ("RestrictRealtime", 231),
        ("RestrictSUIDSGID", 242),
        ("StartLimitIntervalSec", 230),
        ("SystemCallArchitectures", 209),
        ("SystemCallErrorNumber", 209),
        ("SystemCallFilter", 187),
        ("TasksMax", 227),
        ("TimeoutStartSec", 188),
        ("TimeoutStopSec", 188),
        ("Type", 0),
        ("UMask", 0),
        ("WantedBy", 201),
        ("Wants", 0),
        ("WatchdogSec", 0),
    ];

    #[test]
    fn the_oldest_systemd_knows_every_directive() {
        let text = |unit: &str| fs::read_to_string(root().join("packaging/systemd").join(unit)).expect("the unit");
        let units = text(UNIT) + &text(GUARD) + &text(GOING_DOWN) + &text("old-libseccomp.conf");
        let settings = units.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        for (directive, _) in settings {
            let since = SINCE.iter().find(|(name, _)| *name == directive).map(|(_, since)| *since);
            assert!(since.is_some_and(|since| since <= OLDEST), "{directive}: known since {since:?}");
        }
    }

    /// Where libseccomp is old, nothing is refused that the unit allows, and every set is of which the unit allows nothing.
    #[test]
    fn an_old_libseccomp_changes_only_what_it_has_no_name_for() {
        let text = run(Command::new("systemd-analyze").args(["--no-pager", "syscall-filter"])).expect("sets of calls");
        let mut sets = BTreeMap::<&str, Vec<&str>>::new();
        let mut set = "";
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            match line.strip_prefix(' ') {
                Some(member) => sets.entry(set).or_default().push(member.trim()),
                None => set = line.trim(),
            }
        }
        let filter = |name: &str| {
            let unit = fs::read_to_string(root().join("packaging/systemd").join(name)).expect("a unit");
            let lines = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
            let words = lines.flat_map(|line| line.trim_start_matches('~').split(' ').map(str::to_owned));
            words.flat_map(|word| members(&sets, &word)).collect::<BTreeSet<_>>()
        };
        let (allowed, refused) = (filter(UNIT), filter("old-libseccomp.conf"));
        assert_eq!(allowed.intersection(&refused).collect::<Vec<_>>(), Vec::<&String>::new());
        for name in sets.keys().filter(|name| !["", "@known", "@sandbox"].contains(name)) {
            let members = members(&sets, name);
            assert!(!members.is_disjoint(&allowed) || members.is_subset(&refused), "{name}: {members:?}");
        }
    }

    /// The calls of a set, with those of the sets in it.
    fn members(sets: &BTreeMap<&str, Vec<&str>>, name: &str) -> BTreeSet<String> {
        let inside = sets.get(name).into_iter().flatten().flat_map(|member| members(sets, member));
        if name.starts_with('@') { inside.collect() } else { BTreeSet::from([name.to_owned()]) }
    }

    /// `journalctl -x` has something to say of every kind of line, and knows no other.
    #[test]
    fn every_kind_of_line_in_the_journal_is_explained() {
        use dsvm_agent::daemon::changes::IDS;
        let catalog = fs::read_to_string(root().join("packaging/systemd/dsvm-agent.catalog")).expect("the catalog");
        let mut explained: Vec<_> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let mut written = IDS.to_vec();
        explained.sort_unstable();
        written.sort_unstable();
        assert_eq!(explained, written);
        run(Command::new("journalctl").args(["--update-catalog", "--root"]).arg(scratch(&catalog))).expect("a catalog");
    }

    /// A tree with nothing in it but the catalog.
    fn scratch(catalog: &str) -> PathBuf {
        let tree = target().join("catalog");
        let place = tree.join("usr/lib/systemd/catalog");
        fs::create_dir_all(&place).expect("a directory");
        fs::create_dir_all(tree.join("var/lib/systemd/catalog")).expect("a directory");
        fs::write(place.join("dsvm-agent.catalog"), catalog).expect("a file");
        tree
    }
}

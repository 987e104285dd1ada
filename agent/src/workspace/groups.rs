//! Everybody's groups at once. Asked for one account after the other, the C library reads the whole of group(5) for each:
//! with ten thousand accounts that takes longer than anybody waits.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Where other services than the machine's files keep who is a member of what, for nss-systemd(8): any such file or
/// service that is not systemd's own.
const MEMBERSHIPS: [&str; 4] = ["/etc/userdb", "/run/userdb", "/run/host/userdb", "/usr/lib/userdb"];
/// Where services of names are found.
const SERVICES: &str = "/run/systemd/userdb";

/// The groups of each member, by group(5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    /// By log-in name: numbers and names.
    members: HashMap<String, Vec<(u32, String)>>,
    /// The name of each number, the first that there is.
    names: HashMap<u32, String>,
}

impl Groups {
    /// Those of this machine; nothing where something else than its file may know of more: then each account is asked for.
    pub fn of_this_machine() -> Option<Self> {
        let text = |path: &str| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).ok();
        let names = |d: &str| std::fs::read_dir(d).into_iter().flatten().flatten().map(|e| e.file_name());
        let foreign = |name: &std::ffi::OsStr| !name.as_encoded_bytes().starts_with(b"io.systemd.");
        let member = |name: &std::ffi::OsStr| Path::new(name).extension().is_some_and(|e| e == "membership");
        let more = names(SERVICES).any(|name| foreign(&name))
            || MEMBERSHIPS.iter().any(|directory| names(directory).any(|name| member(&name)));
        only_files(&text("/etc/nsswitch.conf")?, !more).then(|| text("/etc/group").map(|text| parse(&text)))?
    }

    /// Numbers and names of an account's groups, its own among them.
    pub fn of(&self, name: &str, own: u32) -> (Vec<u32>, BTreeMap<String, u32>) {
        let others = self.members.get(name).map(Vec::as_slice).unwrap_or_default();
        let first = self.names.get(&own).map(|name| (own, name.clone()));
        let all = first.into_iter().chain(others.iter().filter(|(gid, _)| *gid != own).cloned());
        all.map(|(gid, name)| (gid, (name, gid))).unzip()
    }
}

/// Whether the files alone say who is in what group (nsswitch.conf(5)). `systemd` adds nothing where it has nothing.
pub fn only_files(nsswitch: &str, systemd_is_empty: bool) -> bool {
    let line = |database: &str| {
        let mut lines = nsswitch.lines().map(|l| l.split('#').next().unwrap_or_default());
        lines.find_map(|l| l.trim().strip_prefix(database)?.trim_start().strip_prefix(':').map(str::to_owned))
    };
    let Some(sources) = line("initgroups").or_else(|| line("group")) else { return false };
    let known = |word: &str| word == "files" || (word == "systemd" && systemd_is_empty);
    // What to do after each source stands in brackets.
    let mut words = sources.split_whitespace().filter(|word| !word.starts_with('[') && !word.ends_with(']')).peekable();
    words.peek().is_some() && words.all(known)
}

/// The groups in the text of group(5). A line that is none is left out.
pub fn parse(text: &str) -> Groups {
    let mut out = Groups::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields[..] else { continue };
        let Ok(gid) = gid.parse::<u32>() else { continue };
        for member in members.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            let all = out.members.entry(member.to_owned()).or_default();
            if !all.iter().any(|(other, _)| *other == gid) {
                all.push((gid, name.to_owned()));
            }
        }
        out.names.entry(gid).or_insert_with(|| name.to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_everybodys_groups() {
        let all = parse(
            "root:x:0:\nada:x:1001:\nlab:x:2000:mallory,ada\nodd:x:x:ada\nshort:x\nlab2:x:2000:ada\nada2:x:1001:ada\n",
        );
        let named = |all: &[(&str, u32)]| all.iter().map(|(n, gid)| ((*n).to_owned(), *gid)).collect();
        assert_eq!(all.of("ada", 1001), (vec![1001, 2000], named(&[("ada", 1001), ("lab", 2000)])));
        assert_eq!(all.of("mallory", 7), (vec![2000], named(&[("lab", 2000)])));
        assert_eq!(all.of("nobody-here", 0), (vec![0], named(&[("root", 0)])));
    }

    #[test]
    fn other_sources_are_asked_for_each() {
        for (text, empty, expected) in [
            ("passwd: files ldap\ngroup: files\n", true, true),
            ("group:\tfiles systemd # both\n", true, true),
            ("group: files [SUCCESS=merge] systemd\n", true, true),
            ("group: files [SUCCESS=merge] systemd\n", false, false),
            ("group: files sss\n", true, false),
            ("group: files\ninitgroups: files ldap\n", true, false),
            ("group: ldap\ninitgroups: files\n", true, true),
            ("group: compat\n", true, false),
            ("group:\n", true, false),
            ("passwd: files\n", true, false),
            ("#group: files\n", true, false),
        ] {
            assert_eq!(only_files(text, empty), expected, "{text} {empty}");
        }
    }

    #[test]
    fn it_is_what_the_c_library_says() {
        let Some(all) = Groups::of_this_machine() else { return };
        for name in ["root", "daemon", "nobody"] {
            let Some(user) = users::get_user_by_name(name) else { continue };
            let mut theirs: Vec<u32> = user.groups().unwrap_or_default().iter().map(users::Group::gid).collect();
            let (mut ours, _) = all.of(name, user.primary_group_id());
            theirs.sort_unstable();
            ours.sort_unstable();
            assert_eq!(ours, theirs, "{name}");
        }
    }
}

//! People: their names, their groups, their numbers, what was rescued for them.

use crate::{assert_round, parts, text};
use dsvm_agent::workspace::{groups, identities, names, observe, rescue};

/// Two log-in names: each has a directory of its own, and the directory says whose it is.
pub(crate) fn names(data: &[u8]) {
    let [one, other, template] = parts::<3>(data).map(text);
    let directories = [&one, &other].map(|name| names::escape(name));
    for (name, directory) in [&one, &other].into_iter().zip(&directories) {
        if let Some(directory) = directory {
            assert_eq!(names::unescape(directory).as_deref(), Some(&**name), "it is reversible");
            assert!((1..=names::LONGEST).contains(&directory.len()) && directory.is_ascii());
            let forbidden = |b: u8| b.is_ascii_control() || b"\"\\/:|<>*?".contains(&b);
            assert!(!directory.bytes().any(forbidden), "{directory}");
            assert!(!directory.ends_with(['.', ' ']) && !directory.starts_with(' '), "{directory:?}");
            assert_eq!(names::whose("notebooks/{user}", &format!("notebooks/{directory}")).as_deref(), Some(&**name));
        }
        if let Some(of) = names::unescape(name) {
            assert_eq!(names::escape(&of).as_deref(), Some(&**name), "a directory is one person's");
        }
        names::whose(&template, name);
        let _ = rescue::plain_name(name);
        rescue::node(name);
    }
    if let [Some(a), Some(b)] = &directories {
        assert!(one == other || !a.eq_ignore_ascii_case(b), "{one:?} and {other:?} would share {a}");
    }
}

/// The files that say who is who: group(5), nsswitch.conf(5), login.defs(5).
pub(crate) fn groups(data: &[u8]) {
    let [group, switch, defs] = parts::<3>(data).map(text);
    let all = groups::parse(&group);
    let members = group.split([':', ',', '\n']).map(str::trim).filter(|name| !name.is_empty());
    for name in members.take(50) {
        let (ids, named) = all.of(name, 1000);
        assert!(named.len() <= ids.len() && named.values().all(|id| ids.contains(id)));
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "no group twice: {ids:?}");
    }
    if groups::only_files(&switch, false) {
        assert!(switch.contains("files"));
    }
    observe::uid_range(&defs);
    observe::slice_uid(&defs);
}

/// The names in the ledger of identities: where an entry comes from.
pub(crate) fn ledger(data: &[u8]) {
    let [record, node] = parts::<2>(data).map(text);
    if let Some(recorded) = identities::read_record(&record) {
        let written = identities::record_name(&recorded.since, &recorded.node);
        assert_eq!(identities::read_record(&written).as_ref(), Some(&recorded), "a record is read as it was written");
        assert!(recorded.since.len() == 20 && recorded.since.is_ascii());
    }
    let written = identities::record_name("2026-03-04T10:00:00Z", &node);
    let read = identities::read_record(&written);
    assert!(read.is_some_and(|r| r.since == "2026-03-04T10:00:00Z"), "whatever a VM is called its record is one");
    assert!(!written.contains('/') && written.len() <= names::LONGEST);
}

/// The note that lies beside what was rescued, where its user may write.
pub(crate) fn rescued(data: &[u8]) {
    if let Some(last) = rescue::last::parse(data) {
        assert_round(&last);
        assert!(last.node.chars().count() <= 64);
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(last.at);
        assert!(!dsvm_agent::sys::clock::rfc3339(at).is_empty());
    }
}

//! What the kernel says of processes, with the words of whoever runs them in between.

use crate::{parts, text};
use dsvm_agent::idle::model::Seen;
use dsvm_agent::idle::observe::{containers, cpu, due, inhibitors, io, maintenance, process, programs, unsaved};
use dsvm_agent::sys::{host, keyring, kmsg, sockets};
use dsvm_agent::worker::jupyter;
use dsvm_agent::workspace::observe;

/// `stat`, `status` and a link of a process's directory.
pub(crate) fn process(data: &[u8]) {
    let [stat, status, link] = parts::<3>(data);
    if let Some(process) = process::parse(stat, 1001) {
        assert_eq!(observe::parent_in(stat), Some(process.parent), "both find the same fields");
        let times = [process.own, process.children, process.resident];
        assert!(times.iter().all(|t| t.is_finite() && *t >= 0.0), "{process:?}");
    }
    let status = text(status);
    if let Some(person) = jupyter::person(&status, 1001) {
        assert!(person.uid() == 1001 && person.gid() != 0 && !person.groups().contains(&0), "root's is nobody's");
    }
    jupyter::is_helper(&status);
    assert!(programs::socket(&text(link)).is_none_or(|inode| text(link).contains(&inode.to_string())));
}

/// Single lines of all the other files, each to each of their readers.
pub(crate) fn files(data: &[u8]) {
    let [first, second] = parts::<2>(data);
    let file = text(first);
    let used = [cpu::parse_usage(&file), cpu::version1::parse_usage(&file)];
    assert!(used.into_iter().flatten().all(|seconds| seconds.is_finite() && seconds >= 0.0));
    let io = io::parse(&file).map(|moved| moved.calls + moved.disks);
    let bytes = [Some(containers::moved(&file)), io, unsaved::parse(&file)];
    assert!(bytes.into_iter().flatten().all(|bytes| bytes.is_finite() && bytes >= 0.0));
    assert!(containers::inside(&file).is_none_or(cpu::is_container));
    assert!(process::session(&file).is_none_or(|uid| file.contains(&uid.to_string())));
    cpu::is_container(&file);
    assert!(!file.lines().filter_map(maintenance::parse).any(|lock| lock.inode == 131) || file.contains("131"));
    assert!(due::lines(&file) as usize <= file.lines().count());
    keyring::resolver(&file);
    kmsg::telling(&file);
    let name = host::chosen(&file, "kernel");
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{name:?}");
    match inhibitors::parse(second, &|uid| uid >= 1000) {
        Seen::Levels(levels) => {
            let shown = |what: &Option<String>| what.as_ref().is_none_or(|w| w.chars().count() <= 1000);
            assert!(levels.iter().all(|level| shown(&level.what)));
        }
        Seen::Unreadable(why) => assert!(why.len() < 100),
        other => panic!("{other:?}"),
    }
}

/// A datagram of sock_diag(7).
pub(crate) fn sockets(data: &[u8]) {
    let messages = sockets::messages(data);
    assert!(messages.len() <= data.len() / 16 + 1);
}

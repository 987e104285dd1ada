//! The key is nowhere but where it is used: not in the memory of who waits for a server, and in no core file.

use std::time::Duration;

use vm::server::KEY;
use vm::{Guest, Scenario, Service, together, wait_for};

const SOON: Duration = Duration::from_secs(120);

/// Says which of some processes have a text anywhere in memory that they could write to: `remembers TEXT PID…`.
const REMEMBERS: &str = r#"
import re, sys
text = sys.argv[1].encode()
for pid in sys.argv[2:]:
    try:
        maps, memory = open(f"/proc/{pid}/maps").read(), open(f"/proc/{pid}/mem", "rb", 0)
    except OSError:
        continue
    for line in maps.splitlines():
        start, end, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
        if "w" not in rights or "[v" in line:
            continue
        try:
            memory.seek(int(start, 16))
            if text in memory.read(int(end, 16) - int(start, 16)):
                print(pid)
                break
        except OSError:
            pass
"#;

/// The processes of the agent, main ones and helpers.
const OURS: &str = "for e in /proc/[0-9]*/exe; do case $(readlink $e) in /usr/bin/dsvm-agent*) \
                    p=${e#/proc/}; echo ${p%/exe};; esac; done 2>/dev/null | xargs";

/// The helper that is in the call that makes a mount (fsconfig(2), FSCONFIG_CMD_CREATE), where the server is waited for.
const WAITS: &str = "for p in $(pgrep -x dsvm:mount); do \
                     awk -v p=$p '$1 == 431 && $3 == \"0x6\" { print p }' /proc/$p/syscall; done 2>/dev/null | head -n 1";

/// Which of the agent's processes have `text` in memory.
fn remember(guest: &Guest, text: &str) -> String {
    guest.sh(&format!("python3 /root/remembers.py '{text}' $({OURS})"))
}

#[test]
#[ignore = "long: all memory is searched; run it when keys, helpers or the unit change"]
fn whoever_waits_for_a_silent_server_has_no_key_and_nobody_leaves_a_core() {
    let scenario = Scenario::new("whoever_waits_for_a_silent_server_has_no_key_and_nobody_leaves_a_core");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    guest.put(REMEMBERS, "/root/remembers.py", 0o644);
    // Its port takes connections, and nobody is behind it.
    server.sh("pkill -STOP smbd");
    guest.configure_smb();
    let mut waits = String::new();
    wait_for("a helper waits for the server for as long as its memory is read", SOON, || {
        waits = guest.ssh(WAITS).stdout.trim().to_owned();
        let remembered = if waits.is_empty() { String::new() } else { remember(&guest, &KEY[..40]) };
        let there = !waits.is_empty() && guest.ssh(WAITS).stdout.trim() == waits;
        assert_eq!(remembered, "", "the key has been handed over");
        there
    });
    assert!(remember(&guest, "dsvm-agent").lines().count() >= 2, "what is there is found");

    // A core goes where an administrator sends it, however large the agent may make one.
    guest.put("#!/bin/sh\ncat >/root/cores/$1\n", "/root/keep-core", 0o755);
    guest.sh("mkdir /root/cores; echo '|/root/keep-core %p' >/proc/sys/kernel/core_pattern");
    guest.put("[Service]\nLimitCORE=infinity\n", "/etc/systemd/system/dsvm-agent.service.d/core.conf", 0o644);
    guest.sh("systemctl daemon-reload; systemctl restart --no-block dsvm-agent");
    let mut killed = 0;
    for which in [WAITS, "pgrep -f '^dsvm-agent brain' | head -n 1", "systemctl show -P MainPID dsvm-agent"] {
        let mut pid = String::new();
        wait_for("it is there", SOON, || {
            pid = guest.ssh(which).stdout.trim().to_owned();
            !pid.is_empty() && pid != "0" && pid != waits
        });
        guest.sh(&format!("prlimit --core=unlimited --pid {pid}; kill -ABRT {pid}"));
        wait_for("it has ended", SOON, || !guest.ssh(&format!("test -d /proc/{pid}")).success());
        killed += 1;
    }
    assert_eq!(killed, 3);
    guest.sh("sh -c 'ulimit -c unlimited; exec sleep 1000' & sleep 1; kill -ABRT $!; wait; true");
    wait_for("somebody else's core is there", SOON, || !guest.sh("find /root/cores -size +0").is_empty());
    assert_eq!(guest.sh("ls /root/cores | wc -l"), "1", "the agent's are not");

    // All heals, and the key is in nobody's memory once everything is mounted.
    server.sh("pkill -CONT smbd");
    guest.wait_ready();
    guest.log_in("alice", "echo 1 >~/notebooks/remote/a").ok();
    assert_eq!(remember(&guest, &KEY[..40]), "");
}

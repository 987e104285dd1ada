//! The main job over SMB, against a server that takes nothing but SMB 3.1.1 with encryption.

use std::time::Duration;

use vm::server::{ACCOUNT, HOST, KEY, SHARE};
use vm::{Guest, Scenario, Service, wait_for};

const SOON: Duration = Duration::from_secs(60);

/// Writes the configuration and the key as an administrator would.
fn configure(guest: &Guest) {
    guest.put(format!("username={ACCOUNT}\npassword={KEY}\n"), "/etc/dsvm-agent/share.key", 0o600);
    let config = format!(
        "[share]\nsource = \"//{HOST}/{SHARE}\"\nmount_point = \"/datamnt/dsvmshare\"\n\n[share.credentials]\nfile = \"/etc/dsvm-agent/share.key\"\n"
    );
    guest.put(config, "/etc/dsvm-agent/agent.toml", 0o644);
}

fn ready(guest: &Guest) {
    println!("{}", guest.ssh_within("dsvm-agent wait --timeout 60s; dsvm-agent status", Duration::from_secs(90)).stdout);
    guest.sh("dsvm-agent wait --timeout 1s");
}

#[test]
fn a_notebook_is_saved_and_nobody_else_reads_it() {
    let scenario = Scenario::new("a_notebook_is_saved_and_nobody_else_reads_it");
    let (server, guest) = vm::together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    assert!(guest.ssh("dsvm-agent status").stdout.contains("not configured"));
    configure(&guest);
    ready(&guest);
    assert_eq!(server.list("notebooks"), ["alice", "bob", "carol", "debian"]);
    assert_eq!(guest.as_user("alice", "readlink ~/notebooks/remote").ok(), "/datamnt/dsvmshare/notebooks/alice");

    // Whoever logs in finds it mounted: the first thing that the session does is save.
    guest.log_in("alice", "cd ~/notebooks/remote && echo '{}' >a.ipynb && ln -s a.ipynb link && git init -q repo").ok();
    guest.log_in("alice", "cd ~/notebooks/remote && sqlite3 db 'create table t(x); insert into t values(1)'").ok();
    assert_eq!(server.read("notebooks/alice/a.ipynb"), b"{}\n");
    assert_eq!(guest.as_user("alice", "cat ~/notebooks/remote/link; sqlite3 ~/notebooks/remote/db 'select x from t'").ok(), "{}\n1");
    println!("{}", guest.sh("grep cifs /proc/mounts; ps -eo pid,user,rss,args | grep dsvm; systemctl status dsvm-agent | head -20"));
    println!("{}", guest.ssh("dsvm-agent status").stdout);

    for path in ["/datamnt/dsvmshare/notebooks/alice", "/datamnt/dsvmshare/notebooks/alice/a.ipynb", "/run/dsvm-agent/share/root"] {
        assert!(guest.as_user("bob", &format!("cat {path}; ls {path}")).fails().contains("Permission denied"), "{path}");
    }
    assert!(guest.ssh("touch /datamnt/dsvmshare/x /datamnt/dsvmshare/notebooks/x").fails().contains("Read-only"));
    nowhere_but_in_its_file(&guest, KEY);
}

/// Looks for a secret wherever an administrator would find it by accident.
fn nowhere_but_in_its_file(guest: &Guest, secret: &str) {
    let half = &secret[..40];
    let places = [
        format!("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -F {half} | grep -vF 'grep'"),
        format!("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -F {half}"),
        format!("journalctl --no-pager | grep -F {half} | grep -v ssh"),
        format!("dmesg | grep -F {half}"),
        format!("cat /proc/mounts /proc/self/mountinfo /proc/fs/cifs/* 2>/dev/null | grep -aF {half}"),
        format!("grep -rlaF {half} /run /var /etc /root /home /tmp | grep -vx /etc/dsvm-agent/share.key"),
    ];
    for place in places {
        assert_eq!(guest.ssh(&place).stdout, "", "{place}");
    }
}

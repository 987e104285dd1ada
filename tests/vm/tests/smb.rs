//! The main job over SMB, against a server that takes nothing but SMB 3.1.1 with encryption.

use std::time::Duration;

use vm::server::KEY;
use vm::{Guest, Scenario, Service, together, wait_for};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_notebook_is_saved_and_nobody_else_reads_it() {
    let scenario = Scenario::new("a_notebook_is_saved_and_nobody_else_reads_it");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    assert!(guest.ssh("dsvm-agent status").stdout.contains("not configured"));
    // Whoever wants it chooses it.
    let guard =
        guest.ssh("systemctl is-enabled dsvm-agent-metadata-guard; systemctl is-active dsvm-agent-metadata-guard");
    assert_eq!(guard.stdout, "disabled\ninactive\n");
    guest.configure_smb();
    guest.wait_ready();
    assert_eq!(server.list("notebooks"), ["alice", "bob", "carol", "debian"]);
    assert_eq!(guest.as_user("alice", "readlink ~/notebooks/remote").ok(), "/datamnt/dsvmshare/notebooks/alice");

    // Whoever logs in finds it mounted: the first thing that the session does is save.
    guest.log_in("alice", "cd ~/notebooks/remote && echo '{}' >a.ipynb && ln -s a.ipynb link && git init -q repo").ok();
    guest.log_in("alice", "cd ~/notebooks/remote && sqlite3 db 'create table t(x); insert into t values(1)'").ok();
    assert_eq!(server.read("notebooks/alice/a.ipynb"), b"{}\n");
    assert_eq!(
        guest.as_user("alice", "cat ~/notebooks/remote/link; sqlite3 ~/notebooks/remote/db 'select x from t'").ok(),
        "{}\n1"
    );
    assert!(guest.sh("systemctl status dsvm-agent").contains("Status: \"Ready: //contosods"));
    assert!(
        guest.as_user("alice", "dsvm-agent status").ok().contains("~/notebooks/remote is notebooks/alice on the share")
    );

    for path in [
        "/datamnt/dsvmshare/notebooks/alice",
        "/datamnt/dsvmshare/notebooks/alice/a.ipynb",
        "/run/dsvm-agent/share/root",
    ] {
        assert!(
            guest.as_user("bob", &format!("cat {path}; ls {path}")).fails().contains("Permission denied"),
            "{path}"
        );
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

#[test]
fn the_same_person_finds_the_notebook_on_another_vm_whatever_the_numbers() {
    let scenario = Scenario::new("the_same_person_finds_the_notebook_on_another_vm_whatever_the_numbers");
    let start = |name: &'static str| {
        let scenario = &scenario;
        move || scenario.agent_vm(name, Service::Running)
    };
    let (server, (first, second)) = together(|| scenario.file_server(), || together(start("vm1"), start("vm2")));
    // On the second VM alice has a number that is bob's on the first.
    second.sh("set -e; for u in bob:2002 alice:1002 bob:1001; do usermod -u ${u#*:} ${u%:*}; groupmod -g ${u#*:} ${u%:*}; done");
    second.sh("chown -R alice:alice /home/alice; chown -R bob:bob /home/bob");
    together(|| first.configure_smb(), || second.configure_smb());
    together(|| first.wait_ready(), || second.wait_ready());

    first.log_in("alice", "echo first >~/notebooks/remote/a.ipynb").ok();
    assert_eq!(
        second.log_in("alice", "cat ~/notebooks/remote/a.ipynb; stat -c %U ~/notebooks/remote/a.ipynb").ok(),
        "first\nalice"
    );
    second.log_in("bob", "cat /datamnt/dsvmshare/notebooks/alice/a.ipynb").fails();
    second.log_in("alice", "echo second >>~/notebooks/remote/a.ipynb").ok();
    wait_for("the first VM sees it", SOON, || {
        first.as_user("alice", "cat ~/notebooks/remote/a.ipynb").stdout == "first\nsecond\n"
    });

    // Each VM hears of the other, and of what changes there.
    second.sh("systemd-run --quiet --uid=alice sleep 600");
    wait_for("the first VM hears that alice is on the second", 2 * SOON, || {
        first.ssh("dsvm-agent pool").stdout.lines().any(|line| line.contains("vm2") && line.contains("alice"))
    });
    assert!(second.as_user("alice", "dsvm-agent pool").ok().contains("vm1"));
    assert_eq!(server.list(".dsvm-agent/nodes"), ["vm1.json", "vm2.json"]);
    let told = first.as_user("alice", "dsvm-agent status").stdout;
    assert!(told.contains("You are on vm2 too. Files are not locked from VM to VM"), "{told}");
}

#[test]
fn a_new_user_is_served_and_a_removed_one_loses_nothing() {
    let scenario = Scenario::new("a_new_user_is_served_and_a_removed_one_loses_nothing");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    guest.configure_smb();
    guest.wait_ready();
    guest.sh("useradd --create-home --shell /bin/bash dave");
    guest.sh("dsvm-agent wait --for user:dave --timeout 60s");
    guest.log_in("dave", "echo work >~/notebooks/remote/w").ok();
    wait_for("dave is gone", SOON, || guest.ssh("userdel --remove dave").success());
    wait_for("his notebooks are not mounted any more", SOON, || {
        !guest.sh("cat /proc/mounts").contains("notebooks/dave")
    });
    assert_eq!(server.read("notebooks/dave/w"), b"work\n");
    guest.wait_status("4 ready");
}

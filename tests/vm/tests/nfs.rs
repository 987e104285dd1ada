//! The main job over NFS 4.1: the same, with owners.

use std::time::Duration;

use vm::server::HOST;
use vm::{Guest, Scenario, Service, together, wait_for};

fn configure(guest: &Guest) {
    let config = format!("[share]\nsource = \"{HOST}:/contosods/dsvmshare\"\nmount_point = \"/datamnt/dsvmshare\"\n");
    guest.put(config, "/etc/dsvm-agent/agent.toml", 0o644);
}

#[test]
fn everybody_owns_their_directory_and_a_foreign_number_is_refused() {
    let scenario = Scenario::new("everybody_owns_their_directory_and_a_foreign_number_is_refused");
    let start = |name: &'static str| {
        let scenario = &scenario;
        move || scenario.agent_vm(name, Service::Running)
    };
    let (server, (first, second)) = together(|| scenario.file_server(), || together(start("vm1"), start("vm2")));
    server.start_nfs(false);
    configure(&first);
    first.wait_ready();
    first.log_in("alice", "cd ~/notebooks/remote && echo hello >a && chmod 644 a && ln -s a l && git init -q r").ok();
    assert_eq!(server.sh("stat -c '%u %a' /contosods/dsvmshare/notebooks/alice"), "1001 700");
    let mounted = first.sh("grep notebooks/alice /proc/mounts");
    for option in ["nosuid", "nodev", "vers=4.1", "hard", "noresvport", "nconnect=4", "acregmin=30"] {
        assert!(mounted.split([',', ' ']).any(|o| o == option), "{option}: {mounted}");
    }
    first.log_in("bob", "cat /datamnt/dsvmshare/notebooks/alice/a").fails();

    // On the second VM alice's number is bob's: neither may see the other's notebooks.
    second.sh("set -e; for u in bob:2002 alice:1002 bob:1001; do usermod -u ${u#*:} ${u%:*}; groupmod -g ${u#*:} ${u%:*}; done");
    second.sh("chown -R alice:alice /home/alice; chown -R bob:bob /home/bob");
    configure(&second);
    wait_for("alice is refused on the second", Duration::from_secs(90), || {
        second.ssh("dsvm-agent status").stdout.contains("belongs to uid 1001")
    });
    for user in ["alice", "bob"] {
        second.log_in(user, "cat /datamnt/dsvmshare/notebooks/*/a").fails();
    }
    assert_eq!(
        server.sh("stat -c %u /contosods/dsvmshare/notebooks/alice"),
        "1001",
        "nothing is given to anybody else"
    );
}

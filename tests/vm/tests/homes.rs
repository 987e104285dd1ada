//! Homes on a server that takes root for nobody, as they are where people have one home on all machines.

use std::time::Duration;

use vm::server::HOST;
use vm::{FileServer, Guest, Scenario, Service, together, wait_for};

const SOON: Duration = Duration::from_secs(120);

/// Exports a home of alice's to guests, closed to all but her.
fn export_homes(server: &FileServer) {
    server.sh("install -d -m 0755 /srv/homes && install -d -m 0700 -o 1001 -g 1001 /srv/homes/alice");
    server.put(
        "/srv/homes 10.77.0.0/24(rw,sync,no_subtree_check,insecure,root_squash)\n",
        "/etc/exports.d/homes.exports",
        0o644,
    );
    server.start_nfs(true);
}

/// The server of the homes is silent from now on, or speaks again. The share goes on.
fn homes_are_silent(server: &FileServer, silent: bool) {
    server.sh(if silent {
        "nft -f - <<'RULES'
            table inet homes {
                chain input { type filter hook input priority -10; tcp dport 2049 drop; }
                chain output { type filter hook output priority -10; tcp sport 2049 drop; }
            }
RULES"
    } else {
        "nft delete table inet homes"
    });
}

/// The agent's processes that wait for a disk or a server: the number of whom they run as.
fn waiting(guest: &Guest) -> Vec<String> {
    let all = guest.sh("ps -eo uid=,stat=,comm= | awk '$3 ~ /^dsvm-agent/ && $2 ~ /^D/ { print $1 }'");
    all.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "long: nearly three minutes; run it when homes, links or deadlines of helper processes change"]
fn a_home_that_is_closed_to_root_gets_its_link_and_one_that_is_silent_holds_up_nobody_else() {
    let scenario =
        Scenario::new("a_home_that_is_closed_to_root_gets_its_link_and_one_that_is_silent_holds_up_nobody_else");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    export_homes(&server);
    guest.sh(&format!("mkdir /nethome && mount -t nfs -o vers=4.1,hard {HOST}:/srv/homes /nethome"));
    guest.sh("usermod --home /nethome/alice alice");
    assert!(guest.ssh("ls /nethome/alice").fails().contains("Permission denied"), "root is nobody there");

    guest.configure_smb();
    guest.wait_ready();
    guest.log_in("alice", "echo first >~/notebooks/remote/a; echo here >~/b").ok();
    assert_eq!(server.read("notebooks/alice/a"), b"first\n");
    let made = "stat -c '%u %F' /srv/homes/alice/notebooks /srv/homes/alice/notebooks/remote";
    assert_eq!(server.sh(made), "1001 directory\n1001 symbolic link", "they are hers");
    assert_eq!(server.sh("find /srv/homes/alice ! -uid 1001"), "");

    homes_are_silent(&server, true);
    // Somebody looks at her home because of this, and the hook waits for nobody.
    let hook = "PAM_TYPE=account PAM_SERVICE=sshd PAM_USER=alice dsvm-agent login-hook";
    guest.sh("systemctl restart dsvm-agent");
    let asked = guest.ssh_within(hook, Duration::from_secs(30));
    assert!(asked.success(), "{asked}");
    guest.sh("dsvm-agent wait --for mounted --timeout 60s");
    guest.log_in("bob", "echo bob >~/notebooks/remote/b").ok();
    guest.sh("useradd --create-home --shell /bin/bash dave; dsvm-agent wait --for user:dave --timeout 60s");
    guest.log_in("dave", "echo dave >~/notebooks/remote/d").ok();
    wait_for("it is said whose home does not answer", SOON, || {
        guest.ssh_within(hook, Duration::from_secs(30));
        let status = guest.ssh_within("dsvm-agent status --json", Duration::from_secs(20)).stdout;
        status.contains("\"workspace.home-silent\"") && !status.contains("\"share.")
    });
    // Nothing but what is her own waits for her home.
    let seen = waiting(&guest);
    assert!(seen.iter().all(|uid| uid == "1001"), "{seen:?}");
    guest.log_in("bob", "cat ~/notebooks/remote/b").ok();

    homes_are_silent(&server, false);
    wait_for("all are well again", SOON, || {
        guest.ssh_within(hook, Duration::from_secs(30));
        guest.ssh("dsvm-agent wait --timeout 1s").success()
    });
    assert_eq!(guest.log_in("alice", "cat ~/b ~/notebooks/remote/a").ok(), "here\nfirst");
    // Her link is made again where she removed it.
    guest.log_in("alice", "rm ~/notebooks/remote").ok();
    guest.log_in("alice", "cat ~/notebooks/remote/a").ok();
    assert_eq!(server.sh("find /srv/homes/alice ! -uid 1001"), "");
}

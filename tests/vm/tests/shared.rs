//! Directories of the share for several people, over SMB, where files have no owners, and over NFS, where they have.

use std::time::Duration;

use vm::server::{ACCOUNT, HOST, KEY};
use vm::{Guest, Scenario, Service, together, wait_for};

const SOON: Duration = Duration::from_secs(60);

/// Alice and bob are in the lab, carol is not.
const SHARED: &str = "[[shared]]\ndirectory = \"projects\"\nlink = \"notebooks/projects\"\ngroup = \"lab\"\n\
                      [[shared]]\ndirectory = \"data\"\nlink = \"notebooks/data\"\nread_only = true\n";

fn configure(guest: &Guest, source: &str, credentials: &str) {
    guest.sh("set -e; groupadd --gid 3000 lab; for u in alice bob; do usermod --append --groups lab $u; done");
    let config =
        format!("[share]\nsource = \"{source}\"\nmount_point = \"/datamnt/dsvmshare\"\n{credentials}\n{SHARED}");
    guest.put(config, "/etc/dsvm-agent/agent.toml", 0o644);
}

/// Waits until everything is connected for whoever is logged in.
fn wait_mounted(guest: &Guest, places: &[&str]) {
    wait_for("the shared directories are mounted", SOON, || {
        let mounts = guest.sh("cat /proc/mounts");
        places.iter().all(|place| mounts.contains(&format!(" /datamnt/dsvmshare/{place} ")))
    });
}

/// What members can do, and others cannot, whatever the kind of the share. `trust` is what git wants to be told first.
fn work(guest: &Guest, trust: &str) {
    let git = format!("git config --global user.email x@y; git config --global user.name x; {trust}");
    for user in ["alice", "bob"] {
        guest.as_user(user, &git).ok();
    }
    let repo = "~/notebooks/projects/repo";
    guest.as_user("alice", &format!("set -e; umask 002; git init -q --shared=group {repo}; cd {repo}; echo 1 >a; git add a; git commit -qm one")).ok();
    let change = format!(
        "set -e; umask 002; cd {repo}; cat a; echo 2 >b; git add b; git commit -qm two; git log --oneline | wc -l"
    );
    assert_eq!(guest.as_user("bob", &change).ok(), "1\n2");
    wait_for("alice sees bob's commit", SOON, || {
        guest
            .as_user("alice", &format!("cd {repo}; git pull -q . HEAD; git status --short; git log --oneline | wc -l"))
            .stdout
            == "2\n"
    });
    for place in ["projects/alice", "projects/bob", "projects/alice/repo/a", "projects/carol"] {
        guest.log_in("carol", &format!("ls /datamnt/dsvmshare/{place}")).fails();
    }
    guest.as_user("carol", "ls -d ~/notebooks/projects").fails();
    for user in ["alice", "carol"] {
        assert_eq!(guest.log_in(user, "cat ~/notebooks/data/table.csv").ok(), "1,2");
        // Over SMB the files' modes refuse it before the mount does.
        let refused = guest.log_in(user, "echo x >>~/notebooks/data/table.csv").fails();
        assert!(["Read-only", "Permission denied"].iter().any(|why| refused.contains(why)), "{refused}");
    }
    let mounts = guest.sh("cat /proc/self/mountinfo");
    for line in mounts.lines().filter(|line| line.contains("/datamnt/dsvmshare/")) {
        assert!(line.contains("nosuid,nodev"), "{line}");
    }
}

#[test]
fn a_group_works_in_one_directory_on_smb_and_nobody_else_enters() {
    let scenario = Scenario::new("a_group_works_in_one_directory_on_smb_and_nobody_else_enters");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    server.sh("set -e; cd /srv/share; mkdir data; echo 1,2 >data/table.csv; chown -R contosods: data");
    guest.put(format!("username={ACCOUNT}\npassword={KEY}\n"), "/etc/dsvm-agent/share.key", 0o600);
    let credentials = "[share.credentials]\nfile = \"/etc/dsvm-agent/share.key\"";
    configure(&guest, &format!("//{HOST}/dsvmshare"), credentials);
    guest.wait_ready();
    for user in ["alice", "bob", "carol"] {
        guest.stay_logged_in(user);
    }
    wait_mounted(&guest, &["projects/alice", "projects/bob", "data/alice", "data/carol"]);
    // Everything is its user's own: nothing has to be told to git, and nothing that changes modes fails.
    guest.as_user("alice", "cd ~/notebooks/projects; echo x >x; chmod 600 x; cp -p x y; rm x y").ok();
    work(&guest, "true");
    assert_eq!(server.list("projects"), ["repo"]);
    // One copy of a data set in memory: everybody's view is one file system.
    let devices =
        guest.sh("awk '$5 ~ /dsvmshare.data.(alice|bob|carol)$/ { print $3 }' /proc/self/mountinfo | sort -u");
    assert_eq!(devices.lines().count(), 1, "{devices}");

    guest.sh("gpasswd --delete bob lab");
    assert!(guest.log_in("bob", "ls /datamnt/dsvmshare/projects/alice").fails().contains("Permission denied"));
    wait_for("bob's place is dropped", SOON, || {
        !guest.sh("cat /proc/mounts").contains(" /datamnt/dsvmshare/projects/bob ")
    });
    assert!(
        guest.ssh("dsvm-agent status").stdout.contains("~/notebooks/projects is projects on the share, for group lab")
    );
}

#[test]
#[ignore = "long: as on SMB; run it when directories of groups or NFS change"]
fn a_group_works_in_one_directory_on_nfs_and_nobody_else_enters() {
    let scenario = Scenario::new("a_group_works_in_one_directory_on_nfs_and_nobody_else_enters");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    server.start_nfs(false);
    server.sh("set -e; cd /contosods/dsvmshare; mkdir data; echo 1,2 >data/table.csv");
    configure(&guest, &format!("{HOST}:/contosods/dsvmshare"), "");
    guest.wait_ready();
    for user in ["alice", "bob", "carol"] {
        guest.stay_logged_in(user);
    }
    wait_mounted(&guest, &["projects/alice", "projects/bob", "data/alice", "data/carol"]);
    assert_eq!(server.sh("stat -c '%u %g %a' /contosods/dsvmshare/projects"), "0 3000 2770");
    work(&guest, "git config --global --add safe.directory '*'");
}

#[test]
#[ignore = "long: run it when isolation changes"]
fn a_share_that_is_open_shows_everything_to_everybody_and_is_closed_again() {
    let scenario = Scenario::new("a_share_that_is_open_shows_everything_to_everybody_and_is_closed_again");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    guest.configure_smb();
    guest.wait_ready();
    let closed = guest.sh("cat /etc/dsvm-agent/agent.toml");
    guest.put(format!("{closed}\n[share.smb]\nisolation = \"open\"\n"), "/etc/dsvm-agent/agent.toml", 0o644);
    assert!(guest.sh("dsvm-agent config check").contains("note: share.smb.isolation: with \"open\", every user"));
    let is_open = |guest: &Guest| guest.sh("cat /proc/mounts").contains(" /datamnt/dsvmshare cifs ");
    wait_for("the share is open", SOON, || is_open(&guest));
    guest.log_in("alice", "echo hers >~/notebooks/remote/a").ok();
    assert_eq!(server.read("notebooks/alice/a"), b"hers\n");
    assert_eq!(
        guest.log_in("bob", "cat /datamnt/dsvmshare/notebooks/alice/a; echo x >/datamnt/dsvmshare/x").ok(),
        "hers"
    );
    let mount = guest.sh("grep ' /datamnt/dsvmshare cifs ' /proc/mounts");
    for option in ["nosuid", "nodev", "uid=0", "gid=0", "file_mode=0666", "dir_mode=0777", "seal", "hard"] {
        assert!(mount.split([',', ' ']).any(|o| o == option), "{option}: {mount}");
    }
    guest.wait_status("open to everybody");
    assert!(guest.ssh("dsvm-agent doctor").stdout.contains("open to everybody"));

    // Every file there is root's, so that nobody else may say when theirs was changed. It is copied all the same.
    guest.sh("set -e; useradd --create-home --shell /bin/bash dave; mkdir -p /home/dave/notebooks/remote
        echo old >/home/dave/notebooks/remote/old.ipynb; chown -R dave: /home/dave/notebooks");
    println!("{}", guest.ssh("dsvm-agent workspace import dave").ok());
    assert_eq!(server.read("notebooks/dave/old.ipynb"), b"old\n");
    guest.as_user("alice", "echo late >~/notebooks/late.ipynb").ok();
    let number = |whose: &str| guest.sh(&format!("id -u {whose}"));
    let (alice, own) = (number("alice"), number("dsvm-agent"));
    let job = format!(
        r#"[{{"Rescue":{{"person":{{"uid":{alice},"gid":{alice},"groups":[{alice}],"home":"/home/alice"}},"directory":"notebooks/alice","into":"2026-03-04-vm1","limit":1000000}}}},[{own},{own}]]"#
    );
    guest.put(job, "/root/job", 0o600);
    println!("{}", guest.sh("dsvm-agent worker --config /etc/dsvm-agent/agent.toml </root/job"));
    assert_eq!(server.read("notebooks/alice/rescued/2026-03-04-vm1/notebooks/late.ipynb"), b"late\n");

    // Nothing is written beside the share while it is away.
    guest.stay_logged_in("alice");
    guest.put(&closed, "/etc/dsvm-agent/agent.toml", 0o644);
    wait_for("it is closed", 2 * SOON, || !is_open(&guest));
    guest.wait_ready();
    wait_for("alice has her own", SOON, || guest.sh("cat /proc/mounts").contains("/dsvmshare/notebooks/alice cifs"));
    assert!(guest.log_in("bob", "cat /datamnt/dsvmshare/notebooks/alice/a").fails().contains("Permission denied"));
    assert!(guest.ssh("touch /datamnt/dsvmshare/x").fails().contains("Read-only"));
}

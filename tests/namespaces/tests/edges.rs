//! What is easily forgotten: people who are no people, numbers with two names, mounts that are somebody else's.

use namespaces::{MOUNT_POINT, SHARE, SOON, Sandbox, wait_for};

const QUICK: &str = "[workspace]\nlinger = \"1s\"\n";

/// A machine on which ada has her notebooks.
fn machine(more: &str) -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    vm.user("ada");
    vm.configure(more);
    Some(vm)
}

#[test]
fn what_a_user_mounts_in_their_notebooks_is_theirs() {
    let Some(vm) = machine(QUICK) else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    let here = vm.spawn_as("ada", "read -r _");
    wait_for("ada's notebooks are mounted", SOON, || vm.is_mounted("notebooks/ada"));
    vm.as_user("ada", "mkdir ~/notebooks/remote/data").ok();
    // As fusermount does it for sshfs: root's own mount on a directory of hers.
    vm.sh(&format!("mount -t tmpfs hers {MOUNT_POINT}/notebooks/ada/data")).ok();
    agent.wait_looked();
    drop(here);
    // Past her time, nothing is even tried: a failed try would be a problem of hers, and one that is made again.
    agent.wait_looked();
    agent.wait_looked();
    assert!(vm.is_mounted("notebooks/ada/data") && vm.is_mounted("notebooks/ada"));
    agent.wait_no_problem();
    vm.sh(&format!("umount {MOUNT_POINT}/notebooks/ada/data")).ok();
    wait_for("ada's notebooks are unmounted", SOON, || !vm.is_mounted("notebooks/ada"));
}

#[test]
fn two_names_of_one_number_both_have_a_link_and_the_first_has_the_directory() {
    let Some(vm) = machine("") else { return };
    vm.sh("useradd --non-unique --uid $(id -u ada) --gid ada --create-home --shell /bin/bash lovelace").ok();
    let agent = vm.agent_start();
    for name in ["ada", "lovelace"] {
        let link = format!("/home/{name}/notebooks/remote");
        wait_for(&format!("{name} has a link"), SOON, || vm.exists(&link));
        let target = std::fs::read_link(vm.path(&link)).unwrap();
        assert_eq!(target, std::path::PathBuf::from(format!("{MOUNT_POINT}/notebooks/{name}")));
    }
    // Where directories belong to numbers, a number is one person's.
    agent.wait_problem("workspace.uid-differs:lovelace");
    assert_eq!(vm.list("/srv/share/notebooks"), ["ada"]);
    assert_eq!(agent.problems(), ["workspace.uid-differs:lovelace"]);
}

#[test]
fn a_directory_of_settings_that_comes_later_is_read() {
    let Some(vm) = machine("") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.sh("mkdir /etc/dsvm-agent/agent.d && sleep 1").ok();
    vm.write("/etc/dsvm-agent/agent.d/50-link.toml", "[workspace]\nlink = \"work\"\n");
    wait_for("the other link is there", SOON, || vm.exists("/home/ada/work"));
}

#[test]
fn a_directory_that_was_removed_on_the_share_comes_back() {
    let Some(vm) = machine("[workspace]\nmount = \"always\"\n") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_for("ada's notebooks are mounted", SOON, || vm.is_mounted("notebooks/ada"));
    vm.sh(&format!("rmdir {SHARE}/notebooks/ada")).ok();
    wait_for("ada can save again", SOON, || vm.as_user("ada", "echo 1 >~/notebooks/remote/x").success());
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/x")), "1\n");
    agent.wait_no_problem();

    // While she is in it, it is said; the new one comes when she leaves.
    let mut inside = vm.spawn_as("ada", "cd ~/notebooks/remote/ && echo >/tmp/inside && read -r _");
    wait_for("ada is inside", SOON, || vm.exists("/tmp/inside"));
    vm.sh(&format!("rm -r {SHARE}/notebooks/ada")).ok();
    agent.wait_problem("workspace.directory-removed:ada");
    inside.say("\n");
    assert_eq!(inside.finish(), 0);
    wait_for("ada can save again", SOON, || vm.as_user("ada", "echo 2 >~/notebooks/remote/x").success());
    agent.wait_no_problem();
}

//! Homes as they are: of odd modes, elsewhere than /home, not there yet, and of people who came while no agent ran.

use namespaces::{MOUNT_POINT, SHARE, SOON, Sandbox, wait_for};

/// Makes a user whose home is `home`, with `mode` and what `more` does in it as them.
fn user(vm: &Sandbox, name: &str, home: &str, mode: &str, more: &str) {
    vm.sh(&format!("mkdir -p $(dirname {home}); useradd --create-home --home-dir {home} --shell /bin/bash {name}"))
        .ok();
    vm.as_user(name, more).ok();
    vm.sh(&format!("chmod {mode} {home}")).ok();
}

fn is_linked(vm: &Sandbox, name: &str, home: &str) -> bool {
    let link = std::fs::read_link(vm.path(format!("{home}/notebooks/remote")));
    link.is_ok_and(|to| to == std::path::Path::new(&format!("{MOUNT_POINT}/notebooks/{name}")))
}

#[test]
fn modes_and_places_of_homes_are_their_owners_business() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    // As administrators and old tools leave them. Who may not write in their own home is a problem of theirs alone.
    let served = [
        ("closed", "/home/closed", "0700", "true"),
        ("open", "/home/open", "1777", "true"),
        ("group", "/home/group", "2775", "true"),
        ("setuid", "/home/setuid", "4755", "true"),
        ("search", "/home/search", "0300", "true"),
        ("far", "/srv/people/staff/f/far", "0755", "true"),
        ("deep", "/srv/homes/deep", "0711", "mkdir -m 0300 notebooks"),
        ("umask", "/home/umask", "0755", "umask 0777; mkdir -m 0700 notebooks"),
    ];
    let refused = [
        ("none", "/home/none", "0000", "true"),
        ("read", "/home/read", "0555", "true"),
        ("inner", "/home/inner", "0755", "mkdir -m 0500 notebooks"),
    ];
    for (name, home, mode, more) in served.iter().chain(&refused) {
        user(&vm, name, home, mode, more);
    }
    vm.configure("[workspace]\nmount = \"always\"\n");
    let modes = "stat -c '%n %a %U' /home/* /srv/people/staff/f/far /srv/homes/deep /home/inner/notebooks";
    let before = vm.sh(modes).ok().to_owned();
    let agent = vm.agent_start();
    for (name, home, ..) in &served {
        wait_for(&format!("{name} has a link"), SOON, || is_linked(&vm, name, home));
        wait_for(&format!("{name} saves"), SOON, || vm.as_user(name, "echo 1 >~/notebooks/remote/a").success());
        assert_eq!(vm.read(&format!("{SHARE}/notebooks/{name}/a")), "1\n");
    }
    for (name, home, ..) in &refused {
        agent.wait_problem(&format!("workspace.home-blocked:{name}"));
        assert!(!vm.exists(&format!("{home}/notebooks/remote")), "{name}");
    }
    wait_for("all others are ready", SOON, || agent.status()["counts"]["ready"] == served.len());
    assert_eq!(vm.sh(modes).ok(), before, "no mode and no owner is changed");

    // They put it right, and need nobody.
    vm.sh("chmod 0700 /home/none /home/read /home/inner/notebooks").ok();
    refused.iter().for_each(|(name, ..)| drop(vm.log_in(name)));
    agent.wait_no_problem();
    refused.iter().for_each(|(name, home, ..)| assert!(is_linked(&vm, name, home), "{name}"));
}

#[test]
fn whoever_was_made_removed_or_moved_while_no_agent_ran_is_as_if_one_had() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    ["ada", "grace", "edsger"].iter().for_each(|name| vm.user(name));
    vm.configure("[workspace]\nmount = \"always\"\n");
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_for("all is mounted", SOON, || {
        ["ada", "grace", "edsger"].iter().all(|n| vm.is_mounted(&format!("notebooks/{n}")))
    });
    vm.as_user("grace", "echo kept >~/notebooks/remote/kept").ok();
    assert_eq!(agent.stop(), 0);

    vm.user("barbara");
    vm.sh("userdel grace; mkdir /srv/people; usermod --move-home --home /srv/people/edsger edsger").ok();
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_for("barbara has her notebooks", SOON, || vm.is_mounted("notebooks/barbara"));
    assert!(is_linked(&vm, "barbara", "/home/barbara") && is_linked(&vm, "edsger", "/srv/people/edsger"));
    wait_for("who is gone has nothing mounted", SOON, || !vm.is_mounted("notebooks/grace"));
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/grace/kept")), "kept\n", "what they left stays");
    assert_eq!(agent.status()["counts"]["users"], 3);
}

#[test]
fn a_home_on_a_server_gets_its_link_when_the_server_answers() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    // As NFS with root squash has it: root may not even look into it.
    vm.sh("mkdir /run/homes; mount -t tmpfs -o mode=0755 homes /run/homes; mkdir -m 0700 /run/homes/ada; \
           chown ada: /run/homes/ada; usermod --home /srv/net/ada ada; mkdir -p /srv/net/ada")
        .ok();
    vm.configure("");
    // The automounter's directory is there, and nobody's yet: nothing of hers is made beside it.
    let agent = vm.agent_start();
    agent.wait_problem("workspace.home-blocked:ada");
    wait_for("grace has hers", SOON, || is_linked(&vm, "grace", "/home/grace"));
    assert_eq!(vm.list("/srv/net/ada"), [""; 0]);
    vm.sh("mount --bind /run/homes/ada /srv/net/ada").ok();
    vm.log_in("ada").ok();
    agent.wait_no_problem();
    assert!(is_linked(&vm, "ada", "/srv/net/ada"));
    assert_eq!(vm.sh("umount /srv/net/ada && ls -A /srv/net/ada").ok(), "", "the link is in her home alone");
}

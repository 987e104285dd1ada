//! The configuration, and what an administrator does to the machine meanwhile.

use namespaces::{MOUNT_POINT, SHARE, SOON, Sandbox, wait_for};

fn machine() -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    Some(vm)
}

#[test]
fn unconfigured_is_a_state_and_ends_when_the_file_is_written() {
    for prepare in ["true", "rmdir /etc/dsvm-agent"] {
        let Some(vm) = machine() else { return };
        vm.sh(prepare).ok();
        let agent = vm.agent_start();
        agent.wait_started();
        wait_for("it says so", SOON, || agent.status()["health"] == "unconfigured");
        assert_eq!(vm.sh("dsvm-agent status").code, 1);
        vm.log_in("ada").ok();
        assert!(!vm.exists("/home/ada/notebooks"));
        vm.configure("");
        agent.wait_ready();
        assert_eq!(vm.list(&format!("{SHARE}/notebooks")), ["ada", "grace"], "{prepare}");
    }
}

#[test]
fn a_mistake_leaves_in_force_what_was() {
    let Some(vm) = machine() else { return };
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.log_in("ada").ok();
    vm.configure("[workspace]\nlingers = \"1s\"\n");
    agent.wait_problem("config.mistake");
    assert!(vm.sh("dsvm-agent status").out.contains("workspace.lingers"), "{}", agent.describe());
    assert!(vm.is_mounted("notebooks/ada"));
    vm.as_user("ada", "echo x >~/notebooks/remote/x").ok();
    vm.configure("[workspace]\nexclude = [\"grace\"]\n");
    wait_for("it is in force", SOON, || agent.status()["counts"]["users"] == 1);
    agent.wait_no_problem();
    // A directory that is there only now.
    vm.write("/etc/dsvm-agent/agent.d/10-all.toml", "[workspace]\nexclude = []\n");
    wait_for("it is in force", SOON, || agent.status()["counts"]["users"] == 2);
}

#[test]
fn a_mistake_stops_nobody_from_being_served() {
    let Some(vm) = machine() else { return };
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.configure("[workspace]\nlingers = \"1s\"\n");
    agent.wait_problem("config.mistake");
    vm.log_in("grace").ok();
    wait_for("users are served all the same", SOON, || vm.is_mounted("notebooks/grace"));
    assert_eq!(agent.problems(), ["config.mistake"]);
}

#[test]
fn what_was_in_force_outlives_the_agent_but_not_its_own_mending() {
    let Some(vm) = machine() else { return };
    vm.configure("[workspace]\nexclude = [\"grace\"]\n");
    let agent = vm.agent_start();
    agent.wait_ready();
    let kept = "/run/dsvm-agent/last-good.json";
    wait_for("the configuration is kept", SOON, || vm.exists(kept));
    assert_eq!(vm.sh(&format!("stat -c '%U:%G %a' {kept}")).ok(), "root:dsvm-agent 640");
    vm.configure("[workspace]\nlingers = \"1s\"\n");
    agent.wait_problem("config.mistake");
    // The main process alone, then the whole agent.
    vm.sh(&format!("kill -KILL {}", agent.brain())).ok();
    agent.wait_problem("config.mistake");
    // A log-in while nobody listens is let through at once: another one comes.
    let logs_in = || vm.log_in("ada").success() && vm.is_mounted("notebooks/ada");
    wait_for("ada is served", SOON, logs_in);
    assert_eq!(agent.stop(), 0);
    vm.sh("umount /srv/data/notebooks/ada; rm -r /home/ada/notebooks").ok();
    let agent = vm.agent_start();
    agent.wait_problem("config.mistake");
    wait_for("ada is served", SOON, || logs_in() && vm.exists("/home/ada/notebooks/remote"));
    agent.wait_looked();
    assert_eq!(agent.status()["counts"]["users"], 1, "grace is left out, as before");
    assert_eq!(agent.problems(), ["config.mistake"]);
    assert!(vm.sh("dsvm-agent plan").ok().contains("config.mistake"));
    // Nothing but what is right is in force in the end.
    vm.configure("");
    wait_for("grace is served", SOON, || agent.status()["counts"]["ready"] == 2);
    agent.wait_no_problem();
    wait_for("the new one is kept", SOON, || !vm.read(kept).contains("exclude"));
    vm.sh("rm /etc/dsvm-agent/agent.toml").ok();
    wait_for("no configuration is no mistake", SOON, || agent.status()["health"] == "unconfigured");
}

#[test]
fn a_mount_point_that_hides_or_is_hidden_is_refused() {
    let cases: [(&str, &str, &str); 6] = [
        ("mkdir /srv/data; echo work >/srv/data/w", "share.mount-point-occupied", "rm /srv/data/w"),
        ("mkdir /srv/else; ln -s /srv/else /srv/data", "share.mount-point-no-directory", "rm /srv/data"),
        ("echo file >/srv/data", "share.mount-point-no-directory", "rm /srv/data"),
        ("chmod 0777 /srv", "share.mount-point", "chmod 0755 /srv"),
        ("chown ada /srv", "share.mount-point", "chown root /srv"),
        (
            "mkdir /srv/data; mount -t tmpfs other /srv/data; echo work >/srv/data/w",
            "share.mount-point-taken",
            "umount /srv/data",
        ),
    ];
    for (prepare, problem, mend) in cases {
        let Some(vm) = machine() else { return };
        vm.sh(prepare).ok();
        let before = namespaces::hash_tree(&[vm.path("/srv")]).expect("a tree");
        vm.configure("");
        let agent = vm.agent_start();
        agent.wait_problem(problem);
        agent.wait_started();
        assert!(!vm.mounts().contains("dsvm-agent-guard"), "{prepare}");
        assert_eq!(namespaces::hash_tree(&[vm.path("/srv")]).expect("a tree"), before, "{prepare}: nothing is touched");
        vm.sh(mend).ok();
        agent.signal("HUP");
        agent.wait_ready();
        agent.wait_no_problem();
    }
}

#[test]
fn a_directory_must_be_a_mount_unless_it_is_meant_to_be_local() {
    let Some(vm) = machine() else { return };
    vm.sh("mkdir /srv/local").ok();
    let text = |more| format!("[share]\nsource = \"/srv/local\"\nmount_point = \"{MOUNT_POINT}\"\n{more}");
    vm.config(&text(""));
    let agent = vm.agent_start();
    agent.wait_problem("share.source-missing");
    assert!(vm.list("/srv/local").is_empty());
    // Then the file system comes.
    vm.sh("mount -t tmpfs late /srv/local").ok();
    // Also what made people late is through when it says that the VM is ready.
    agent.wait_ready();
    assert_eq!(vm.list("/srv/local/notebooks"), ["ada", "grace"]);
    assert!(["ada", "grace"].iter().all(|name| vm.exists(&format!("/home/{name}/notebooks/remote"))));
    agent.stop();

    let Some(vm) = machine() else { return };
    vm.sh("mkdir /srv/local").ok();
    vm.config(&text("[share.directory]\nlocal = true\n"));
    assert!(vm.run_once().success());
    assert_eq!(vm.list("/srv/local/notebooks"), ["ada", "grace"]);
}

#[test]
fn who_is_served_is_chosen_by_name_and_group_and_a_change_of_either_counts() {
    let Some(vm) = machine() else { return };
    ["edsger", "barbara", "alan"].iter().for_each(|name| vm.user(name));
    vm.sh("groupadd ds; usermod -aG ds ada; usermod -aG ds barbara").ok();
    vm.configure("[workspace]\ninclude = [\"@ds\", \"grace\"]\nexclude = [\"barbara\"]\nmount = \"always\"\n");
    let agent = vm.agent_start();
    agent.wait_ready();
    assert_eq!(vm.list(&format!("{SHARE}/notebooks")), ["ada", "grace"]);
    wait_for("ada has hers", SOON, || vm.is_mounted("notebooks/ada"));
    vm.as_user("ada", "echo mine >~/notebooks/remote/a").ok();

    // Whoever is left out is let in, and finds nothing of the agent's at home.
    vm.log_in("barbara").ok();
    assert!(["barbara", "edsger", "alan"].iter().all(|name| !vm.exists(&format!("/home/{name}/notebooks"))));

    // The group changes: that is all that an administrator does.
    vm.change_user("usermod -aG ds edsger && gpasswd --delete ada ds");
    wait_for("edsger is served", SOON, || vm.exists("/home/edsger/notebooks/remote"));
    wait_for("ada is not any more", SOON, || !vm.is_mounted("notebooks/ada"));
    agent.wait_no_problem();
    assert_eq!(agent.status()["counts"]["users"], 2);
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/a")), "mine\n", "what she has stays");
}

#[test]
fn an_account_without_a_home_keeps_no_image_waiting() {
    let Some(vm) = machine() else { return };
    vm.sh("useradd --no-create-home --shell /bin/bash edsger").ok();
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    let counts = agent.status()["counts"].clone();
    assert_eq!((&counts["users"], &counts["ready"], &counts["waiting"]), (&3.into(), &2.into(), &0.into()));
    assert_eq!(vm.list(&format!("{SHARE}/notebooks")), ["ada", "edsger", "grace"]);
    // The home comes with the first log-in.
    vm.sh("mkdir /home/edsger; chown edsger: /home/edsger").ok();
    vm.log_in("edsger").ok();
    wait_for("he has his link", SOON, || vm.exists("/home/edsger/notebooks/remote"));
}

#[test]
fn what_an_administrator_unmounts_comes_back() {
    let Some(vm) = machine() else { return };
    vm.configure("[workspace]\nmount = \"always\"\n");
    let agent = vm.agent_start();
    agent.wait_ready();
    for path in ["/srv/data/notebooks/ada", "/run/dsvm-agent/share/root"] {
        vm.sh(&format!("umount {path}")).ok();
        wait_for(path, SOON, || vm.mounts().contains(&format!(" {path} ")));
    }
    // The agent may be at it just now.
    wait_for("everything is unmounted", SOON, || vm.sh("umount -R /srv/data").success());
    wait_for("all is there again", SOON, || vm.is_mounted("notebooks/ada") && vm.is_mounted("notebooks/grace"));
    agent.wait_no_problem();
    vm.as_user("ada", "echo x >~/notebooks/remote/x").ok();
    assert!(vm.exists(&format!("{SHARE}/notebooks/ada/x")));
}

#[test]
fn a_key_that_others_could_read_is_not_used() {
    let Some(vm) = machine() else { return };
    let key = "/etc/dsvm-agent/share.key";
    vm.config(&format!(
        "[share]\nsource = \"//127.0.0.1/share\"\nmount_point = \"{MOUNT_POINT}\"\n[share.credentials]\nfile = \"{key}\"\n"
    ));
    vm.sh("ip link set lo up; (while :; do echo | timeout 1 nc -l -p 445; done) >/dev/null 2>&1 &").ok();
    vm.write(key, "username=contosods\npassword=hunter2hunter2\n");
    let faults = [
        ("chmod 0644", "0600"),
        ("chown ada", "uid 1000"),
        ("echo nonsense >>", "key=value"),
        ("sed -i /password/d", "password"),
        ("truncate -s 1M", "larger"),
        ("rm", "No such file"),
    ];
    for (fault, says) in faults {
        vm.write(key, "username=contosods\npassword=hunter2hunter2\n");
        vm.sh(&format!("chmod 0600 {key}; {fault} {key}")).ok();
        let check = vm.sh("dsvm-agent config check");
        let all = format!("{}{}", check.out, check.err);
        assert!(check.code != 0 && all.contains(says), "{fault}: {all}");
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[test]
fn what_lies_at_an_earlier_mount_point_goes_when_nobody_uses_it() {
    let Some(vm) = machine() else { return };
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.log_in("ada").ok();
    vm.log_in("grace").ok();
    let mut ada = vm.spawn_as("ada", "exec 3>notebooks/remote/open; echo >/tmp/held; read -r l; echo $l >&3");
    wait_for("ada has a file open", SOON, || vm.exists("/tmp/held"));

    vm.config(&format!("[share]\nsource = \"{SHARE}\"\nmount_point = \"/srv/other\"\n"));
    agent.wait_problem("share.old-mount-point");
    wait_for("grace's is unmounted where it was", SOON, || !vm.is_mounted("notebooks/grace"));
    assert!(vm.is_mounted("notebooks/ada"), "never while a file is open");
    wait_for("the new place is there", SOON, || vm.exists("/srv/other/notebooks/ada"));
    assert!(vm.sh(&format!("touch {MOUNT_POINT}/x")).fails().contains("Read-only"), "the old guard still guards");

    ada.say("written\n");
    assert_eq!(ada.finish(), 0);
    wait_for("the file is written", SOON, || vm.exists(&format!("{SHARE}/notebooks/ada/open")));
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/open")), "written\n");
    wait_for("the old guard is gone", SOON, || !vm.sh("cat /proc/mounts").out.contains(MOUNT_POINT));
}

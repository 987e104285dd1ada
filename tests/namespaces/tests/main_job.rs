//! The main job: everybody has a directory and a link, sees it mounted while they are here, and nobody else's.

use namespaces::{MOUNT_POINT, SHARE, SOON, Sandbox, wait_for};

const TEXT: &str = "/srv/data/notebooks/ada/SHARE-NOT-MOUNTED.txt";

/// A machine with a share and ada, grace and edsger.
fn machine(more: &str) -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "grace", "edsger"].iter().for_each(|name| vm.user(name));
    vm.configure(more);
    Some(vm)
}

#[test]
fn everybody_gets_a_directory_and_a_link_and_nobody_sees_anothers() {
    let Some(vm) = machine("[workspace]\nmount = \"always\"\n") else { return };
    assert!(vm.run_once().success());
    assert_eq!(vm.list(&format!("{SHARE}/notebooks")), ["ada", "edsger", "grace"]);
    let plan = vm.sh("dsvm-agent plan");
    assert!(plan.ok().to_lowercase().contains("nothing to do"), "{}", plan.out);

    vm.as_user("ada", "echo mine >~/notebooks/remote/a.ipynb && chmod 0777 ~/notebooks/remote/a.ipynb").ok();
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/a.ipynb")), "mine\n");
    assert_eq!(vm.as_user("ada", "stat -L -c '%U %a' ~/notebooks/remote").ok(), "ada 700");
    for line in ["ls notebooks/ada", "cat notebooks/ada/a.ipynb", "stat notebooks/ada/a.ipynb", "touch notebooks/ada/b"]
    {
        let tried = vm.as_user("edsger", &format!("cd {MOUNT_POINT}; {line}"));
        assert!(tried.fails().contains("Permission denied"), "{line}: {}", tried.err);
    }
    assert!(vm.as_user("edsger", "ls /run/dsvm-agent/share/root").fails().contains("Permission denied"));
    for path in ["x", "notebooks/x", "notebooks/ada.new"] {
        vm.as_user("ada", &format!("touch {MOUNT_POINT}/{path}")).fails();
        assert!(vm.sh(&format!("touch {MOUNT_POINT}/{path}")).fails().contains("Read-only"), "root too: {path}");
    }
    assert_eq!(vm.list(MOUNT_POINT), [".share-not-mounted", "notebooks"]);
}

#[test]
fn a_text_says_that_the_share_is_not_mounted_only_while_it_is_not() {
    let Some(vm) = machine("") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    assert!(vm.read(TEXT).contains("not"), "{}", vm.read(TEXT));
    let write = vm.as_user("ada", "true; cd /; echo lost >>/srv/data/notebooks/ada/x");
    assert!(write.code != 0 || vm.exists(&format!("{SHARE}/notebooks/ada/x")), "written nowhere");
    vm.log_in("ada").ok();
    assert!(vm.is_mounted("notebooks/ada") && !vm.is_mounted("notebooks/grace"));
    assert!(!vm.exists(TEXT) && !vm.exists(&format!("{SHARE}/notebooks/ada/SHARE-NOT-MOUNTED.txt")));
    assert_eq!(vm.as_user("ada", "ls -A ~/notebooks/remote").ok(), "");
}

#[test]
fn what_is_mounted_when_its_user_comes_goes_when_nobody_uses_it() {
    let Some(vm) = machine("[workspace]\nlinger = \"2s\"\n") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    // A process is enough: somebody may have come by a way that no hook sees.
    let ada = vm.spawn_as("ada", "read -r _");
    wait_for("ada's notebooks are mounted", SOON, || vm.is_mounted("notebooks/ada"));
    assert_eq!(ada.finish(), 1, "it was only told the end");
    wait_for("they are dropped", SOON, || !vm.is_mounted("notebooks/ada"));
    assert!(vm.exists(TEXT));

    // The log-in is answered when they are there, not before.
    vm.log_in("ada").ok();
    assert!(vm.is_mounted("notebooks/ada"), "{}", agent.describe());
    vm.write("/srv/data/notebooks/ada/open", "1\n");
    // Root's process, so that nobody seems to be here; the file is open all the same.
    let mut holder =
        vm.spawn_as("root", "exec 3>>/srv/data/notebooks/ada/open; echo >/run/held; read -r l; echo $l >&3");
    wait_for("the file is open", SOON, || vm.exists("/run/held"));
    // Grace's are dropped meanwhile, so there was a round for it.
    vm.log_in("grace").ok();
    wait_for("grace's are dropped", SOON, || !vm.is_mounted("notebooks/grace"));
    agent.wait_looked();
    assert!(vm.is_mounted("notebooks/ada"), "never while a file is open");
    assert!(agent.problems().is_empty(), "in use is no problem: {:?}", agent.problems());
    holder.say("2\n");
    assert_eq!(holder.finish(), 0);
    wait_for("hers are dropped too", SOON, || !vm.is_mounted("notebooks/ada"));
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/open")), "1\n2\n");
}

#[test]
fn users_come_and_go() {
    let Some(vm) = machine("[workspace]\nlinger = \"2s\"\n") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.user("barbara");
    vm.sh("dsvm-agent wait --for user:barbara --timeout 60s").ok();
    vm.log_in("barbara").ok();
    vm.as_user("barbara", "echo work >~/notebooks/remote/w").ok();
    vm.change_user("userdel --remove barbara");
    wait_for("it is not mounted any more", SOON, || !vm.is_mounted("notebooks/barbara"));
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/barbara/w")), "work\n");
    wait_for("she is not counted any more", SOON, || agent.status()["counts"]["users"] == 3);
    agent.wait_no_problem();
}

#[test]
fn a_number_given_to_another_name_never_shows_the_old_directory() {
    for more in ["[workspace]\nmount = \"always\"\n", ""] {
        let Some(vm) = machine(more) else { return };
        let agent = vm.agent_start();
        agent.wait_ready();
        vm.log_in("ada").ok();
        vm.as_user("ada", "echo secret >~/notebooks/remote/s").ok();
        // Ada stays, with another number; mallory gets hers.
        let old = vm.sh("id -u ada").out;
        vm.change_user("usermod --uid 4000 ada");
        vm.sh("groupmod --gid 4000 ada").ok();
        vm.sh(&format!(
            "groupadd --gid {old} mallory; useradd --create-home --shell /bin/bash --uid {old} --gid {old} mallory"
        ))
        .ok();
        agent.wait_problem("workspace.uid-differs:ada");
        wait_for("ada's directory is not mounted any more", SOON, || !vm.is_mounted("notebooks/ada"));
        vm.log_in("mallory").ok();
        vm.log_in("ada").ok();
        vm.as_user("mallory", "cat /srv/data/notebooks/ada/s").fails();
        vm.as_user("mallory", "cat ~/notebooks/remote/s").fails();
        assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/s")), "secret\n");
        assert!(!vm.is_mounted("notebooks/ada"), "not even when she logs in");
    }
}

#[test]
fn whoever_is_no_ordinary_user_has_no_notebooks_even_when_they_log_in() {
    let Some(vm) = machine("") else { return };
    vm.sh("useradd --system --create-home --shell /bin/bash postgres").ok();
    let agent = vm.agent_start();
    agent.wait_ready();
    for name in ["root", "postgres", "dsvm-agent", "nobody", "daemon", "of-nowhere"] {
        vm.log_in(name).ok();
    }
    agent.wait_looked();
    assert_eq!(vm.list(&format!("{SHARE}/notebooks")), ["ada", "edsger", "grace"]);
    assert!(!vm.exists("/root/notebooks"));
    assert_eq!(agent.status()["counts"]["users"], 3);
    agent.wait_no_problem();
}

#[test]
fn a_mount_that_somebody_holds_is_not_pulled_at_without_end() {
    let Some(vm) = machine("[workspace]\nlinger = \"1s\"\n") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    // They are here until theirs is held: on a busy machine that takes longer than it stays without them.
    let here = ["ada", "grace"].map(|name| vm.spawn_as(name, "read -r _"));
    vm.log_in("ada").ok();
    vm.log_in("grace").ok();
    let holders = ["ada", "grace"]
        .map(|name| vm.spawn_as("root", &format!("cd /srv/data/notebooks/{name} && echo >/run/{name}; read -r _")));
    wait_for("both are held", SOON, || vm.exists("/run/ada") && vm.exists("/run/grace"));
    drop(here);
    // One whom the agent knows, and one whom it does not any more.
    vm.change_user("userdel --remove ada");
    wait_for("she is not known any more", SOON, || agent.status()["counts"]["users"] == 2);
    // Tries are new processes, and those are numbered.
    let last =
        || vm.sh("cat /proc/loadavg").out.rsplit(' ').next().and_then(|n| n.parse::<u32>().ok()).expect("a number");
    let before = last();
    vm.sh("sleep 3").ok();
    assert!(last() - before < 60, "{} processes in 3 s", last() - before);
    assert!(vm.is_mounted("notebooks/ada") && vm.is_mounted("notebooks/grace"));
    drop(holders);
    wait_for("both are dropped", SOON, || !vm.is_mounted("notebooks/ada") && !vm.is_mounted("notebooks/grace"));
}

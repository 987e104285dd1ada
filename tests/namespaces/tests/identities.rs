//! Who is who on a share that several VMs have: names and numbers that differ, and accounts that come, change and go.

use namespaces::{Agent, SHARE, SOON, Sandbox, wait_for};
use std::time::Instant;

const LEDGER: &str = "/srv/share/.dsvm-agent/identities";

/// Makes a user with this number.
fn user(vm: &Sandbox, name: &str, uid: u32) {
    let make = "groupadd --gid $2 \"$1\"; useradd --create-home --shell /bin/bash --uid $2 --gid $2 \"$1\"";
    vm.sh(&format!("set -e -- '{name}' {uid}; {make}")).ok();
}

fn machine(name: &str, users: &[(&str, u32)]) -> Option<Sandbox> {
    let vm = Sandbox::new(name)?;
    users.iter().for_each(|(name, uid)| user(&vm, name, *uid));
    vm.configure("[workspace]\nlinger = \"2s\"\n");
    Some(vm)
}

fn summary(agent: &Agent<'_>, code: &str) -> String {
    let status = agent.status();
    let all = status["problems"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|p| p["code"] == code).cloned().unwrap_or_default();
    format!("{} {}", found["summary"].as_str().unwrap_or_default(), found["remedy"].as_str().unwrap_or_default())
}

#[test]
fn twenty_vms_that_start_at_once_agree() {
    const VMS: u32 = 20;
    let Some(first) = Sandbox::new("pool0") else { return };
    let mut pool: Vec<Sandbox> = (1..VMS).map(|i| first.another(&format!("pool{i}"))).collect();
    pool.insert(0, first);
    for (vm, i) in pool.iter().zip(0..) {
        (1..=6).for_each(|n| user(vm, &format!("same{n}"), 2000 + n));
        // One name with another number on each, and one number with another name on each.
        user(vm, "odd", 3000 + i);
        user(vm, &format!("only{i}"), 4000);
        vm.configure("");
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        for vm in &pool {
            scope.spawn(|| {
                vm.run_once();
            });
        }
    });
    println!("{VMS} VMs with 8 users each, all at once: {:.1} s", start.elapsed().as_secs_f64());
    let status = |vm: &Sandbox| -> String {
        let text = vm.read("/run/dsvm-agent/status/full.json");
        assert!(text.contains("\"state\":\"mounted\""), "{text}");
        text
    };
    let refused = |subject: &str, vm: &Sandbox| {
        let json = status(vm);
        json.contains(&format!("\"code\":\"workspace.uid-differs\",\"subject\":\"{subject}\""))
    };
    let winners: Vec<usize> = (0..pool.len()).filter(|i| !refused("odd", &pool[*i])).collect();
    assert_eq!(winners.len(), 1, "one VM's number counts: {winners:?}");
    let owners: Vec<usize> = (0..pool.len()).filter(|i| !refused(&format!("only{i}"), &pool[*i])).collect();
    assert_eq!(owners.len(), 1, "one VM's name counts: {owners:?}");
    let vm = &pool[0];
    let mut names: Vec<String> = (1..=6).map(|n| format!("same{n}")).collect();
    names.extend(["odd".to_owned(), format!("only{}", owners[0])]);
    names.sort();
    assert_eq!(vm.list(&format!("{LEDGER}/names")), names, "who lost left nothing");
    assert_eq!(vm.list(&format!("{LEDGER}/names/odd")), [(3000 + winners[0]).to_string()]);
    assert_eq!(vm.list(&format!("{LEDGER}/numbers/4000")), [format!("only{}", owners[0])]);
    assert_eq!(vm.list(&format!("{LEDGER}/numbers")).len(), 8);
    assert_eq!(vm.list(&format!("{LEDGER}/new")), [""; 0]);
    let mut directories = vm.list(&format!("{SHARE}/notebooks"));
    directories.sort();
    assert_eq!(directories, names);
    for vm in &pool {
        (1..=6).for_each(|n| assert!(!refused(&format!("same{n}"), vm)));
    }
}

#[test]
fn whoever_has_another_number_or_anothers_is_refused_and_nobody_else() {
    let Some(first) = machine("pool1", &[("ada", 2001), ("grace", 2002)]) else { return };
    let second = first.another("pool2");
    [("ada", 2005), ("mallory", 2001), ("grace", 2002)].iter().for_each(|(n, u)| user(&second, n, *u));
    second.configure("");
    let agent = first.agent_start();
    agent.wait_ready();
    first.log_in("ada").ok();
    first.as_user("ada", "echo secret >~/notebooks/remote/s").ok();
    assert_eq!(first.sh(&format!("stat -c %a {SHARE}/.dsvm-agent")).ok(), "700");

    let other = second.agent_start();
    other.wait_problem("workspace.uid-differs:ada");
    other.wait_problem("workspace.uid-differs:mallory");
    let status = other.status();
    let text = |name: &str| {
        let all = status["problems"].as_array().cloned().unwrap_or_default();
        all.iter().find(|p| p["subject"] == name).map(ToString::to_string).unwrap_or_default()
    };
    assert!(text("ada").contains("ada is uid 2005 here") && text("ada").contains("belongs to uid 2001 (since 20"));
    assert!(text("ada").contains("pool1") && text("ada").contains("Do not chown"), "{}", text("ada"));
    assert!(text("mallory").contains("uid 2001 is ada's"), "{}", text("mallory"));
    for name in ["ada", "mallory", "grace"] {
        second.log_in(name).ok();
    }
    assert!(second.is_mounted("notebooks/grace"), "everybody else is served");
    for path in ["/srv/data/notebooks/ada/s", "~/notebooks/remote/s", "/home/ada/notebooks/remote/s"] {
        second.as_user("mallory", &format!("cat {path}")).fails();
        second.as_user("ada", &format!("cat {path}")).fails();
    }
    assert!(!second.exists(&format!("{SHARE}/notebooks/mallory")), "nothing is made for who is refused");
    assert_eq!(second.sh(&format!("stat -c %u {SHARE}/notebooks/ada")).ok(), "2001", "nothing is ever chowned");

    // The machine is put right: then all is well, without a restart.
    second.change_user("userdel mallory");
    second.change_user("usermod --uid 2001 ada");
    second.sh("chown -R 2001 /home/ada").ok();
    other.wait_no_problem();
    let logs_in = || second.log_in("ada").success() && second.is_mounted("notebooks/ada");
    wait_for("ada is served", SOON, logs_in);
    assert_eq!(second.as_user("ada", "cat ~/notebooks/remote/s").ok(), "secret");
}

#[test]
fn an_administrator_corrects_what_is_recorded_and_it_is_known_who_did() {
    let Some(vm) = machine("pool1", &[("ada", 2001)]) else { return };
    vm.sh("dsvm-agent workspace identity show").fails();
    assert!(vm.run_once().success());
    assert!(vm.as_user("ada", "dsvm-agent workspace identity show").fails().contains("sudo"));
    let shown = vm.sh("dsvm-agent workspace identity show");
    assert!(shown.ok().contains("ada") && shown.ok().contains("uid 2001") && shown.ok().contains("pool1"));
    // Nobody has had the directory; the number was a mistake of the image.
    vm.sh(&format!("rmdir {SHARE}/notebooks/ada; umount -R /srv/data/notebooks/ada"));
    vm.change_user("usermod --uid 2009 ada");
    vm.sh("chown -R 2009 /home/ada").ok();
    let agent = vm.agent_start();
    agent.wait_problem("workspace.uid-differs:ada");
    assert!(summary(&agent, "workspace.uid-differs").contains("recorded as uid 2001"));
    assert!(vm.sh("dsvm-agent workspace identity bind ada").fails().contains("--uid"));
    let bound = vm.sh("SUDO_UID=1000 SUDO_USER=anna dsvm-agent workspace identity bind ada --uid 2009");
    assert!(bound.ok().contains("uid 2009"), "{}", bound.out);
    agent.wait_no_problem();
    agent.wait_ready();
    assert_eq!(vm.sh(&format!("stat -c %u {SHARE}/notebooks/ada")).ok(), "2009");
    assert!(
        vm.sh("dsvm-agent workspace identity bind ada --uid 2001").fails().contains("2009"),
        "its owner is the truth"
    );
    let log = vm.sh(&format!("cat {LEDGER}/log/*")).out;
    assert!(log.contains("\"bind\"") && log.contains("anna") && log.contains("2001"), "{log}");
    assert_eq!(vm.list(&format!("{LEDGER}/log")).len(), 1, "what was refused changed nothing");
}

#[test]
fn a_name_that_was_retired_is_nobodys_again() {
    let Some(vm) = machine("pool1", &[("ada", 2001), ("grace", 2002)]) else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.log_in("ada").ok();
    vm.as_user("ada", "echo secret >~/notebooks/remote/s").ok();
    // Ada leaves the team; her directory stays.
    vm.sh("dsvm-agent workspace identity retire ada").ok();
    vm.change_user("userdel --remove ada");
    wait_for("it is not mounted any more", SOON, || !vm.is_mounted("notebooks/ada"));
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/s")), "secret\n");
    // Somebody else gets her name, with her number or another.
    for uid in [2001, 2007] {
        user(&vm, "ada", uid);
        agent.wait_problem("workspace.name-retired:ada");
        vm.log_in("ada").ok();
        assert!(!vm.is_mounted("notebooks/ada"));
        vm.as_user("ada", "cat ~/notebooks/remote/s").fails();
        vm.change_user("userdel --remove ada");
        agent.wait_no_problem();
    }
    // Her number alone shows nothing either.
    user(&vm, "eve", 2001);
    agent.wait_problem("workspace.uid-differs:eve");
    vm.log_in("eve").ok();
    vm.as_user("eve", "cat /srv/data/notebooks/ada/s").fails();
    vm.change_user("userdel --remove eve");
    // She comes back.
    user(&vm, "ada", 2001);
    agent.wait_problem("workspace.name-retired:ada");
    vm.sh("dsvm-agent workspace identity bind ada").ok();
    agent.wait_no_problem();
    let logs_in = || vm.log_in("ada").success() && vm.is_mounted("notebooks/ada");
    wait_for("she has hers again", SOON, logs_in);
    assert_eq!(vm.as_user("ada", "cat ~/notebooks/remote/s").ok(), "secret");
}

#[test]
fn a_number_that_changes_while_its_directory_is_open_shows_nothing_to_the_numbers_new_owner() {
    let Some(vm) = machine("pool1", &[("ada", 2001)]) else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.log_in("ada").ok();
    vm.as_user("ada", "echo secret >~/notebooks/remote/s").ok();
    let holder = vm.spawn_as("root", "exec 3</srv/data/notebooks/ada/s; echo >/run/held; read -r _");
    wait_for("the file is open", SOON, || vm.exists("/run/held"));
    vm.sh("sed -i 's/^ada:x:2001:2001/ada:x:2008:2001/' /etc/passwd; chown -R 2008 /home/ada").ok();
    user(&vm, "mallory", 2010);
    vm.sh("sed -i 's/^mallory:x:2010:/mallory:x:2001:/' /etc/passwd; chown -R 2001 /home/mallory").ok();
    agent.wait_problem("workspace.uid-differs:ada");
    agent.wait_problem("workspace.uid-differs:mallory");
    // It goes as soon as nobody has anything open in it, however soon anybody asks again.
    drop(holder);
    wait_for("the old mount goes", SOON, || !vm.is_mounted("notebooks/ada"));
    vm.log_in("mallory").ok();
    vm.log_in("ada").ok();
    assert!(!vm.is_mounted("notebooks/ada") && !vm.is_mounted("notebooks/mallory"));
    vm.as_user("mallory", "cat /srv/data/notebooks/ada/s").fails();
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/s")), "secret\n");
}

#[test]
fn a_renamed_user_keeps_what_they_have_when_an_administrator_says_so() {
    let Some(vm) = machine("pool1", &[("ada", 2001)]) else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.log_in("ada").ok();
    vm.as_user("ada", "echo work >~/notebooks/remote/w").ok();
    vm.change_user("usermod --login countess ada");
    agent.wait_problem("workspace.uid-differs:countess");
    assert!(summary(&agent, "workspace.uid-differs").contains("identity bind countess --uid 2001"));
    wait_for("it is not mounted any more", SOON, || !vm.is_mounted("notebooks/ada"));
    assert!(!vm.exists(&format!("{SHARE}/notebooks/countess")));
    // As the README says.
    let root = "/run/dsvm-agent/share/root/notebooks";
    vm.sh(&format!("mv -T {root}/ada {root}/countess && dsvm-agent workspace identity bind countess")).ok();
    // Her old link leads nowhere she may go, and is hers to take away.
    agent.wait_problem("workspace.link-elsewhere:countess");
    vm.as_user("countess", "rm ~/notebooks/remote").ok();
    agent.wait_ready();
    let logs_in = || vm.log_in("countess").success() && vm.is_mounted("notebooks/countess");
    wait_for("she has hers", SOON, logs_in);
    assert_eq!(vm.as_user("countess", "cat ~/notebooks/remote/w").ok(), "work");
}

#[test]
fn a_changed_home_gets_its_link_and_a_locked_user_keeps_everything() {
    let Some(vm) = machine("pool1", &[("ada", 2001), ("grace", 2002)]) else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.log_in("ada").ok();
    vm.as_user("ada", "echo work >~/notebooks/remote/w").ok();
    vm.sh("install -d -o ada -g ada /home/new").ok();
    vm.change_user("usermod --home /home/new ada");
    wait_for("the new home has the link", SOON, || vm.exists("/home/new/notebooks/remote"));
    assert!(vm.exists("/home/ada/notebooks/remote"), "the old one is left alone");
    vm.log_in("ada").ok();
    assert_eq!(vm.as_user("ada", "cat ~/notebooks/remote/w").ok(), "work");
    // Locked: a shell that is none. Nothing goes but the mount.
    vm.change_user("usermod --lock --shell /usr/sbin/nologin grace");
    wait_for("she is not served", SOON, || agent.status()["counts"]["users"] == 1);
    assert!(vm.exists("/home/grace/notebooks/remote") && vm.exists(&format!("{SHARE}/notebooks/grace")));
    vm.change_user("usermod --shell /bin/bash grace");
    agent.wait_ready();
    agent.wait_no_problem();
}

#[test]
fn a_directory_that_came_open_to_all_is_closed_before_it_is_shown() {
    let Some(vm) = machine("vm1", &[("ada", 1001), ("eve", 1002)]) else { return };
    // As an older script or an administrator left it: hers, and everybody's to read and write.
    vm.sh(&format!(
        "set -e; install -d -m 711 {SHARE}/notebooks; install -d -m 2777 -o 1001 -g 1001 {SHARE}/notebooks/ada"
    ))
    .ok();
    vm.write(&format!("{SHARE}/notebooks/ada/diary"), "secret");
    vm.sh(&format!("chmod 644 {SHARE}/notebooks/ada/diary")).ok();
    let agent = vm.agent_start();
    agent.wait_ready();
    let _session = vm.spawn_as("ada", "exec sleep 1000");
    wait_for("ada has her notebooks", SOON, || {
        vm.as_user("ada", "cat ~/notebooks/remote/diary").out.contains("secret")
    });
    let tried = vm.as_user("eve", "cat ~ada/notebooks/remote/diary /srv/data/notebooks/ada/diary; true").out;
    assert!(!tried.contains("secret"), "{tried}");
    assert_eq!(vm.sh(&format!("stat -c %a {SHARE}/notebooks/ada")).ok().trim(), "2700");
    // Only that directory: what is in it is hers as she left it.
    assert_eq!(vm.sh(&format!("stat -c %a {SHARE}/notebooks/ada/diary")).ok().trim(), "644");
}

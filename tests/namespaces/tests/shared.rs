//! Directories of the share that several people work in: members get in, each at a place of their own, and nobody else.

use namespaces::{SHARE, SOON, Sandbox, wait_for};

const SHARED: &str = "[[shared]]\ndirectory = \"projects\"\nlink = \"notebooks/projects\"\ngroup = \"lab\"\n\
                      [[shared]]\ndirectory = \"team/data\"\nlink = \"data\"\nread_only = true\n";

/// A machine with ada and grace in the lab, and edsger who is not.
fn machine(workspace: &str) -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    vm.sh("groupadd lab").ok();
    ["ada", "grace", "edsger"].iter().for_each(|name| vm.user(name));
    ["ada", "grace"].iter().for_each(|name| vm.change_user(&format!("usermod --append --groups lab {name}")));
    vm.configure(&format!("[workspace]\n{workspace}\n{SHARED}"));
    Some(vm)
}

fn stat(vm: &Sandbox, path: &str) -> String {
    vm.sh(&format!("stat -c '%U %G %a' {SHARE}/{path}")).ok().to_owned()
}

#[test]
fn two_members_work_in_one_directory_and_nobody_else_enters() {
    let Some(vm) = machine("mount = \"always\"") else { return };
    let once = vm.run_once();
    assert!(once.success(), "{}{}", once.out, once.err);
    assert_eq!(stat(&vm, "projects"), "root lab 2770");
    assert_eq!((stat(&vm, "team"), stat(&vm, "team/data")), ("root root 711".to_owned(), "root root 755".to_owned()));
    let plan = vm.sh("dsvm-agent plan");
    assert!(plan.ok().to_lowercase().contains("nothing to do"), "{}", plan.out);
    let status = vm.sh("dsvm-agent status").out;
    for line in ["~/notebooks/projects is projects on the share, for group lab", "for everybody, read-only"] {
        assert!(status.contains(line), "{line}\n{status}");
    }

    // Git wants to be told that a repository may be another person's, as in every directory of a group.
    let trust = "git config --global --add safe.directory '*' && git config --global user.email x@y && \
                 git config --global user.name x";
    ["ada", "grace"].iter().for_each(|name| drop(vm.as_user(name, trust).ok().to_owned()));
    vm.as_user("ada", "git init -q --bare --shared=group ~/notebooks/projects/all.git").ok();
    let work = "set -e; git clone -q ~/notebooks/projects/all.git work; cd work; date >$USER.$(id -un); git add .; \
                git commit -qm one; git push -q origin HEAD:main";
    vm.as_user("ada", work).ok();
    let more = "set -e; git clone -q -b main ~/notebooks/projects/all.git work; cd work; ls; date >grace; git add .; \
                git commit -qm two; git push -q origin HEAD:main";
    assert!(vm.as_user("grace", more).ok().contains("ada"));
    assert_eq!(vm.as_user("ada", "cd work; git pull -q origin main; git log --oneline | wc -l").ok(), "2");

    assert!(!vm.exists("/home/edsger/notebooks/projects") && vm.exists("/home/edsger/data"));
    for path in ["projects/ada", "projects/ada/all.git", "projects/edsger"] {
        vm.as_user("edsger", &format!("ls /srv/data/{path}")).fails();
    }
    assert!(vm.as_user("edsger", "ls /srv/data/projects/ada").fails().contains("Permission denied"));
    assert!(!vm.is_mounted("projects/edsger"));

    vm.write("/srv/share/team/data/table.csv", "1,2\n");
    vm.sh("chmod 0644 /srv/share/team/data/table.csv").ok();
    for user in ["ada", "edsger"] {
        assert_eq!(vm.as_user(user, "cat ~/data/table.csv").ok(), "1,2");
    }
    for tries in [
        vm.as_user("ada", "echo x >>~/data/table.csv"),
        vm.as_user("ada", "touch ~/data/x"),
        vm.sh("touch /srv/data/team/data/ada/x"),
    ] {
        assert!(tries.fails().contains("Read-only") || tries.err.contains("Permission denied"), "{}", tries.err);
    }
    assert!(vm.sh("touch /srv/data/team/data/ada/x").fails().contains("Read-only"), "root too");
}

#[test]
fn a_place_comes_with_its_user_and_goes_when_nobody_uses_it() {
    let Some(vm) = machine("linger = \"2s\"") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_for("the link is there", SOON, || vm.exists("/home/ada/notebooks/projects"));
    // While it is not mounted nothing is written beside it.
    assert!(vm.sh("touch /srv/data/projects/ada/x").fails().contains("Read-only"));
    assert!(vm.read("/srv/data/projects/ada/SHARE-NOT-MOUNTED.txt").contains("not connected"));
    let ada = vm.spawn_as("ada", "read -r _");
    wait_for("ada's places are mounted", SOON, || vm.is_mounted("projects/ada") && vm.is_mounted("team/data/ada"));
    assert!(!vm.is_mounted("projects/grace"), "only for who is here");
    wait_for("it is told", SOON, || agent.status()["shared"][0]["mounted"] == 1);
    assert_eq!(ada.finish(), 1, "it was only told the end");
    wait_for("they are dropped", SOON, || !vm.is_mounted("projects/ada") && !vm.is_mounted("team/data/ada"));
    assert!(agent.problems().is_empty(), "{:?}", agent.problems());
}

#[test]
fn who_leaves_the_group_is_let_in_no_more_and_loses_nothing_that_is_open() {
    let Some(vm) = machine("linger = \"2s\"") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    let _here = vm.spawn_as("ada", "read -r _");
    wait_for("ada's place is mounted", SOON, || vm.is_mounted("projects/ada"));
    let mut open = vm.spawn_as("ada", "exec 3>~/notebooks/projects/open; read -r l; echo $l >&3");
    wait_for("she has a file open", SOON, || vm.exists(&format!("{SHARE}/projects/open")));
    vm.sh("gpasswd --delete ada lab").ok();
    // A session that begins now is not in the group, whatever is mounted still.
    assert!(vm.as_user("ada", "ls /srv/data/projects/ada/").fails().contains("Permission denied"));
    agent.wait_looked();
    assert!(vm.is_mounted("projects/ada"), "never while a file is open");
    open.say("last words\n");
    assert_eq!(open.finish(), 0);
    wait_for("her place is dropped while she is here", SOON, || !vm.is_mounted("projects/ada"));
    assert!(vm.is_mounted("notebooks/ada"), "her own stays");
    assert_eq!(vm.read(&format!("{SHARE}/projects/open")), "last words\n");
    assert!(vm.exists("/home/ada/notebooks/projects"), "nothing in a home is ever taken away");
    vm.sh("gpasswd --add ada lab").ok();
    wait_for("she is back", SOON, || vm.is_mounted("projects/ada"));
    assert!(agent.problems().is_empty(), "{:?}", agent.problems());
}

#[test]
fn what_lets_others_in_is_not_opened_and_never_changed() {
    for (plant, problem) in [
        ("mkdir -m 0777 projects; echo x >projects/x", "workspace.shared-unfit"),
        ("mkdir -m 0770 projects; chown ada:lab projects", "workspace.shared-unfit"),
        ("ln -s /etc projects", "workspace.directory-occupied"),
    ] {
        let Some(vm) = machine("linger = \"2s\"") else { return };
        vm.sh(&format!("cd {SHARE} && {plant}")).ok();
        let before = stat(&vm, "projects");
        let agent = vm.agent_start();
        agent.wait_started();
        let _here = vm.spawn_as("ada", "read -r _");
        let _too = vm.spawn_as("grace", "read -r _");
        ["ada", "grace"].iter().for_each(|name| drop(vm.log_in(name)));
        agent.wait_problem(problem);
        wait_for("her own is there", SOON, || vm.is_mounted("notebooks/ada") && vm.is_mounted("team/data/ada"));
        agent.wait_looked();
        assert!(!vm.is_mounted("projects/ada"), "{plant}");
        assert_eq!(
            (stat(&vm, "projects"), agent.problems()),
            (before, vec![problem.to_owned()]),
            "{plant}: once for all"
        );
        if problem == "workspace.shared-unfit" {
            vm.sh(&format!("chown root:lab {SHARE}/projects; chmod 2770 {SHARE}/projects")).ok();
            vm.log_in("ada").ok();
            wait_for("the remedy helps", SOON, || vm.is_mounted("projects/ada"));
            agent.wait_no_problem();
        }
    }
}

#[test]
fn what_lies_where_the_link_belongs_is_left_alone() {
    let Some(vm) = machine("") else { return };
    vm.as_user("ada", "mkdir notebooks && ln -s /etc notebooks/projects").ok();
    vm.as_user("grace", "mkdir -p notebooks/projects && echo mine >notebooks/projects/a").ok();
    let agent = vm.agent_start();
    agent.wait_problem("workspace.link-elsewhere:ada");
    agent.wait_problem("workspace.link-occupied:grace");
    assert_eq!(vm.as_user("ada", "readlink notebooks/projects").ok(), "/etc");
    assert_eq!(vm.as_user("grace", "cat notebooks/projects/a").ok(), "mine");
    wait_for("their own are linked", SOON, || {
        vm.exists("/home/ada/notebooks/remote") && vm.exists("/home/grace/notebooks/remote")
    });
    let problem = vm.sh("dsvm-agent status").out;
    assert!(!problem.contains("workspace import"), "that would copy it into her own: {problem}");
    vm.as_user("grace", "mv notebooks/projects aside").ok();
    vm.log_in("grace").ok();
    wait_for("it is made then", SOON, || {
        vm.as_user("grace", "readlink notebooks/projects").out == "/srv/data/projects/grace"
    });
}

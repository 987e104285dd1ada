//! Hostile homes, a hostile share, hostile names, and who asks what they should not.

use namespaces::{MOUNT_POINT, SHARE, SOON, Sandbox, hash_tree, wait_for};
use std::path::PathBuf;

/// A machine with a share and the users ada, who means no harm, and mallory.
fn machine(more: &str) -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "mallory"].iter().for_each(|name| vm.user(name));
    vm.configure(more);
    Some(vm)
}

/// Everything that mallory must not change.
fn outside(vm: &Sandbox) -> u64 {
    let paths: Vec<PathBuf> =
        ["/etc", "/root", "/home/ada", "/var/lib", "/srv/share"].iter().map(|p| vm.path(p)).collect();
    hash_tree(&paths).expect("a tree")
}

#[test]
fn whatever_lies_in_a_home_is_left_alone_and_leads_nowhere() {
    let plants = [
        ("ln -s /etc notebooks", "workspace.home-blocked:mallory"),
        ("ln -s /root notebooks", "workspace.home-blocked:mallory"),
        ("ln -s /home/ada notebooks", "workspace.home-blocked:mallory"),
        ("ln -s /nowhere/at/all notebooks", "workspace.home-blocked:mallory"),
        ("echo text >notebooks", "workspace.home-blocked:mallory"),
        ("mkfifo notebooks", "workspace.home-blocked:mallory"),
        ("mkdir -m 0000 notebooks", "workspace.home-blocked:mallory"),
        ("mkdir notebooks; ln -s /etc notebooks/remote", "workspace.link-elsewhere:mallory"),
        ("mkdir notebooks; ln -s /srv/data/notebooks/ada notebooks/remote", "workspace.link-elsewhere:mallory"),
        ("mkdir -p notebooks/remote; echo work >notebooks/remote/w", "workspace.link-occupied:mallory"),
        ("mkdir -p notebooks/remote; chmod 0000 notebooks/remote", "workspace.link-occupied:mallory"),
        ("mkdir notebooks; mkfifo notebooks/remote", "workspace.link-occupied:mallory"),
        ("mkdir notebooks; echo text >notebooks/remote", "workspace.link-occupied:mallory"),
        ("chmod 0000 ~", "workspace.home-blocked:mallory"),
        ("chmod 0500 ~", "workspace.home-blocked:mallory"),
    ];
    let Some(vm) = machine("") else { return };
    assert!(vm.run_once().success());
    for (plant, problem) in plants {
        vm.sh("chmod 0755 /home/mallory; rm -rf /home/mallory/notebooks /home/ada/notebooks").ok();
        vm.as_user("mallory", plant).ok();
        let agent = vm.agent_start();
        agent.wait_problem(problem);
        wait_for("ada is served", SOON, || vm.exists("/home/ada/notebooks/remote"));
        // Only the link of ada is new.
        vm.sh("rm -r /home/ada/notebooks").ok();
        let before = outside(&vm);
        vm.log_in("mallory").ok();
        agent.wait_looked();
        assert_eq!(outside(&vm), before, "{plant}");
        assert_eq!(agent.problems(), [problem], "{plant}");
        assert_eq!(agent.stop(), 0);
    }
}

#[test]
fn homes_of_somebody_else_full_or_read_only_are_a_problem_of_their_own() {
    let plants = [
        ("chown -R ada /home/mallory; chmod 0700 /home/mallory", "workspace.home-blocked:mallory"),
        ("mount -t tmpfs -o ro,mode=0777 t /home/mallory", "workspace.home-blocked:mallory"),
        ("mount -t tmpfs -o nr_inodes=1,mode=0777 t /home/mallory", "workspace.home-blocked:mallory"),
        ("rm -rf /home/mallory; ln -s /root /home/mallory", "workspace.home-blocked:mallory"),
        ("rm -rf /home/mallory; mknod /home/mallory c 1 3", "workspace.home-blocked:mallory"),
    ];
    for (plant, problem) in plants {
        let Some(vm) = machine("") else { return };
        vm.sh(plant).ok();
        let before = hash_tree(&[vm.path("/etc"), vm.path("/root")]).expect("a tree");
        let agent = vm.agent_start();
        agent.wait_problem(problem);
        wait_for("ada is served", SOON, || vm.exists("/home/ada/notebooks/remote"));
        assert_eq!(hash_tree(&[vm.path("/etc"), vm.path("/root")]).expect("a tree"), before, "{plant}");
        assert_eq!(agent.problems(), [problem], "{plant}");
    }
}

#[test]
fn a_home_that_changes_under_the_agents_hands_changes_nothing_else() {
    let Some(vm) = machine("") else { return };
    assert!(vm.run_once().success());
    vm.sh("rm -rf /home/mallory/notebooks").ok();
    let before = outside(&vm);
    let agent = vm.agent_start();
    agent.wait_ready();
    let _swapper = vm.spawn_as(
        "mallory",
        "while :; do for t in /etc /root /home/ada /home/ada/notebooks /srv/share /run; do
             rm -rf notebooks; ln -sT $t notebooks; rm -rf notebooks; mkdir notebooks; ln -sT $t notebooks/remote
         done; done 2>/dev/null",
    );
    // Every log-in makes the agent look at the home again.
    for _ in 0..40 {
        vm.sh("PAM_TYPE=account PAM_USER=mallory dsvm-agent login-hook").ok();
        vm.sh("PAM_TYPE=account PAM_USER=ada dsvm-agent login-hook").ok();
        assert!(vm.is_mounted("notebooks/ada"), "others are served meanwhile");
    }
    assert_eq!(outside(&vm), before);
    vm.as_user("ada", "echo x >~/notebooks/remote/x").ok();
}

#[test]
fn a_home_that_never_answers_holds_up_nobody_else() {
    let Some(vm) = machine("") else { return };
    let Some(silent) = vm.silence("/home/mallory") else { return };
    let agent = vm.agent_start();
    agent.wait_started();
    vm.sh("dsvm-agent wait --for user:ada --timeout 60s").ok();
    vm.log_in("ada").ok();
    wait_for("ada's notebooks are mounted", SOON, || vm.is_mounted("notebooks/ada"));
    agent.wait_problem("workspace.home-silent:mallory");
    vm.log_in("mallory").ok();
    assert!(vm.sh("dsvm-agent status").out.contains("does not answer"));
    let stopped = agent.stop();
    assert_eq!(stopped, 0, "it can be stopped meanwhile");
    drop(silent);
    // The helper that waited there ends once nobody answers for certain.
    wait_for("nobody holds the home any more", SOON, || vm.sh("umount /home/mallory").success());
    let agent = vm.agent_start();
    agent.wait_ready();
    agent.wait_no_problem();
}

#[test]
fn what_is_planted_on_the_share_is_shown_to_nobody_and_left_alone() {
    let plants = [
        ("ln -s /etc mallory", "workspace.directory-occupied:mallory"),
        ("ln -s ada mallory", "workspace.directory-occupied:mallory"),
        ("echo text >mallory", "workspace.directory-occupied:mallory"),
        ("mkfifo mallory", "workspace.directory-occupied:mallory"),
        ("mkdir -m 0700 mallory; echo secret >mallory/s; chown -R ada mallory", "workspace.uid-differs:mallory"),
        ("mkdir -m 0755 mallory; echo secret >mallory/s", "workspace.uid-differs:mallory"),
    ];
    for (plant, problem) in plants {
        let Some(vm) = machine("[workspace]\nmount = \"always\"\n") else { return };
        vm.sh("install -d -m 0711 /srv/share/notebooks; install -d -m 0700 -o ada -g ada /srv/share/notebooks/ada")
            .ok();
        vm.sh(&format!("cd {SHARE}/notebooks; {plant}")).ok();
        let before = hash_tree(&[vm.path("/etc"), vm.path(format!("{SHARE}/notebooks"))]).expect("a tree");
        let agent = vm.agent_start();
        agent.wait_problem(problem);
        wait_for("ada is served", SOON, || vm.is_mounted("notebooks/ada"));
        vm.log_in("mallory").ok();
        assert!(!vm.is_mounted("notebooks/mallory"), "{plant}");
        assert_eq!(
            hash_tree(&[vm.path("/etc"), vm.path(format!("{SHARE}/notebooks"))]).expect("a tree"),
            before,
            "{plant}"
        );
    }
    // The directory above them all, too: whoever can write in it could swap two of them.
    for plant in ["chmod 0777 notebooks", "chown mallory notebooks"] {
        let Some(vm) = machine("[workspace]\nmount = \"always\"\n") else { return };
        vm.sh(&format!("install -d -m 0711 {SHARE}/notebooks; cd {SHARE}; {plant}")).ok();
        let agent = vm.agent_start();
        agent.wait_problem("workspace.directory-exposed:ada");
        assert!(vm.list(&format!("{SHARE}/notebooks")).is_empty() && !vm.is_mounted("notebooks/ada"), "{plant}");
        vm.sh(&format!("chown root {SHARE}/notebooks; chmod 1777 {SHARE}/notebooks")).ok();
        vm.log_in("ada").ok();
        wait_for("ada is served", SOON, || vm.is_mounted("notebooks/ada"));
    }
    let Some(vm) = machine("") else { return };
    vm.sh(&format!("mkdir /srv/elsewhere; ln -s /srv/elsewhere {SHARE}/notebooks")).ok();
    let agent = vm.agent_start();
    agent.wait_problem("workspace.directory-occupied:ada");
    assert!(vm.list("/srv/elsewhere").is_empty());
}

#[test]
fn nobody_gets_anothers_directory_whatever_a_worker_is_asked_for() {
    let Some(vm) = machine("") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    let id = |user: &str| vm.sh(&format!("id -u {user}")).ok().trim().parse::<u32>().expect("a number");
    let (ada, mallory, own) = (id("ada"), id("mallory"), id("dsvm-agent"));
    // As the launcher starts one, for whoever speaks in the brain's place.
    let ask = |job: &str| {
        vm.sh(&format!("echo '[{job},[{own},{own}]]' | dsvm-agent worker --config /etc/dsvm-agent/agent.toml"))
            .ok()
            .to_owned()
    };
    let wanted = |whose: &str, uid: u32| format!(r#"{{"directory":"notebooks/{whose}","uid":{uid},"gid":{uid}}}"#);
    let attach = |whose: &str, uid: u32| format!(r#"{{"Attach":{{"wanted":{},"address":null}}}}"#, wanted(whose, uid));
    let link = |whose: &str, uid: u32, groups: &str, home: &str| {
        let person = format!(r#"{{"uid":{uid},"gid":{uid},"groups":[{groups}],"home":"/home/{home}"}}"#);
        format!(r#"{{"Link":{{"person":{person},"directory":"notebooks/{whose}","make":false}}}}"#)
    };
    for job in [
        attach("ada", mallory),
        attach("nobody-at-all", ada),
        format!(r#"{{"Directories":{{"wanted":[{},{}],"make":true}}}}"#, wanted("ada", ada), wanted("mallory", ada)),
        link("ada", mallory, "", "mallory"),
        link("ada", ada, "27", "ada"),
        link("ada", ada, "", "mallory"),
    ] {
        let answer = ask(&job);
        assert!(answer.contains("is not, or no longer, "), "{job}: {answer}");
    }
    assert!(!vm.is_mounted("notebooks/ada"));
    let answer = ask(&link("ada", ada, "", "ada"));
    assert!(answer.contains("Right"), "{answer}");
    assert_eq!(ask(&attach("ada", ada)).trim(), r#""Done""#);
    assert!(vm.is_mounted("notebooks/ada"));

    // Nor is everybody's shown to everybody, or the guard in force taken for an old one.
    let refused = format!("\"errno\":{}", libc::EINVAL);
    let answer = ask(r#"{"ShowAll":{"address":null}}"#);
    assert!(answer.contains(&refused), "{answer}");
    // The agent may have done it by now: she is not here.
    vm.sh("umount /srv/data/notebooks/ada");
    assert!(!vm.is_mounted("notebooks/ada"));
    for at in ["/srv/data", "/srv/../srv/data", "/run/../srv/data"] {
        let answer = ask(&format!(r#"{{"TakeDown":{{"at":"{at}"}}}}"#));
        assert!(answer.contains(&refused), "{at}: {answer}");
    }
    assert!(vm.sh("findmnt --noheadings --output SOURCE /srv/data").out.contains("dsvm-agent-guard"));
}

#[test]
fn an_nfs_server_is_mounted_only_where_its_name_leads() {
    let Some(vm) = machine("") else { return };
    let own = vm.sh("id -u dsvm-agent").ok().trim().parse::<u32>().expect("a number");
    vm.write("/etc/hosts", "127.0.0.1 localhost\n10.9.0.1 files.contoso.com\n");
    let config = "[share]\nsource = \"files.contoso.com:/contosods/dsvmshare\"\nmount_point = \"/data/share\"\n";
    vm.write("/run/nfs.toml", config);
    let ask = |job: &str| {
        vm.sh(&format!("echo '[{job},[{own},{own}]]' | dsvm-agent worker --config /run/nfs.toml")).ok().to_owned()
    };
    let uid = vm.sh("id -u ada").ok().trim().parse::<u32>().expect("a number");
    let wanted = format!(r#"{{"directory":"notebooks/ada","uid":{uid},"gid":{uid}}}"#);
    let lie = "does not lead to 127.0.0.1";
    for (address, is_refused) in [("127.0.0.1", true), ("10.9.0.1", false)] {
        for job in [
            format!(r#"{{"MountRoot":{{"address":"{address}"}}}}"#),
            format!(r#"{{"Trial":{{"address":"{address}"}}}}"#),
            format!(r#"{{"Attach":{{"wanted":{wanted},"address":"{address}"}}}}"#),
        ] {
            // What else is wrong with the right one: there is no such server, or no NFS in this kernel.
            let answer = ask(&job);
            assert_eq!(answer.contains(lie), is_refused, "{job}: {answer}");
            assert!(answer.contains("Failed"), "{job}: {answer}");
        }
    }
}

#[test]
fn names_are_only_names() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    let long = "l".repeat(200);
    let names = ["Ada", "ada", "with space", "..", "a/b", "../../etc", "con", "%41da", "zoë", long.as_str()];
    let mut passwd = vm.read("/etc/passwd").into_bytes();
    let mut line = |name: &[u8], uid: usize| {
        vm.sh(&format!("install -d -o {uid} -g {uid} /home/u{uid}")).ok();
        passwd.extend([name, format!(":x:{uid}:{uid}::/home/u{uid}:/bin/bash\n").as_bytes()].concat());
    };
    names.iter().enumerate().for_each(|(i, name)| line(name.as_bytes(), 2000 + i));
    line(b"no\xfftext", 2100);
    vm.write("/etc/passwd", passwd);
    vm.configure("[workspace]\nmount = \"always\"\n");
    let before = hash_tree(&[vm.path("/etc"), vm.path("/root")]).expect("a tree");
    let agent = vm.agent_start();
    wait_for("all who can be are served", SOON, || agent.status()["counts"]["ready"] == names.len());
    let mut directories =
        ["%41da", "ada", "with space", "%2E%2E", "a%2Fb", "..%2F..%2Fetc", "%63on", "%2541da", "zo%C3%AB", &long];
    directories.sort();
    assert_eq!(vm.list(&format!("{SHARE}/notebooks")), directories);
    assert_eq!(vm.list(SHARE), [".dsvm-agent", "notebooks"]);
    assert_eq!(vm.list(&format!("{MOUNT_POINT}/notebooks")), directories);
    assert_eq!(hash_tree(&[vm.path("/etc"), vm.path("/root")]).expect("a tree"), before);
    assert!(agent.problems().iter().any(|p| p.starts_with("workspace.name:")), "{:?}", agent.problems());
    assert_eq!(vm.sh(&format!("stat -c %u {SHARE}/notebooks/%41da {SHARE}/notebooks/ada")).ok(), "2000\n2001");
}

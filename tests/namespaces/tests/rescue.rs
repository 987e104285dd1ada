//! Files that are on a VM only: named to those whom they concern, rescued as their owner when the VM goes, and told of at
//! the next log-in. With hostile homes, faults of the share, and deaths in between.

use namespaces::{MOUNT_POINT, Process, SHARE, SOON, Sandbox, hash_tree, wait_for};
use serde_json::Value;
use std::path::PathBuf;

const INTO: &str = "2026-03-04-dsvmpool_3";

fn machine(users: &[&str]) -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    users.iter().for_each(|name| vm.user(name));
    vm.configure("");
    Some(vm)
}

/// A job of `user`'s, as the agent asks for it; `more` is what else is in it.
fn job(vm: &Sandbox, kind: &str, user: &str, more: &str) -> String {
    let uid = vm.sh(&format!("id -u {user}")).ok().to_owned();
    let person = format!(r#"{{"uid":{uid},"gid":{uid},"groups":[{uid}],"home":"/home/{user}"}}"#);
    format!(r#"[{{"{kind}":{{"person":{person},"directory":"notebooks/{user}"{more}}}}},[990,990]]"#)
}

/// A worker's answer.
fn work(vm: &Sandbox, job: &str) -> Value {
    vm.write("/run/job", job);
    let answer = vm.sh("dsvm-agent worker --config /etc/dsvm-agent/agent.toml </run/job");
    serde_json::from_str(answer.ok()).expect("an answer")
}

fn rescue_job(vm: &Sandbox, user: &str, limit: u64) -> String {
    job(vm, "Rescue", user, &format!(r#","into":"{INTO}","limit":{limit}"#))
}

fn rescue(vm: &Sandbox, user: &str) -> Value {
    let answer = work(vm, &rescue_job(vm, user, 1 << 30));
    assert!(answer["Rescued"].is_object(), "{answer}");
    answer["Rescued"].clone()
}

fn survey(vm: &Sandbox, user: &str) -> Value {
    let answer = work(vm, &job(vm, "Survey", user, ""));
    assert!(answer["Surveyed"].is_object(), "{answer}");
    answer["Surveyed"].clone()
}

/// Somebody who is there: their notebooks are mounted.
fn present(vm: &Sandbox, user: &str) -> Process {
    let there = vm.spawn_as(user, "exec sleep 1000");
    vm.log_in(user).ok();
    wait_for("the notebooks are mounted", SOON, || vm.is_mounted(&format!("notebooks/{user}")));
    there
}

/// Returns when what is changed is changed in another second than what was before.
fn next_second(vm: &Sandbox) {
    let second = || vm.sh("date +%s").ok().to_owned();
    let now = second();
    wait_for("the second is over", SOON, || second() != now);
}

fn rescued(user: &str) -> String {
    format!("{SHARE}/notebooks/{user}/rescued/{INTO}")
}

/// The row of files in what `dsvm-agent idle --json` says.
fn row(text: &str) -> Value {
    let view: Value = serde_json::from_str(text).unwrap_or_default();
    view["at_risk"].as_array().and_then(|rows| rows.iter().find(|r| r["kind"] == "files").cloned()).unwrap_or_default()
}

#[test]
fn they_are_named_to_their_owner_and_root_and_counted_to_others() {
    let Some(vm) = machine(&["ada", "grace"]) else { return };
    vm.as_user("ada", "mkdir notebooks; echo work >notebooks/analysis.ipynb; echo old >.hidden").ok();
    let mut agent = vm.agent_start();
    agent.wait_ready();
    let there = present(&vm, "ada");
    wait_for("it is seen", SOON, || row(&vm.sh("dsvm-agent idle --json").out)["value"] == 1.0);
    let root = row(&vm.sh("dsvm-agent idle --json").out);
    assert_eq!((&root["who"], &root["what"]), (&Value::from("ada"), &Value::from("~/notebooks/analysis.ipynb")));
    assert_eq!(root["files"]["bytes"], 5);
    let own = vm.as_user("ada", "dsvm-agent status").out;
    assert!(own.contains("~/notebooks/analysis.ipynb is only on this VM (5 bytes)"), "{own}");
    assert!(own.contains("mv -n ~/notebooks/analysis.ipynb ~/notebooks/remote/"), "{own}");
    let others =
        vm.as_user("grace", "dsvm-agent status; dsvm-agent idle --json; cat /run/dsvm-agent/status/*.json").out;
    assert!(others.contains("1 file that is only on this VM") && !others.contains("analysis"), "{others}");

    // Nobody is there any more, and the agent dies: it is known all the same.
    drop(there);
    agent.signal("KILL");
    agent.wait();
    wait_for("nothing of it is left", SOON, || !vm.sh("pgrep --full '^dsvm-agent'").success());
    agent = vm.agent_start();
    agent.wait_ready();
    wait_for("it is still known", SOON, || row(&vm.sh("dsvm-agent idle --json").out)["who"] == "ada");

    // What the status said is done, and the row is gone when its owner asks.
    let _there = present(&vm, "ada");
    vm.as_user("ada", "mv -n ~/notebooks/analysis.ipynb ~/notebooks/remote/").ok();
    wait_for("it is on the share", SOON, || !vm.as_user("ada", "dsvm-agent status").out.contains("only on this VM"));
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/analysis.ipynb")), "work\n");
    assert_eq!(agent.problems(), [""; 0]);
}

#[test]
fn the_next_log_in_on_another_vm_says_what_was_kept() {
    let Some(vm) = machine(&["ada"]) else { return };
    let other = vm.another("vm2");
    other.user("ada");
    other.configure("");
    // A boot of its own, as every VM has one.
    other.sh("echo 11111111-2222-3333-4444-555555555555 >/run/boot; mount --bind /run/boot /proc/sys/kernel/random/boot_id").ok();
    vm.as_user("ada", "mkdir notebooks; for i in 1 2 3; do echo $i >notebooks/$i.csv; done").ok();
    let agent = vm.agent_start();
    agent.wait_ready();
    let there = present(&vm, "ada");
    assert_eq!(rescue(&vm, "ada")["files"], 3);
    drop(there);
    let here = vm.as_user("ada", "dsvm-agent status").out;
    assert!(!here.contains("Last time"), "this VM lives: {here}");
    drop(agent);

    let agent = other.agent_start();
    agent.wait_ready();
    let _there = present(&other, "ada");
    let kept = "3 files kept in ~/notebooks/remote/rescued/2026-03-04-dsvmpool_3";
    let lines = other.as_user("ada", "script -qec 'dsvm-agent greeting' /dev/null").out;
    assert!(lines.contains("Last time: dsvmpool_3 went ") && lines.contains(kept), "{lines}\n{}", agent.describe());
    assert!(other.as_user("ada", "dsvm-agent status").out.contains(kept));
    assert!(!other.as_user("ada", "cat /run/dsvm-agent/status/status.json").ok().contains("dsvmpool_3"));
    assert!(other.as_user("ada", "cat ~/notebooks/remote/rescued/*/READ-ME.txt").ok().contains("3 files"));
    assert_eq!(other.as_user("ada", "cat ~/notebooks/remote/rescued/*/notebooks/2.csv").ok(), "2");

    // What lies there is ada's to write.
    let evil = r#"{"dsvm-agent":1,"node":"\u001b[2Jvm\nroot","at":99999999999,"files":1,"bytes":1,"left":0,"whole":true,"boot_id":""}"#;
    other.write("/run/evil", evil);
    other.as_user("ada", "cd notebooks/remote/rescued; mkdir 9999-01-01-x; cp /run/evil 9999-01-01-x/.last").ok();
    assert_eq!(agent.stop(), 0);
    let _agent = other.agent_start();
    let mut said = String::new();
    wait_for("it is told", SOON, || {
        said = other.as_user("ada", "dsvm-agent status").out;
        said.contains("Last time")
    });
    assert!(!said.contains('\u{1b}') && said.contains("[2Jvm\\nroot went on 5138-11-16"), "{said}");
}

#[test]
fn what_only_lies_there_is_named_and_rescued_and_what_came_with_a_home_is_not() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.sh("mkdir -p /etc/skel/notebooks /etc/skel/samples; cd /etc/skel; for f in .bashrc About.md samples/a.csv \
           notebooks/Start.ipynb; do echo welcome >$f; touch -d 2001-01-01 $f; done")
        .ok();
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    let _there = present(&vm, "ada");
    assert_eq!(survey(&vm, "ada")["files"], 0);
    let _there_too = present(&vm, "grace");
    // Their own times are older than the home; so tar, rsync -a and wget leave them.
    vm.sh("mkdir -p /run/from/churn; cd /run/from; echo code >churn/train.py; echo 1,2 >churn/a.csv; \
           touch -d 2001-01-01 churn/*; tar -cf /run/churn.tar churn; chmod a+r /run/churn.tar")
        .ok();
    vm.as_user(
        "grace",
        "tar -xf /run/churn.tar; mkdir -p R/x86_64-pc-linux-gnu-library/4.4/dplyr; echo x >R/model.R; \
         echo x >R/x86_64-pc-linux-gnu-library/4.4/dplyr/x.R; mkdir -p notebooks/venv; cd notebooks/venv; \
         mkdir -p bin lib/python3.12/site-packages; echo x >bin/pip; echo x >lib/python3.12/site-packages/x.py; \
         touch pyvenv.cfg; echo work >analysis.ipynb",
    )
    .ok();
    let saved = rescue(&vm, "grace");
    assert_eq!((&saved["files"], &saved["whole"]), (&Value::from(4), &Value::from(true)), "{saved}");
    let found = vm.sh(&format!("cd {}; find . -type f ! -name '.*' ! -name READ-ME.txt | sort", rescued("grace")));
    assert_eq!(found.ok(), "./R/model.R\n./churn/a.csv\n./churn/train.py\n./notebooks/venv/analysis.ipynb");
}

#[test]
fn what_a_program_writes_to_an_original_while_it_is_imported_is_named_whatever_becomes_of_the_link() {
    let Some(vm) = machine(&["ada"]) else { return };
    vm.as_user("ada", "mkdir -p notebooks/remote; for i in 1 2 3; do echo $i >notebooks/remote/$i.ipynb; done").ok();
    let agent = vm.agent_start();
    agent.wait_problem("workspace.link-occupied:ada");
    // A file that was changed in this very second is not known to be the one that was copied.
    next_second(&vm);
    // It stays where it is when that is renamed, as a kernel does.
    let kernel = vm.spawn_as(
        "ada",
        "cd notebooks/remote; until [ -L ~/notebooks/remote ]; do :; done; echo late >late.ipynb; touch ~/.done; sleep 1000",
    );
    vm.sh("dsvm-agent workspace import ada").ok();
    wait_for("it has written", SOON, || vm.exists("/home/ada/.done"));
    drop(kernel);
    let seen = survey(&vm, "ada");
    assert_eq!(seen["files"], 1, "{seen}");
    assert!(seen["newest"][0].as_str().is_some_and(|name| name.ends_with("/late.ipynb")), "{seen}");

    // The agent makes the link again, which is newer than everything then.
    next_second(&vm);
    vm.as_user("ada", "rm notebooks/remote").ok();
    let _there = present(&vm, "ada");
    wait_for("the link is there", SOON, || vm.path("/home/ada/notebooks/remote").is_symlink());
    let saved = rescue(&vm, "ada");
    assert_eq!((&saved["files"], &saved["whole"]), (&Value::from(1), &Value::from(true)), "{saved}");
    let found = vm.sh(&format!("cat {}/notebooks/remote.local-*/late.ipynb", rescued("ada")));
    assert_eq!(found.ok(), "late");
}

#[test]
fn notebooks_that_root_made_are_their_users_all_the_same() {
    let Some(vm) = machine(&["ada", "bob"]) else { return };
    vm.sh("mkdir -m 0777 /home/ada/notebooks; mkdir -m 0777 /srv/other; ln -s /srv/other /home/bob/notebooks").ok();
    vm.as_user("ada", "echo work >notebooks/a.ipynb").ok();
    vm.as_user("bob", "echo work >notebooks/b.ipynb").ok();
    let agent = vm.agent_start();
    agent.wait_ready();
    let _there = present(&vm, "ada");
    assert_eq!(survey(&vm, "ada")["files"], 1);
    assert_eq!(rescue(&vm, "ada")["files"], 1);
    assert_eq!(vm.read(&format!("{}/notebooks/a.ipynb", rescued("ada"))), "work\n");
    assert_eq!(survey(&vm, "bob")["files"], 0, "a link to somebody else's directory");
}

#[test]
fn a_hostile_home_gets_nothing_of_anybody_elses_and_costs_no_more_than_its_time() {
    let Some(vm) = machine(&["ada", "mallory"]) else { return };
    vm.as_user("ada", "mkdir notebooks; echo secret >notebooks/secret.ipynb; chmod 0600 notebooks/secret.ipynb").ok();
    vm.sh("echo hidden >/root/hidden").ok();
    vm.as_user(
        "mallory",
        "mkdir -p notebooks/sub notebooks/closed; cd notebooks; echo x >closed/x; echo mine >mine; chmod 0 closed; \
         ln -s /etc etc; ln -s /home/ada ada; ln -s /root root; ln -s /etc/passwd p.ipynb; ln -s / ../all; mkfifo pipe; \
         echo y >$'line\\nbreak\\e[2J'; ln /etc/passwd hard 2>/dev/null; echo z >unreadable; chmod 0 unreadable; \
         mkdir listed; echo x >listed/x; echo y >listed/y; chmod 0600 listed",
    );
    vm.sh("mknod -m 0666 /home/mallory/notebooks/device c 1 5; mkdir /home/mallory/notebooks/mounted; \
           mount --bind /home/ada /home/mallory/notebooks/mounted")
        .ok();
    let agent = vm.agent_start();
    agent.wait_ready();
    let _there = present(&vm, "mallory");
    let outside = || {
        let paths: Vec<PathBuf> = ["/etc", "/root", "/home/ada"].iter().map(|p| vm.path(p)).collect();
        hash_tree(&paths).expect("a tree")
    };
    let before = outside();
    let seen = survey(&vm, "mallory");
    assert_eq!((&seen["files"], &seen["whole"]), (&Value::from(3), &Value::from(false)), "{seen}");
    let saved = rescue(&vm, "mallory");
    assert_eq!(saved["files"], 2, "{saved}");
    assert!(saved["left"][0]["path"] == "notebooks/unreadable", "{saved}");
    // They are named, and another run would find no more.
    let mut unread: Vec<&str> = saved["unread"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    unread.sort_unstable();
    assert_eq!((unread, &saved["unfinished"]), (vec!["notebooks/closed", "notebooks/listed"], &Value::Null), "{saved}");
    let clean = |vm: &Sandbox| {
        let stolen = vm.sh(&format!("grep -rlE 'secret|hidden|root:' {SHARE}/notebooks/mallory"));
        assert_eq!(stolen.out, "", "nothing was copied for mallory that mallory cannot read");
        let owners = vm.sh(&format!("find {SHARE}/notebooks/mallory -printf '%u %y\\n' | sort -u")).ok().to_owned();
        assert_eq!(owners, "mallory d\nmallory f", "nothing of root's, and no link");
    };
    clean(&vm);

    // Swapped all the time, above and below.
    let swapper = vm.spawn_as(
        "mallory",
        "cd notebooks; while :; do echo w >sub/w; for t in /etc /root /home/ada; do mv sub s; ln -sT $t sub; rm sub; mv s sub; \
         rm -f sub/w; ln -s $t/passwd sub/w; rm -f sub/w; mkfifo sub/w; rm sub/w; echo w >sub/w; done; done 2>/dev/null",
    );
    for _ in 0..8 {
        survey(&vm, "mallory");
        rescue(&vm, "mallory");
    }
    drop(swapper);
    clean(&vm);

    // More than is looked at, and deeper.
    vm.as_user(
        "mallory",
        "mkdir notebooks/many; cd notebooks/many; seq 110000 | xargs -n 5000 touch; cd ..; \
         for i in $(seq 60); do mkdir deep 2>/dev/null; cd deep; done; echo d >d",
    )
    .ok();
    let began = std::time::Instant::now();
    let seen = survey(&vm, "mallory");
    assert!(seen["files"].as_u64().is_some_and(|n| (1000..=100_000).contains(&n)) && seen["whole"] == false, "{seen}");
    assert!(began.elapsed() < SOON / 3, "{:?}", began.elapsed());
    assert_eq!(outside(), before);

    // Only with a user's own numbers, and only into a directory of theirs.
    let mine = rescue_job(&vm, "mallory", 1);
    for (from, to) in
        [("notebooks/mallory", "notebooks/ada"), (INTO, "../../ada"), (INTO, ".ssh"), ("/home/mallory", "/home/ada")]
    {
        let refused = work(&vm, &mine.replace(from, to));
        assert!(refused["Failed"].is_object(), "{to}: {refused}");
    }
    assert!(vm.list(&format!("{SHARE}/notebooks/ada")).is_empty());
}

#[test]
fn a_share_that_is_full_and_deaths_on_the_way_lose_nothing_and_nothing_is_there_twice() {
    let Some(vm) = machine(&["ada"]) else { return };
    vm.as_user("ada", "mkdir notebooks; cd notebooks; for i in $(seq 40); do head -c 100K /dev/urandom >$i.bin; done")
        .ok();
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.as_user("ada", "true");
    let job = rescue_job(&vm, "ada", 1 << 30);
    let refused = work(&vm, &job);
    assert!(refused["Failed"]["details"][0].as_str().is_some_and(|why| why.contains("not mounted")), "{refused}");
    let there = present(&vm, "ada");
    let before = hash_tree(&[vm.path("/home/ada")]).expect("a tree");
    let whole =
        |name: &str| vm.sh(&format!("cmp /home/ada/notebooks/{name} {}/notebooks/{name}", rescued("ada"))).success();
    let names = || {
        let all = if vm.exists(&format!("{}/notebooks", rescued("ada"))) {
            vm.list(&format!("{}/notebooks", rescued("ada")))
        } else {
            Vec::new()
        };
        all.into_iter().filter(|n| n.ends_with(".bin")).collect::<Vec<_>>()
    };

    // No room for all of it: what is there is whole.
    vm.sh(&format!("mount -o remount,size=2m {SHARE}")).ok();
    let saved = rescue(&vm, "ada");
    assert!(saved["left"][0]["why"].as_str().is_some_and(|why| why.contains("no room")), "{saved}");
    let some = names();
    assert!((1..40).contains(&some.len()) && some.iter().all(|n| whole(n)), "{some:?}");
    vm.sh(&format!("mount -o remount,size=64m {SHARE}")).ok();
    // One that takes nothing at all is tried again.
    vm.sh(&format!("mount -o remount,ro {SHARE}")).ok();
    let saved = rescue(&vm, "ada");
    assert_eq!((&saved["whole"], &saved["unfinished"]), (&Value::from(false), &Value::from("Share")), "{saved}");
    vm.sh(&format!("mount -o remount,rw {SHARE}")).ok();

    // Killed again and again, each time a little later.
    vm.write("/run/job", &job);
    for pause in 1..=10 {
        vm.sh(&format!(
            "dsvm-agent worker --config /etc/dsvm-agent/agent.toml </run/job >/dev/null & pid=$!; \
             sleep 0.0{pause}; kill -KILL $pid; wait $pid; true"
        ));
        assert!(names().iter().all(|n| whole(n)), "what has a name is whole");
    }
    let saved = rescue(&vm, "ada");
    assert_eq!((&saved["files"], &saved["whole"]), (&Value::from(40), &Value::from(true)), "{saved}");
    assert_eq!(rescue(&vm, "ada")["already"], 40);
    assert_eq!(names().len(), 40);
    assert!(names().iter().all(|n| whole(n)));
    assert_eq!(vm.list(&rescued("ada")).iter().filter(|n| n.starts_with('.')).collect::<Vec<_>>(), [".last"]);
    assert_eq!(hash_tree(&[vm.path("/home/ada")]).expect("a tree"), before);
    assert!(vm.sh(&format!("cat {MOUNT_POINT}/notebooks/ada/rescued/{INTO}/READ-ME.txt")).out.contains("40 files"));
    drop(there);
}

//! A user whose "server" is anything: it is their own evidence that they spoil.

use super::{SOON, machine, wait_for, wait_row};

#[test]
fn whatever_a_users_server_does_is_that_users_evidence_and_nobody_elses() {
    let Some(vm) = machine(None, "") else { return };
    let home = |who: &str| if who == "root" { "/root".to_owned() } else { format!("/home/{who}") };
    let start = |who: &str, how: &str| {
        vm.sh(&format!("rm -f {}/ready", home(who)));
        let process = vm.spawn_as(who, &format!("exec -a jupyter-lab python3 /run/hostile.py {how}"));
        wait_for("it listens", SOON, || vm.exists(&format!("{}/ready", home(who))));
        process
    };
    let _ada = start("ada", "honest 8888");
    // Where a redirect leads, somebody listens.
    let _elsewhere = start("root", "elsewhere 9999");
    let agent = vm.agent_start();
    agent.wait_ready();
    let adas = || wait_row(&vm, &agent, "kernel", Some("ada"), "busy");
    adas();
    for how in ["silent", "endless", "drops", "garbage", "redirect"] {
        let bob = start("bob", &format!("{how} 7777"));
        let named = |row: &serde_json::Value| {
            let what = row["what"].as_str().unwrap_or_default();
            row["who"] == "bob" && row["state"] == "unknown" && what.contains("Jupyter server at 127.0.0.1:7777")
        };
        wait_for(how, SOON, || super::rows(&vm, "kernel").iter().any(named));
        adas();
        drop(bob);
        wait_for("bob has none", SOON, || super::rows(&vm, "kernel").iter().all(|r| r["state"] != "unknown"));
    }
    assert!(!vm.exists("/root/heard"), "a token went elsewhere: {}", vm.read("/root/heard"));

    // What hides from its own user is no proof that there is none.
    let bob = start("bob", "hidden 7777");
    let row = wait_row(&vm, &agent, "kernel", Some("bob"), "unknown");
    assert!(row["what"].as_str().is_some_and(|what| what.contains("lets nobody look into it")), "{row}");
    adas();
    drop(bob);

    // Words of his own are escaped, and short.
    let bob = start("bob", "claims 7777");
    wait_row(&vm, &agent, "kernel", Some("bob"), "busy");
    let text = vm.sh("dsvm-agent idle").out;
    assert!(!text.contains('\u{1b}') && text.contains("root") && text.len() < 4000, "{text:?}");
    drop(bob);

    // He says that ada's server is his: his word reaches it not.
    let _bob = start("bob", "liar 7777 8888");
    vm.sh("rm -f /home/ada/heard");
    let heard = || vm.sh("cat /home/ada/heard").out;
    wait_for("ada's is asked again", SOON, || heard().lines().count() >= 6);
    assert!(heard().lines().all(|line| line.ends_with("token of-honest")), "{}", heard());
    assert!(!vm.exists("/home/bob/heard") || !vm.read("/home/bob/heard").contains("of-honest"));
}

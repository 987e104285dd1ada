//! Homes that never answer: their users wait, and nobody else does.

use namespaces::{Process, SHARE, SOON, Sandbox, wait_for};
use std::path::Path;

/// Covers `directory` with a file system of `user`'s that never answers.
fn silence(vm: &Sandbox, directory: &str, user: &str) -> Process {
    std::fs::copy(env!("CARGO_BIN_EXE_silent"), vm.path("/run/bin/silent")).expect("a copy");
    let silent = vm.spawn_as("root", &format!("exec /run/bin/silent {directory} $(id -u {user})"));
    let mounted = format!(" {directory} rw");
    wait_for("the silent file system is mounted", SOON, || vm.mounts().contains(&mounted));
    silent
}

#[test]
fn a_home_that_never_answers_holds_up_its_user_alone() {
    if !Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: this kernel has no FUSE");
        return;
    }
    let Some(vm) = Sandbox::new("vm1") else { return };
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    vm.configure("");
    let silent = silence(&vm, "/home/ada", "ada");
    let agent = vm.agent_start();
    let helpers = || vm.sh("pgrep --count --exact dsvm:link").out.parse::<u32>().unwrap_or(0);
    wait_for("a helper waits in ada's home", SOON, || helpers() > 0 && agent.status()["counts"]["users"] == 2);

    // Everybody else has theirs meanwhile, those who come later too.
    vm.log_in("grace").ok();
    wait_for("grace's notebooks are mounted", SOON, || vm.is_mounted("notebooks/grace"));
    vm.as_user("grace", "echo 1 >~/notebooks/remote/a.ipynb").ok();
    vm.user("edsger");
    wait_for("edsger has his link", SOON, || vm.exists("/home/edsger/notebooks/remote"));

    agent.wait_problem("workspace.home-silent:ada");
    agent.wait_problem("agent.helper-stuck:ada");
    vm.log_in("ada").ok();
    agent.wait_looked();
    assert_eq!(helpers(), 1, "a second one would wait as well");
    assert_eq!(agent.status()["share"]["state"], "mounted");

    // Her home answers again.
    drop(silent);
    wait_for("the last helper in it has ended", SOON, || vm.sh("umount /home/ada").success());
    wait_for("ada has her link", SOON, || vm.exists("/home/ada/notebooks/remote"));
    agent.wait_no_problem();
    assert_eq!(vm.list(&format!("{SHARE}/notebooks")), ["ada", "edsger", "grace"]);
}

#[test]
fn a_helper_at_work_in_a_home_is_not_its_user() {
    if !Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: this kernel has no FUSE");
        return;
    }
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.user("ada");
    vm.configure("");
    let _silent = silence(&vm, "/home/ada", "ada");
    let agent = vm.agent_start();
    // It waits there for as long as it may, under her number: several looks at who is here fall into that.
    agent.wait_problem("workspace.home-silent:ada");
    agent.wait_looked();
    assert_eq!(agent.status()["counts"]["present"], 0);
    assert!(!vm.is_mounted("notebooks/ada"), "she never came");
}

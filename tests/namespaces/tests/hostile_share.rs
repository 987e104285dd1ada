//! A share on which somebody else, root of another VM, does what they like.

use namespaces::{MOUNT_POINT, SHARE, SOON, Sandbox, wait_for};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

fn machine(more: &str) -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "mallory"].iter().for_each(|name| vm.user(name));
    vm.configure(more);
    Some(vm)
}

/// Whose directory is seen at a user's mount point; nothing while it is not mounted.
fn owner(vm: &Sandbox, user: &str) -> Option<u32> {
    let meta = std::fs::metadata(vm.path(format!("{MOUNT_POINT}/notebooks/{user}"))).ok()?;
    // The guard's own directories are root's.
    Some(meta.uid()).filter(|uid| *uid != 0)
}

#[test]
fn directories_that_are_swapped_and_vanish_all_the_time_are_never_shown_to_another() {
    let Some(vm) = machine("[workspace]\nlinger = \"1s\"\n") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    let ids = ["ada", "mallory"].map(|name| {
        vm.as_user(name, "echo mine >~/notebooks/remote/whose || :");
        vm.sh(&format!("id -u {name}")).ok().trim().parse::<u32>().expect("a number")
    });
    let swap = vm.spawn_as(
        "root",
        &format!("cd {SHARE}/notebooks; while :; do mv -T ada x; mv -T mallory ada; mv -T x mallory; done"),
    );
    let until = Instant::now() + Duration::from_secs(8);
    let mut seen = 0;
    while Instant::now() < until {
        // Each comes and goes, so that their directory is looked at, mounted and let go again and again.
        for (name, id) in ["ada", "mallory"].iter().zip(ids) {
            vm.sh(&format!("PAM_TYPE=account PAM_USER={name} timeout 1 dsvm-agent login-hook")).ok();
            if let Some(uid) = owner(&vm, name) {
                assert_eq!(uid, id, "{name} is shown another's directory\n{}", agent.describe());
                seen += 1;
            }
        }
    }
    drop(swap);
    println!("mounted {seen} times in between");
    // It is put in order again: everybody has what is theirs.
    vm.sh(&format!(
        "cd {SHARE}/notebooks; for d in ada mallory x; do [ -d $d ] || continue; mv -T $d .$(stat -c %U $d); done; \
         for u in ada mallory; do mv -T .$u $u; done"
    ))
    .ok();
    for (name, id) in ["ada", "mallory"].iter().zip(ids) {
        wait_for(&format!("{name} has their notebooks again\n{}", agent.describe()), SOON, || {
            vm.log_in(name).ok();
            owner(&vm, name) == Some(id)
        });
    }
    agent.wait_no_problem();
}

#[test]
fn what_lies_in_a_directory_is_nobodys_business_however_much_it_is() {
    let entries: u64 = std::env::var("DSVM_ENTRIES").ok().and_then(|s| s.parse().ok()).unwrap_or(50_000);
    let Some(vm) = machine("[workspace]\nmount = \"always\"\n") else { return };
    vm.sh(&format!(
        "install -d -m 0711 {SHARE}/notebooks; install -d -m 0700 -o mallory -g mallory {SHARE}/notebooks/mallory"
    ))
    .ok();
    let directory = vm.path(format!("{SHARE}/notebooks/mallory"));
    std::fs::write(directory.join("0"), "").expect("a file");
    for n in 1..entries {
        std::fs::hard_link(directory.join("0"), directory.join(format!("{n}"))).expect("a link");
    }
    // What a client of SMB would take for a link to /etc (Minshall+French), and what a link to it would be here.
    let text = format!("XSym\n0004\n{}\n/etc\n", "0".repeat(32));
    std::fs::write(directory.join("xsym"), format!("{text:<1067}")).expect("a file");
    std::os::unix::fs::symlink("/etc/shadow", directory.join("shadow")).expect("a link");
    let agent = vm.agent_start();
    let start = Instant::now();
    for name in ["ada", "mallory"] {
        wait_for(&format!("{name} is served"), SOON, || vm.is_mounted(&format!("notebooks/{name}")));
    }
    println!("{entries} entries: everybody is served after {} ms", start.elapsed().as_millis());
    agent.wait_ready();
    agent.wait_no_problem();
    assert_eq!(vm.as_user("mallory", "cat ~/notebooks/remote/shadow").code, 1, "a link leads where its user may go");
}

//! Somebody who trusts nothing that the agent says, and looks at what it promised.

use crate::world::{TRUTH, World};
use namespaces::MOUNT_POINT;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `status` has to answer within this.
const ANSWER: Duration = Duration::from_secs(10);
/// Ends with 4 when `status` does not answer.
const ASK: &str = "timeout --signal=KILL 10 dsvm-agent status >/dev/null 2>&1; [ $? -ge 124 ] && exit 4; exit 0";
/// A bind of the guard alone shows what lies under all that is mounted on it.
const UNDER: &str = "unshare --mount --propagation private bash -c 'mount --bind $1 /srv/under && \
    find /srv/under ! -type d ! -iname \"*share-not-mounted*\"' under";
/// The pattern comes from a file: it would be found in this command itself.
const SECRETS: &str = "grep -rlsIFf /root/secret /run /var/lib /tmp /home; grep -lsFf /root/secret /proc/[0-9]*/environ \
    /proc/[0-9]*/cmdline";

/// What an observer saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many times it looked.
    pub rounds: u32,
    /// The longest that `status` took to answer, with the time that its start takes.
    pub slowest: Duration,
    /// What must never be.
    pub wrong: Vec<String>,
}

/// Looks until `over`, and then once more, or until something is wrong.
pub fn observe(world: &World, over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let _ = std::fs::create_dir(world.vm.path("/srv/under"));
    loop {
        let last = over.load(Ordering::SeqCst);
        look(world, &mut seen, last);
        seen.rounds += 1;
        if last || !seen.wrong.is_empty() {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn look(world: &World, seen: &mut Seen, whole: bool) {
    let vm = &world.vm;
    let mut wrong = |what: String| seen.wrong.push(what);
    if !world.files_are_whole() {
        wrong("files of users are not as they were".to_owned());
    }
    let lost = world.lost();
    if !lost.is_empty() {
        wrong(format!("what was written is not there: {lost:?}"));
    }
    let status = world.status();
    if status["idle"]["verdict"] == "idle" {
        wrong(format!("a VM on which grace works is called idle: {}", status["idle"]));
    }
    for user in ["ada", "grace"] {
        use std::os::unix::fs::MetadataExt;
        let owner = |path: String| std::fs::metadata(vm.path(path)).ok().map(|m| m.uid());
        let (seen, own) = (owner(format!("{MOUNT_POINT}/notebooks/{user}")), owner(format!("/home/{user}")));
        // The guard's own directory is root's.
        if seen.is_some_and(|uid| uid != 0 && Some(uid) != own) {
            wrong(format!("{user} is shown what belongs to {seen:?}"));
        }
    }
    let began = Instant::now();
    if vm.sh(ASK).code == 4 {
        wrong(format!("status does not answer within {} s", ANSWER.as_secs()));
    }
    seen.slowest = seen.slowest.max(began.elapsed());
    if seen.rounds.is_multiple_of(4) || whole {
        seen.wrong.extend(seldom(world));
    }
}

/// What takes longer to look at.
fn seldom(world: &World) -> Vec<String> {
    let vm = &world.vm;
    let mut wrong = Vec::new();
    let under = vm.sh(&format!("{UNDER} {MOUNT_POINT}")).out;
    if !under.is_empty() {
        wrong.push(format!("this lies where the share is to be, not on it: {under}"));
    }
    let read = format!(
        "cat {MOUNT_POINT}/notebooks/*/log {MOUNT_POINT}/notebooks/*/data/* /run/dsvm-agent/share/root/notebooks/*/log \
         /run/dsvm-agent/status/full.json {TRUTH}/notebooks/ada/log"
    );
    let stolen = vm.as_user("mallory", &format!("({read}) 2>/dev/null | head -c 40")).out;
    if !stolen.is_empty() {
        wrong.push(format!("mallory reads what is others': {stolen:?}"));
    }
    let places = vm.sh(SECRETS).out;
    if !places.is_empty() {
        wrong.push(format!("a secret is in {places}"));
    }
    wrong
}

//! Deaths at every call that others see the effect of, in turn: whoever starts anew comes to the same state.

use crate::dice::Dice;
use crate::world::{TRUTH, prepared, settings};
use namespaces::{MOUNT_POINT, Process, SOON, Sandbox, wait_for};
use std::time::Instant;

/// As a machine is on which no agent ran yet, and a share on which ada has files from another.
const ANEW: &str = r#"
for p in $(pgrep --full '^dsvm-agent (run|brain|worker)'; pgrep '^dsvm:'); do kill -KILL $p; done
for m in $(findmnt --list --noheadings --output TARGET | grep -E '^(/srv/data|/run/dsvm-agent)' | tac); do umount -l $m; done
rm -rf /run/dsvm-agent /srv/data /srv/truth/* /srv/truth/.dsvm-agent /home/*/notebooks /home/*/team
install -d -m 0711 /srv/truth/notebooks
install -d -m 0700 -o ada -g ada /srv/truth/notebooks/ada
cp -a /home/ada/data /srv/truth/notebooks/ada/
mkdir /srv/truth/mine; echo mine >/srv/truth/mine/file"#;
/// All that is there, but for what has chance or time in it, and what a death left of an entry in the share's books that was
/// being made: it has a name of its own there, and nobody reads it.
const STATE: &str = r#"
findmnt --list --noheadings --output TARGET,FSROOT,FSTYPE,OPTIONS | grep -E '^(/srv/data|/run/dsvm-agent)' | sort
cd /; find home srv/truth run/dsvm-agent/last-good.json -printf '%p %y %U %m %l\n' | grep -v /identities/new/ | sort |
    sed -E 's:(nodes|pool|log)/.+ f :\1/… f :; s:pool/[0-9a-f]+ :pool/… :; s:/[0-9TZ]+\.vm1 :/TIME.vm1 :'
find home srv/truth -type f ! -path '*/.dsvm-agent/*' -exec sha256sum {} + | sort
unshare --mount --propagation private bash -c 'mkdir -p /srv/under; mount --bind /srv/data /srv/under; find /srv/under | sort'
pgrep --full --list-full '^dsvm-agent'; true"#;

fn machine() -> Option<Sandbox> {
    let vm = prepared()?;
    let shared = "[[shared]]\ndirectory = \"team\"\nlink = \"team\"\n";
    vm.configure(
        &settings(false).replace("linger = \"3s\"", "mount = \"always\"").replace("[idle]", &format!("{shared}[idle]")),
    );
    std::fs::copy(env!("CARGO_BIN_EXE_strike"), vm.path("/run/bin/strike")).expect("a copy");
    vm.sh("mkdir /srv/under").ok();
    Some(vm)
}

/// The calls at which a death comes, of so many: chance says which, in `DSVM_CHAOS_DEATHS` stretches of the same length.
fn turns(calls: u64, dice: &mut Dice) -> Vec<u64> {
    let wanted = std::env::var("DSVM_CHAOS_DEATHS").unwrap_or_default();
    let wanted = if wanted == "all" { calls } else { wanted.parse().unwrap_or(4).clamp(1, calls) };
    (0..wanted).map(|i| dice.within(1 + i * calls / wanted..1 + (i + 1) * calls / wanted)).collect()
}

/// How many calls there were, and what was struck.
fn counted(text: &str) -> (u64, &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let calls = words.get(1).and_then(|n| n.parse().ok());
    (calls.unwrap_or_else(|| panic!("no count: {text:?}")), words.get(3).copied().unwrap_or_default())
}

#[test]
fn a_death_at_any_call_of_the_first_round_leaves_nothing_that_the_next_one_does_not_heal() {
    let Some(vm) = machine() else { return };
    let mut dice = Dice::new("first round");
    let strike = |when: u64, whom: &str| {
        vm.sh(ANEW).ok();
        vm.sh(&format!("strike {when} {whom} dsvm-agent run --once 2>/tmp/err")).ok().to_owned()
    };
    let (calls, _) = counted(&strike(0, "all"));
    let good = vm.sh(STATE).ok().to_owned();
    assert!(good.contains("/srv/data/notebooks/grace") && calls > 100, "{calls} calls\n{good}");
    let (turns, began) = (turns(calls, &mut dice), Instant::now());
    for when in &turns {
        let whom = dice.one(&["all", "one"]);
        let told = strike(*when, whom);
        let next = vm.sh("dsvm-agent run --once");
        let is = vm.sh(STATE).ok().to_owned();
        let differs = difference(&good, &is);
        assert!(
            next.success() && differs.is_empty(),
            "killed at {when}, {whom}: {told}\nthe next one: {}{}{}\n{differs}",
            next.code,
            next.out,
            next.err
        );
    }
    println!("{} deaths at {calls} calls in {:.1} s", turns.len(), began.elapsed().as_secs_f64());
}

#[test]
fn a_death_at_any_call_of_the_service_forgets_nothing_that_it_confirmed() {
    let Some(vm) = machine() else { return };
    let mut dice = Dice::new("service");
    let (calls, _) = serve(&vm, 0, "all").0;
    let (turns, began) = (turns(calls, &mut dice), Instant::now());
    let mut confirmed = 0;
    for when in &turns {
        let whom = dice.one(&["all", "one"]);
        let ((_, struck), kept) = serve(&vm, *when, whom);
        let agent = vm.agent_start();
        agent.wait_ready();
        let at = format!("killed at {when}, {whom}: {struck}");
        let keeps = || agent.status()["idle"]["keeps"].as_array().map_or(0, Vec::len);
        if kept {
            confirmed += 1;
            wait_for(&format!("what was confirmed is in force, {at}"), SOON, || keeps() == 1);
        }
        agent.wait_no_problem();
        for user in ["ada", "grace"] {
            wait_for(&format!("{user} is served, {at}"), SOON, || vm.is_mounted(&format!("notebooks/{user}")));
        }
        vm.sh("diff -r /home/ada/data /srv/truth/notebooks/ada/data").ok();
        let under = format!(
            "unshare --mount --propagation private bash -c 'mount --bind {MOUNT_POINT} /srv/under; \
             find /srv/under -type f ! -iname \"*share-not-mounted*\"'"
        );
        assert_eq!(vm.sh(&under).out, "", "{at}");
        assert_eq!(vm.list(TRUTH), [".dsvm-agent", "mine", "notebooks", "team"], "{at}");
        assert_eq!(agent.stop(), 0);
    }
    println!(
        "{} deaths at {calls} calls in {:.1} s; {confirmed} keeps were confirmed before",
        turns.len(),
        began.elapsed().as_secs_f64()
    );
}

/// The service's first moments, in which ada logs in and keeps the VM, with a death at call `when`. What the striker told,
/// and whether the keep was confirmed.
fn serve(vm: &Sandbox, when: u64, whom: &str) -> ((u64, String), bool) {
    vm.sh(ANEW).ok();
    vm.sh("rm -f /tmp/struck /tmp/kept").ok();
    let strike: Process = vm.spawn_as(
        "root",
        &format!("strike {when} {whom} dsvm-agent run >/tmp/struck.new 2>/tmp/err; mv /tmp/struck.new /tmp/struck"),
    );
    // As soon as it listens, until it is dead, and not for ever where its death left it without an ear.
    let ask = "for i in $(seq 60); do [ -e /tmp/struck ] && exit; dsvm-agent keep 1h >/dev/null 2>&1 && touch /tmp/kept && exit; \
               sleep 0.05; done";
    vm.sh(ask).ok();
    vm.log_in("ada");
    vm.sh("[ -e /tmp/struck ] || dsvm-agent wait --timeout 3s; for p in $(pgrep --full '^dsvm-agent run'); do kill -TERM $p; done");
    wait_for("it ended", SOON, || vm.exists("/tmp/struck"));
    drop(strike);
    let told = vm.read("/tmp/struck");
    let (calls, struck) = counted(&told);
    ((calls, struck.to_owned()), vm.exists("/tmp/kept"))
}

/// The lines that only one of them has.
fn difference(good: &str, is: &str) -> String {
    let lines = |a: &str, b: &str, sign: &str| {
        let there: std::collections::HashSet<&str> = b.lines().collect();
        a.lines().filter(|l| !there.contains(l)).map(|l| format!("{sign} {l}\n")).collect::<String>()
    };
    lines(good, is, "-") + &lines(is, good, "+")
}

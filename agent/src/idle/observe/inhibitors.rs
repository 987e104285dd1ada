//! systemd's inhibitors: whoever holds one that blocks idleness or shutdown wants the machine to stay
//! (systemd-inhibit(1)). Over SSH any user may hold one against idleness without being asked for a password.
//!
//! logind is asked over the system bus (org.freedesktop.login1(5), `ListInhibitors`), by systemd's own busctl(1): its
//! files below `/run/systemd/inhibit` are nobody's interface.

use super::Roots;
use crate::idle::model::{Level, Seen};
use crate::sys::{program, systemd};
use serde::Deserialize;

/// What nobody needs to be told of: it is the agent's own.
const OWN: &str = "dsvm-agent";
/// The longest reason that is passed on, in characters.
const LONGEST: usize = 100;

/// The answer, as busctl prints it.
#[derive(Deserialize)]
struct Answer {
    data: (Vec<Inhibitor>,),
}

/// What is blocked, who says so, why, how, the holder's user and process.
type Inhibitor = (String, String, String, String, u32, u32);

/// Looks. A machine without systemd has no inhibitors; one whose bus or logind gives no answer cannot be told.
pub fn look(roots: &Roots, counts: &dyn Fn(u32) -> bool) -> Seen {
    if !systemd::booted(&roots.root) {
        return Seen::Absent;
    }
    let call =
        ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "ListInhibitors"];
    let arguments = ["--system", "--json=short", "--timeout=5", "call"].into_iter().chain(call);
    match program::run("/usr/bin/busctl", arguments) {
        Ok(text) => parse(&text, counts),
        Err(why) => Seen::Unreadable(format!("logind: {why}")),
    }
}

/// What an answer of logind's says, as `busctl --json` prints it. `counts` says whose inhibitors count.
pub fn parse(text: &[u8], counts: &dyn Fn(u32) -> bool) -> Seen {
    let Ok(Answer { data: (all,) }) = serde_json::from_slice(text) else {
        return Seen::Unreadable("logind: its answer makes no sense".to_owned());
    };
    let blocks = |what: &str, mode: &str| {
        // `block-weak` (systemd 257) gives way to whoever insists, and autoscale does not ask.
        mode.starts_with("block") && what.split(':').any(|w| matches!(w, "idle" | "shutdown"))
    };
    let holds = all.into_iter().filter(|(what, who, _, mode, uid, _)| {
        blocks(what, mode) && (*uid == 0 || counts(*uid)) && !(*uid == 0 && who == OWN)
    });
    let level = |(_, who, why, _, uid, _): Inhibitor| {
        let text = if why.is_empty() { who } else { format!("{why} ({who})") };
        Level { who: Some(uid), value: 1.0, what: Some(text.chars().take(LONGEST).collect()), ..Level::default() }
    };
    Seen::Levels(holds.map(level).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    #[test]
    fn only_what_blocks_leaving_counts() {
        let text = br#"{"type":"a(ssssuu)","data":[[
            ["shutdown:idle","systemd-inhibit","night run","block",1001,812],
            ["idle","x","","block-weak",1002,813],
            ["sleep","NetworkManager","turns off","delay",0,1],
            ["shutdown","Unattended Upgrades Shutdown","stops","delay",0,2],
            ["handle-lid-switch","gnome","x","block",1001,3],
            ["shutdown","dsvm-agent","in use","block",0,4],
            ["shutdown","packagekit","packages","block",0,5],
            ["shutdown","service","x","block",997,6]]]}"#;
        let Seen::Levels(levels) = parse(text, &|uid| uid >= 1000) else { panic!("it can be read") };
        let told: Vec<_> = levels.iter().map(|l| (l.who.unwrap(), l.what.clone().unwrap())).collect();
        let expected = [(1001, "night run (systemd-inhibit)"), (1002, "x"), (0, "packages (packagekit)")];
        assert_eq!(told, expected.map(|(uid, what)| (uid, what.to_owned())));
    }

    #[test]
    fn no_systemd_is_a_fact_and_no_bus_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { root: dir.path().into(), ..Roots::default() };
        assert_eq!(look(&roots, &|_| true), Seen::Absent);
        std::fs::create_dir_all(dir.path().join("run/systemd/system")).unwrap();
        if !Path::new("/run/systemd/system").exists() {
            assert!(matches!(look(&roots, &|_| true), Seen::Unreadable(_)));
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_unreadable(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert!(matches!(parse(&text, &|_| true), Seen::Unreadable(_) | Seen::Levels(_)));
        }
    }
}

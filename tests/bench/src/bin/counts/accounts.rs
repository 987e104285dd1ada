//! Who there is, and what is configured.

use crate::Turn;
use crate::machine::{self, CONFIGURATION, FIRST, NOW, PEOPLE};
use dsvm_agent::config;
use dsvm_agent::worker::client;
use dsvm_agent::worker::job::{Answer, Job};
use dsvm_agent::workspace::groups;
use dsvm_agent::workspace::model::Found;
use std::fmt::Write as _;
use std::hint::black_box;

/// The configuration's text becomes settings.
pub fn configuration() -> Turn {
    Box::new(|| {
        let texts = vec![("/etc/dsvm-agent/agent.toml".into(), black_box(CONFIGURATION).to_owned())];
        black_box(config::from_texts(texts)).expect("no mistake");
    })
}

/// The groups of everybody, from the text of group(5).
pub fn groups() -> Turn {
    let names: Vec<String> = (0..PEOPLE).map(machine::name).collect();
    let mut text = String::from("root:x:0:\nusers:x:100:\n");
    for (gid, name) in (FIRST..).zip(&names) {
        let _ = writeln!(text, "{name}:x:{gid}:");
    }
    for team in 0..40 {
        let members: Vec<&str> = names.iter().skip(team).step_by(40).map(String::as_str).collect();
        let _ = writeln!(text, "team{team}:x:{}:{}", 5000 + team, members.join(","));
    }
    Box::new(move || {
        let groups = groups::parse(black_box(&text));
        for (gid, name) in (FIRST..).zip(&names) {
            let (ids, _) = black_box(groups.of(name, gid));
            assert_eq!(ids.len(), 2);
        }
    })
}

/// A worker's answer, with an account for everybody, is read, and nothing about them is new.
pub fn accounts() -> Turn {
    let found = Found { accounts: machine::accounts(), whole: true, ..Found::default() };
    let answer = serde_json::to_vec(&Answer::Accounts(found)).expect("it can be written");
    let job = Job::Accounts { from: 1000, to: 60_000, names: Vec::new() };
    let mut engine = machine::engine();
    Box::new(move || {
        engine.absorb(1, &job, client::parse(black_box(&answer)), false, NOW);
        assert!(engine.users.users.values().all(|record| record.linked.is_some()), "nobody is new");
    })
}

//! README.md: its pictures, its commands and its examples are true.

use cli::page::{blocks, commands, read, spans};
use cli::{Configuration, program, run};
use dsvm_agent::config::settings::Kind;
use dsvm_agent::share::model::ShareState;
use dsvm_agent::status::age::Moment;
use dsvm_agent::status::model::{
    Agent, Counts, Health, Node, OwnView, ProblemView, SCHEMA, ShareView, Status, UserState, UserView, WorkspaceView,
};
use dsvm_agent::status::public::public;
use dsvm_agent::status::render::{Context, render};
use dsvm_agent::workspace::decide::link_problem;
use dsvm_agent::workspace::model::{Account, Link};
use std::process::Command;
use std::time::Duration;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn user(name: &str, uid: u32, state: UserState) -> UserView {
    let (directory, link) = (format!("notebooks/{name}"), format!("/home/{name}/notebooks/remote"));
    UserView { name: name.to_owned(), uid, state, mounted: state == UserState::Ready, directory, link, last_time: None }
}

/// Four users on a VM of a pool: bob has a link of his own where the agent's belongs.
fn status() -> Status {
    let users = [
        ("alice", UserState::Ready),
        ("bob", UserState::Problem),
        ("carol", UserState::Ready),
        ("dave", UserState::Ready),
    ];
    let users: Vec<_> = (1001..).zip(users).map(|(uid, (name, state))| user(name, uid, state)).collect();
    let bob = Account {
        name: "bob".to_owned(),
        uid: 1002,
        gid: 1002,
        groups: Vec::new(),
        named_groups: Default::default(),
        home: "/home/bob".into(),
        shell: "/bin/bash".into(),
    };
    let occupied = link_problem(&bob, "notebooks/remote", &Link::Elsewhere { target: "/data/bob".into() }, true)
        .expect("a problem");
    let at = |time: &str| format!("2026-03-04T{time}Z");
    Status {
        schema: SCHEMA,
        agent: Agent {
            version: VERSION.to_owned(),
            started_at: at("08:50:00"),
            pass: 42,
            pass_at: at("12:00:00"),
            pass_ms: 3.1,
            boot_id: "boot".to_owned(),
            pass_boottime_s: 11_516.0,
        },
        node: Node { name: "dsvmpool_7".to_owned(), vm_id: None, location: None, scale_set: None },
        health: Health::Degraded,
        problems: vec![ProblemView::new(occupied, at("11:56:04"))],
        counts: Counts { users: 4, ready: 3, problems: 1, present: 2, waiting: 0 },
        share: ShareView {
            kind: Some(Kind::Smb),
            source: Some("//contosods.file.core.windows.net/dsvmshare".to_owned()),
            mount_point: Some("/datamnt/dsvmshare".to_owned()),
            state: ShareState::Mounted,
            since: Some(at("08:50:04")),
            probe_ms: Some(2.1),
            bytes_total: None,
            bytes_free: None,
            protocol: Some("SMB 3.1.1, encrypted".to_owned()),
            open: false,
        },
        workspace: WorkspaceView { link: Some("notebooks/remote".to_owned()) },
        shared: Vec::new(),
        users,
        idle: None,
        scale_set: None,
    }
}

fn terminal(home: &str) -> Context {
    Context {
        now: Moment { boottime: Duration::from_secs(11_520), boot_id: "boot".to_owned() },
        width: Some(112),
        colour: false,
        symbols: true,
        unicode: true,
        home: Some(home.to_owned()),
        is_root: home == "/root",
    }
}

#[test]
fn the_pictures_are_what_the_program_prints() {
    let status = status();
    let user = Some(status.users[0].clone());
    let alice = OwnView { user, problems: Vec::new(), idle: None, elsewhere: Default::default() };
    let seen =
        [render(&status, None, &terminal("/root")), render(&public(&status), Some(&alice), &terminal("/home/alice"))];
    assert_eq!(blocks(&read("README.md"), "text"), seen, "\n{}\n{}", seen[0], seen[1]);
}

#[test]
fn the_example_is_a_configuration() {
    let [example] = &blocks(&read("README.md"), "toml")[..] else { panic!("one example") };
    assert_is_configuration(example);
}

/// `config check` finds nothing wrong with it but that the key's file is not here.
#[track_caller]
fn assert_is_configuration(text: &str) {
    let configuration = Configuration::new(&[("agent.toml", text)]);
    let outcome = run(Command::new(program()).args(["config", "check"]).arg(configuration.path("agent.toml")));
    let mistakes: Vec<_> = outcome.out.lines().filter(|line| line.contains("agent.toml:")).collect();
    assert!(matches!(&mistakes[..], [one] if one.contains("/etc/dsvm-agent/share.key: ")), "{outcome:?}\n{text}");
}

#[test]
fn no_command_of_the_program_is_left_out() {
    let commands = commands(&read("README.md"));
    let help = run(Command::new(program()).arg("--help")).out;
    let section = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("commands");
    for name in section.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        let told = commands.iter().any(|command| command.split(' ').take(2).eq(["dsvm-agent", name]));
        assert!(told, "README.md says nothing of `dsvm-agent {name}`");
    }
}

#[test]
fn the_two_commands_stand_at_the_top_and_ci_runs_the_second() {
    let page = read("README.md");
    assert_eq!(blocks(&page, "sh").first().map(String::as_str), Some("cargo xtask demo\ncargo xtask test\n"));
    assert!(read(".ci/run").lines().any(|line| line.split(" || ").next() == Some("cargo xtask test")));
    assert!(read(".github/workflows/ci.yml").contains("run: .ci/run\n"));
}

#[test]
fn the_package_that_it_names_is_the_one_that_is_built() {
    let page = read("README.md");
    let packages: Vec<_> = spans(&page).into_iter().filter(|span| span.ends_with(".deb")).collect();
    assert_eq!(packages, [format!("dist/dsvm-agent_{VERSION}_amd64.deb")]);
}

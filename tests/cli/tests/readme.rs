//! README.md: its pictures, its commands and its examples are true.

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
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced blocks of a page that are marked as `kind`.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let parts: Vec<&str> = page.split("```").collect();
    let marked = parts.iter().skip(1).step_by(2).filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n'));
    marked.map(str::to_owned).collect()
}

/// What stands between backticks outside the fenced blocks.
fn spans(page: &str) -> Vec<String> {
    let prose: String = page.split("```").step_by(2).collect();
    prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
}

/// Every command of the page, in blocks and in sentences, without `sudo`.
fn commands(page: &str) -> Vec<String> {
    let lines = blocks(page, "sh").join("").lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(!lines.is_empty());
    let written = spans(page).into_iter().filter(|span| {
        let first = span.split(' ').next().unwrap_or_default();
        span.contains(' ') && ["sudo", "cargo", "dsvm-agent", "systemctl", "az", "apt-get"].contains(&first)
    });
    lines.into_iter().chain(written).map(|line| line.trim_start_matches("sudo ").to_owned()).collect()
}

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
        group_names: Vec::new(),
        home: "/home/bob".into(),
        shell: "/bin/bash".into(),
    };
    let occupied =
        link_problem(&bob, "notebooks/remote", &Link::Elsewhere { target: "/data/bob".into() }).expect("a problem");
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
        counts: Counts { users: 4, ready: 3, problems: 1, present: 2 },
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
        },
        workspace: WorkspaceView { link: Some("notebooks/remote".to_owned()) },
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
fn every_command_is_known_to_what_it_calls() {
    let agent = program().to_owned();
    let cargo = |package: &str| {
        // target/PROFILE/dsvm-agent
        let target = agent.ancestors().nth(2).expect("a target directory");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", package, "--target-dir"]).arg(target).current_dir(root());
        assert!(cargo.status().expect("cargo runs").success(), "{package} does not build");
        target.join("debug").join(package)
    };
    let xtask = cargo("xtask");
    for command in commands(&read("README.md")) {
        let words: Vec<String> = command.replace(['[', ']'], "").split_whitespace().map(str::to_owned).collect();
        let (called, arguments) = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["cargo", "xtask", ..] => (&xtask, &words[2..]),
            ["dsvm-agent", ..] => (&agent, &words[1..]),
            // Then a test has to run it, and this test has to know which one does.
            _ => panic!("no test runs `{command}`"),
        };
        // Everything before `--help` is read, and refused if it is wrong; nothing is done.
        let outcome = run(Command::new(called).args(arguments).arg("--help"));
        assert_eq!(outcome.code, 0, "{command}: {outcome:?}");
    }
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
fn what_it_points_to_is_there() {
    let page = read("README.md");
    let rooms = ["agent/", "packaging/", "cloud-init/", "tests/"];
    let named = spans(&page).into_iter().filter(|span| rooms.iter().any(|room| span.starts_with(room)));
    let linked = page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned);
    for path in named.chain(linked) {
        assert!(root().join(&path).exists(), "there is no {path}");
    }
    let packages: Vec<_> = spans(&page).into_iter().filter(|span| span.ends_with(".deb")).collect();
    assert_eq!(packages, [format!("dist/dsvm-agent_{VERSION}_amd64.deb")]);
}

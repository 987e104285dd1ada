//! `dsvm-agent config check` and `dsvm-agent config show`, as people run them.

use cli::{Configuration, Outcome, program, run};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

const SHARE: &str = "[share]\nsource = \"//host/share\"\nmount_point = \"/data/no-such-share\"\n";
const KEY: &str = "[share.credentials]\nfile = \"/etc/dsvm-agent/no-such.key\"\n";

fn agent(configuration: &Configuration, arguments: &[&str]) -> Outcome {
    let mut outcome = run(Command::new(program()).args(arguments));
    outcome.out = configuration.without_directory(&outcome.out);
    outcome.err = configuration.without_directory(&outcome.err);
    outcome
}

fn check(configuration: &Configuration) -> Outcome {
    let file = configuration.path("agent.toml");
    agent(configuration, &["config", "check", file.to_str().expect("text")])
}

#[test]
fn a_good_file_is_good() {
    let outcome = check(&Configuration::new(&[("agent.toml", "[workspace]\nlinger = \"5m\"\n")]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.out.contains("agent.toml: no mistakes\n"), "{outcome:?}");
}

#[test]
fn every_mistake_is_shown_with_file_line_and_column() {
    let outcome = check(&Configuration::new(&[
        ("agent.toml", "[share]\nsource = \"dsvmshare\"\nmount_point = \"/mnt/x\"\nmountpoint = 1\n"),
        ("agent.d/10-team.toml", "[workspace]\nlinger = 30\nlink = [\n"),
    ]));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    for says in [
        "agent.toml:2:10: share.source is no share",
        "agent.toml:3:15: share.mount_point cannot be under /mnt",
        "agent.toml:4:1: unknown key `share.mountpoint`: did you mean `share.mount_point`?",
        "agent.d/10-team.toml:2:10: workspace.linger has no unit",
        "agent.d/10-team.toml:3:9: this is not TOML",
        "5 mistakes",
    ] {
        assert!(outcome.out.contains(says), "{says}\n{}", outcome.out);
    }
    assert!(!outcome.out.contains("panicked") && outcome.err.is_empty(), "{outcome:?}");
}

#[test]
fn a_missing_file_is_named() {
    let outcome = check(&Configuration::new(&[]));
    assert_eq!(
        (outcome.code, outcome.out.lines().next()),
        (1, Some("agent.toml: cannot be read: No such file or directory"))
    );
}

#[test]
fn an_unreadable_fragment_is_named_with_the_reason() {
    let configuration = Configuration::new(&[("agent.toml", ""), ("agent.d/10-secret.toml", "")]);
    let fragment = configuration.path("agent.d/10-secret.toml");
    fs::set_permissions(&fragment, fs::Permissions::from_mode(0o000)).expect("a change of mode");

    // Root reads everything: as somebody else then, with a copy of the program where they can reach it.
    let copy = configuration.path("dsvm-agent");
    fs::copy(program(), &copy).expect("a copy");
    let mut command = Command::new(&copy);
    command.args(["config", "check"]).arg(configuration.path("agent.toml"));
    if fs::metadata(&copy).expect("a copy").uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let outcome = run(&mut command);
    let out = configuration.without_directory(&outcome.out);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(out.contains("agent.d/10-secret.toml: cannot be read: Permission denied\n"), "{out}");
}

#[test]
fn show_names_places_and_no_secret() {
    let file = "[workspace]\nlinger = \"5m\"\n";
    let configuration = Configuration::new(&[("agent.toml", &format!("{SHARE}{KEY}{file}"))]);
    let path = configuration.path("agent.toml");
    let outcome = agent(&configuration, &["--config", path.to_str().expect("text"), "config", "show"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for (key, place) in [("source ", "# agent.toml:2"), ("linger ", "# agent.toml:7"), ("link ", "# default")] {
        let line = outcome.out.lines().find(|line| line.starts_with(key)).expect(key);
        assert!(line.ends_with(place), "{line}");
    }

    // What is shown is a configuration with the same meaning.
    let again = Configuration::new(&[("agent.toml", &outcome.out)]);
    let path = again.path("agent.toml");
    let shown = agent(&again, &["--config", path.to_str().expect("text"), "config", "show"]);
    let values = |text: &str| text.lines().map(|l| l.split("  # ").next().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(values(&shown.out), values(&outcome.out));
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    let text =
        format!("{SHARE}[share.credentials]\npassword = \"S3cret\"\n[share.smb]\noptions = [\"password=S3cret\"]");
    let configuration = Configuration::new(&[("agent.toml", &text)]);
    let outcome = check(&configuration);
    assert_eq!(outcome.code, 1);
    assert!(!outcome.out.contains("S3cret") && !outcome.err.contains("S3cret"), "{outcome:?}");
}

#[test]
fn wrong_usage_exits_2() {
    let configuration = Configuration::new(&[]);
    for arguments in
        [&["config"][..], &["config", "chek"], &["config", "check", "a", "b"], &["config", "show", "--json"]]
    {
        let outcome = agent(&configuration, arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}: {outcome:?}");
    }
}

/// What the package ships as documentation is a configuration, with every key in it, and with the defaults that the
/// program really has.
#[test]
fn the_documented_example_is_complete_and_right() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/deb/agent.toml");
    let text = fs::read_to_string(example).expect("the example");
    // `# ` explains; `#` alone hides a setting.
    let hidden = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
    // The key comes from one place: the lines about the others stay hidden.
    let file = ["#file "];
    let systemd = ["#systemd_credential "];
    let vault = ["#[share.credentials.key_vault]", "#vault ", "#secret ", "#secret2 ", "#client_id "];
    let mut all_shown = String::new();
    for others in [[&systemd[..], &vault[..]], [&file[..], &vault[..]], [&file[..], &systemd[..]]] {
        let others: Vec<&str> = others.concat();
        let stays = |line: &str| !others.iter().any(|begin| line.starts_with(begin));
        // Other sections may have a key of the same name.
        let share = text.lines().position(|line| line == "#[workspace]").expect("a section behind the share's");
        let lines = text.lines().enumerate().filter(|(number, line)| *number > share || stays(line));
        let all: Vec<_> = lines.map(|(_, line)| hidden(line)).collect();
        let configuration = Configuration::new(&[("agent.toml", &all.join("\n"))]);
        let path = configuration.path("agent.toml");
        let path = path.to_str().expect("text");

        let checked = check(&configuration);
        assert!(!checked.out.contains("unknown"), "{}", checked.out);
        let shown = agent(&configuration, &["--config", path, "config", "show"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        let left_out: Vec<_> = shown.out.lines().filter(|line| line.ends_with("# default")).collect();
        assert!(left_out.is_empty(), "not in the example: {left_out:?}");
        all_shown.push_str(&shown.out);
    }

    // The defaults of a machine that is not configured are those that the example names.
    let empty = Configuration::new(&[("agent.toml", "")]);
    let defaults = agent(&empty, &["--config", empty.path("agent.toml").to_str().expect("text"), "config", "show"]);
    let settings =
        |text: &str| text.lines().filter_map(|l| Some(l.split_once("  # ")?.0.trim().to_owned())).collect::<Vec<_>>();
    let named = settings(&all_shown);
    for default in settings(&defaults.out) {
        assert!(named.contains(&default), "the example has another value for {default}");
    }
}

//! Every page that people read: its commands run, and what it names is there.

use cli::page::{blocks, commands, read, root, spans};
use cli::{program, run};
use dsvm_agent::config::fragment::KEYS;
use dsvm_agent::problem::registry::{PROBLEMS, find};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGES: [&str; 8] = [
    "README.md",
    "cloud-init/README.md",
    "packaging/azure/README.md",
    "packaging/doc/administration.md",
    "packaging/doc/contributing.md",
    "packaging/doc/dependencies.md",
    "packaging/doc/security.md",
    "packaging/image/README.md",
];

/// Commands that this test cannot run: how they begin, and who does run them, or why nobody does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("apt-ftparchive ", "cargo xtask test check makes a repository with them"),
    ("apt-get install ./dsvm-agent_", "tests/vm/tests/life.rs upgrades and downgrades so"),
    ("apt-get purge dsvm-agent", "tests/vm/tests/life.rs purges so"),
    ("az deployment group create ", "makes a pool on Azure; tests/azure/tests/template.rs works the template out"),
    ("az group create ", "makes a resource group on Azure"),
    ("az login", "signs somebody in to Azure"),
    ("az network lb list-mapping ", "asks a load balancer of Azure's"),
    ("az vmss delete-instances ", "deletes a VM of Azure's"),
    ("az vmss scale ", "starts VMs on Azure"),
    ("az vmss update ", "changes a scale set of Azure's"),
    ("cat /usr/share/dsvm-agent/jupyter/", "tests/namespaces/tests/jupyter/hub.rs"),
    ("cloud-init schema ", "cargo xtask test check, with each file"),
    ("cloud-init status --long", "tests/vm/tests/cloud_init.rs"),
    ("cloud-init status --wait", "the guests of tests/vm wait with it"),
    ("gpg ", "cargo xtask test check makes a repository with them"),
    ("install -D -m 644 /usr/share/dsvm-agent/jupyter/", "tests/namespaces/tests/jupyter/hub.rs"),
    ("install -m ", "a recipe that tests/vm/tests/cloud_init.rs follows"),
    ("journalctl --boot -1 -u dsvm-agent-going-down", "tests/vm/tests/down.rs reads it so"),
    ("journalctl -u dsvm-agent", "reads this machine's journal; tests/vm/tests/life.rs does in a guest"),
    ("mkdir -p /media/snapshot", "a place for the command after it"),
    ("mount -t cifs ", "takes a share with a snapshot, which only Azure has"),
    ("packer ", "makes a VM on Azure"),
    ("printf ", "a recipe that tests/vm/tests/cloud_init.rs follows"),
    ("sh -c 'waagent ", "removes an account; its second half is in tests/vm/tests/cloud_init.rs"),
    ("sh install dsvm-agent_", "tests/vm/tests/cloud_init.rs"),
    ("ssh-keygen ", "a recipe that tests/vm/tests/cloud_init.rs follows"),
    ("systemctl cat dsvm-agent", "shows a unit; tests/vm/tests/floor.rs asks systemd what is in force"),
    ("systemctl mask dsvm-agent-going-down", "tests/vm/tests/down.rs does, where the server is there"),
    ("systemctl restart dsvm-agent", "tests/vm/tests/life.rs"),
    ("systemctl stop dsvm-agent", "tests/vm/tests/life.rs"),
    ("umount -l", "the page says not to"),
    ("useradd ", "a recipe that tests/vm/tests/cloud_init.rs follows"),
];

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
    let mut used = BTreeSet::new();
    for (page, command) in PAGES.iter().flat_map(|page| commands(&read(page)).into_iter().map(move |c| (page, c))) {
        let words: Vec<String> = command.replace(['[', ']'], "").split_whitespace().map(str::to_owned).collect();
        let (called, arguments) = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["cargo", "xtask", ..] => (&xtask, &words[2..]),
            ["cargo", "run", "-p", package] => {
                assert!(root().join("tests").join(package).is_dir(), "{page}: there is no package {package}");
                continue;
            }
            ["cargo", "run", "-p", package, "--bin", name, ..] => {
                let there =
                    root().join("tests").join(package).join("src/bin").join(name).with_extension("rs").is_file();
                assert!(there, "{page}: there is no program {name} in {package}");
                continue;
            }
            ["cargo", "nextest", "run", "-p", package, "--test", name, ..] => {
                let there = root().join("tests").join(package).join("tests").join(name).with_extension("rs").is_file();
                assert!(there, "{page}: there is no test {name} in {package}");
                continue;
            }
            ["dsvm-agent", ..] => (&agent, &words[1..]),
            ["man", name] => {
                assert!(is_manual(name, None), "{page}: there is no page {name}");
                continue;
            }
            _ => {
                let known = ELSEWHERE.iter().find(|(begin, _)| command.starts_with(begin));
                used.insert(known.unwrap_or_else(|| panic!("{page}: no test runs `{command}`")).0);
                continue;
            }
        };
        // Everything before `--help` is read, and refused if it is wrong; nothing is done.
        let outcome = run(Command::new(called).args(arguments).arg("--help"));
        assert_eq!(outcome.code, 0, "{page}: {command}: {outcome:?}");
    }
    for (begin, _) in ELSEWHERE {
        assert!(used.contains(begin), "no page has a command `{begin}…` any more");
    }
}

/// Whether the manual has a page of this name, in this section if one is named.
fn is_manual(name: &str, section: Option<char>) -> bool {
    let there = |section| root().join(format!("packaging/man/{name}.{section}")).is_file();
    section.map_or_else(|| ['1', '5', '7'].into_iter().any(there), there)
}

#[test]
fn what_it_points_to_is_there() {
    let rooms = ["agent/", "packaging/", "cloud-init/", "tests/"];
    for page in PAGES {
        let text = read(page);
        let place = root().join(page).parent().expect("a directory").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            assert!(path.is_empty() || place.join(path).exists(), "{page}: there is no {path}");
            let headings =
                text.lines().filter_map(|line| Some(line.strip_prefix("## ")?.to_lowercase().replace(' ', "-")));
            assert!(heading.is_empty() || headings.into_iter().any(|h| h == heading), "{page}: no heading {heading}");
        }
        for span in spans(&text) {
            let named = rooms.iter().any(|room| span.starts_with(room)) && !span.contains([' ', '*', '@']);
            let source = span.ends_with(".rs") && !named;
            assert!(!named || root().join(&span).exists(), "{page}: there is no {span}");
            assert!(!source || root().join("agent/src").join(&span).exists(), "{page}: there is no agent/src/{span}");
        }
        for (before, after) in text.match_indices('(').map(|(at, _)| text.split_at(at)) {
            let name = before.rsplit(|c: char| c.is_whitespace() || "`,;".contains(c)).next().unwrap_or_default();
            let section = after.chars().nth(1).filter(char::is_ascii_digit);
            if let (true, Some(section), Some(')')) = (name.starts_with("dsvm-agent"), section, after.chars().nth(2)) {
                assert!(is_manual(name, Some(section)), "{page}: there is no page {name}({section})");
            }
        }
    }
}

#[test]
fn problems_and_settings_that_are_named_exist() {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b"-_".contains(&b));
    let rooms: BTreeSet<_> =
        PROBLEMS.iter().filter_map(|entry| entry.code.split_once('.')).map(|(room, _)| room).collect();
    for page in PAGES {
        for span in spans(&read(page)) {
            let Some((room, what)) = span.split_once('.') else { continue };
            let code = rooms.contains(room) && is_word(what) && !["key", "rs", "toml"].contains(&what);
            assert!(
                !code || find(&span).is_some() || KEYS.contains(&span.as_str()),
                "{page}: nothing is called {span}"
            );
        }
        for section in spans(&read(page)).iter().filter_map(|span| span.strip_prefix('[')) {
            if let Some((section, key)) = section.split_once("] ") {
                let key = format!("{section}.{}", key.split(' ').next().unwrap_or_default());
                assert!(
                    KEYS.iter().any(|k| *k == key || k.starts_with(&format!("{key}."))),
                    "{page}: no setting {key}"
                );
            }
        }
    }
}

#[test]
fn metrics_that_are_named_exist() {
    let metrics = read("agent/src/status/metrics.rs");
    let mut named = 0;
    for page in PAGES {
        for rest in read(page).split("dsvm_agent_").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            // A file, and no metric.
            if name != "hub" {
                assert!(metrics.contains(&format!("\"{name}\"")), "{page}: there is no metric dsvm_agent_{name}");
                named += 1;
            }
        }
    }
    assert!(named > 0, "no page names a metric");
}

/// The text of every file of Rust below `directory`.
fn sources(directory: &Path, out: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            out.push_str(&fs::read_to_string(&path).expect("a file"));
        }
    }
}

#[test]
fn the_tests_that_the_security_page_names_exist() {
    let mut all = String::new();
    for room in ["agent", "packaging", "tests"] {
        sources(&root().join(room), &mut all);
    }
    let page = read("packaging/doc/security.md");
    let named: Vec<_> =
        spans(&page).into_iter().filter(|s| s.matches('_').count() > 3 && !s.contains([' ', '/'])).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let before = all.split_once(&format!("fn {name}()")).map(|(before, _)| before).unwrap_or_default();
        // One that lasts is marked so between the two.
        let mut lines = before.lines().map(str::trim).rev();
        let line = lines.find(|line| !line.is_empty() && !line.starts_with("#[ignore = \""));
        assert_eq!(line, Some("#[test]"), "there is no test {name}");
    }
    // Each thing that was tried names who tried it.
    let table = page.split("## What was tried\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a table");
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(2) {
        assert!(row.trim_end_matches(" |").ends_with('`'), "{row}");
    }
}

/// Every dependency has a line that says why, and nothing else has.
#[test]
fn the_reasons_of_dependencies_are_complete() {
    let table = read("packaging/doc/dependencies.md");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: Vec<(String, String)> =
        rows.filter_map(|row| row.split_once("` | ").map(|(name, why)| (name.to_owned(), why.to_owned()))).collect();
    for (name, why) in &told {
        assert!(why.len() > 8, "{name} has no reason");
    }
    let cargo = read("Cargo.toml");
    let section = cargo.split("[workspace.dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next());
    let lines = section.expect("dependencies").lines().filter_map(|line| line.split_once(" = "));
    let mut wanted: Vec<_> =
        lines.filter(|(_, what)| !what.contains("path = ")).map(|(name, _)| name.to_owned()).collect();
    let mut told: Vec<_> = told.into_iter().map(|(name, _)| name).collect();
    wanted.sort();
    told.sort();
    assert_eq!(told, wanted);
    // Those of the program stand in the first table.
    let agent = read("agent/Cargo.toml");
    let needed =
        agent.split("[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).expect("dependencies");
    let first = table.split("For building and testing only").next().unwrap_or_default();
    for name in needed.lines().filter_map(|line| line.split_once(".workspace")).map(|(name, _)| name) {
        assert!(first.contains(&format!("| `{name}` | ")), "{name} is in the program");
    }
}

/// What is written as an example of alarms names problems and states that exist.
#[test]
fn the_alarms_are_about_something() {
    let [rules] = &blocks(&read("packaging/doc/administration.md"), "yaml")[..] else { panic!("one example") };
    for code in rules.split("code=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(find(code).is_some(), "{code}");
    }
    assert!(
        rules.contains("state=\"unconfigured\"") && read("agent/src/status/health.rs").contains("\"unconfigured\"")
    );
}

//! Jupyter as a kind of use: the real servers and the real hub, and users who play one.

mod hostile;
mod hub;
mod server;

use namespaces::{Agent, Process, SOON, Sandbox, wait_for};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Windows so short that a test sees their end.
const SHORT: &str = "[idle]\nafter = \"60s\"\nannounce = \"1s\"\nboot_grace = \"0s\"\n\
                     [idle.tuning]\nsample = \"1s\"\nwindow = \"5s\"\ncpu_cores = 64.0\n";

/// Python of a sandbox with Jupyter.
const PYTHON: &str = "/run/tools/bin/python";

/// A Python with Jupyter, below the target directory; made once for each list of packages.
fn jupyter() -> PathBuf {
    let list = include_str!("packages.txt");
    let own = std::env::current_exe().expect("this program's path");
    let target = own.ancestors().nth(3).expect("target/PROFILE/deps");
    let venv = target.join("jupyter");
    let lock = std::fs::File::create(target.join("jupyter.lock")).expect("the target directory is ours");
    // Tests are processes of their own, and all want it first.
    lock.lock().expect("a lock");
    let mark = venv.join("installed.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == list) {
        return venv;
    }
    let _ = std::fs::remove_dir_all(&venv);
    // The system's: a sandbox has nothing of anybody's home.
    run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&venv));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jupyter/packages.txt");
    let mut pip = Command::new(venv.join("bin/python"));
    run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(file));
    std::fs::write(mark, list).expect("the venv is ours");
    venv
}

fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

fn machine(tools: Option<&Path>, more: &str) -> Option<Sandbox> {
    let vm = match tools {
        Some(tools) => Sandbox::with_tools("vm1", tools)?,
        None => Sandbox::new("vm1")?,
    };
    ["ada", "bob"].iter().for_each(|name| vm.user(name));
    vm.sh("ip link set lo up").ok();
    vm.configure(&format!("{SHORT}{more}"));
    vm.write("/run/person.py", include_str!("person.py"));
    vm.write("/run/hostile.py", include_str!("hostile.py"));
    Some(vm)
}

/// The rows of a source.
fn rows(vm: &Sandbox, source: &str) -> Vec<Value> {
    let view: Value = serde_json::from_str(&vm.sh("dsvm-agent idle --json").out).unwrap_or_default();
    let all = view["sources"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|row| row["name"] == source).collect()
}

/// Waits until `who` (nothing: nobody in particular) has a row of `source` in this state, and gives it.
#[track_caller]
fn wait_row(vm: &Sandbox, agent: &Agent<'_>, source: &str, who: Option<&str>, state: &str) -> Value {
    let (mut found, mut seen) = (None, Vec::new());
    let began = std::time::Instant::now();
    while found.is_none() {
        assert!(began.elapsed() < 2 * SOON, "{source} of {who:?} is not {state}: {seen:?}\n{}", agent.describe());
        std::thread::sleep(std::time::Duration::from_millis(100));
        seen = rows(vm, source);
        found = seen.iter().find(|row| row["who"].as_str() == who && row["state"] == state).cloned();
    }
    found.expect("it was found")
}

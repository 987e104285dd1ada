//! The vendor's own clients from PyPI must work against the simulator.

use azure::Azure;
use azure::world::{Mode, World};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python with the vendor's clients, below the target directory; made once for each list of them.
fn python() -> PathBuf {
    let list = include_str!("vendor.txt");
    let own = std::env::current_exe().expect("this program's path");
    let target = own.ancestors().nth(3).expect("target/PROFILE/deps");
    let venv = target.join("vendor-clients");
    let mark = venv.join("installed.txt");
    let python = venv.join("bin/python");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == list) {
        return python;
    }
    let _ = std::fs::remove_dir_all(&venv);
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor.txt");
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(file));
    std::fs::write(mark, list).expect("the venv is ours");
    python
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn the_vendors_clients_work_against_it() {
    let mut world = World::new(Mode::Uniform, 2);
    world.looks = Some(2);
    world.secrets.insert("share-key".into(), "a+b/c==".into());
    let azure = Azure::start(world);
    let certificate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(certificate.path(), azure.certificate()).unwrap();
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor.py"));
    command.args([azure.url(), azure.https(), azure.world().set_id()]);
    command.env("REQUESTS_CA_BUNDLE", certificate.path()).env("NO_PROXY", "127.0.0.1");
    assert!(run(&mut command).contains("the vendor's clients are content"));
    assert_eq!(azure.world().vms[0].protection, Some((true, true)));
}

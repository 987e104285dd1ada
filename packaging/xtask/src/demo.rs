//! `cargo xtask demo`: the main job before one's eyes, on two machines that end with it.

use crate::{deb, host, image};
use namespaces::{Agent, Sandbox};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use vm::{Guest, Scenario, Service, together};

/// What is shown.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// In guests that were installed from the package, with a file server that speaks SMB: minutes instead of seconds.
    #[arg(long)]
    vm: bool,
    /// A shell on the first guest at the end.
    #[arg(long, requires = "vm")]
    shell: bool,
}

const CONFIGURATION: &str = "[share]
source      = \"/srv/share\"
mount_point = \"/srv/data\"

[share.directory]
local = true
";

/// Builds what is shown, and shows it.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if options.vm { guests(options.shell) } else { sandboxes() }
}

fn sandboxes() -> Result<(), Box<dyn Error>> {
    if !rustix::process::geteuid().is_root() {
        return again_as_root();
    }
    host::packages(&["passwd", "procps", "util-linux"])?;
    // Built before anything is shown.
    namespaces::program();
    say("Two VMs of a pool, vm1 and vm2, and the share that both mount. They are namespaces of this machine, with users,
homes and directories of their own; nothing outside them is touched, and they end with this command.");
    let first = Sandbox::new("vm1").ok_or("namespaces need root")?;
    let second = first.another("vm2");
    for vm in [&first, &second] {
        for user in ["ada", "grace", "edsger"] {
            vm.user(user);
        }
    }
    say("Each has the users ada, grace and edsger, and the agent with this /etc/dsvm-agent/agent.toml. It starts.");
    println!("{}", indented(CONFIGURATION));
    first.config(CONFIGURATION);
    second.config(CONFIGURATION);
    let agents = [first.agent_start(), second.agent_start()];
    agents.iter().for_each(Agent::wait_ready);
    println!("{}", indented(&agents[0].log()));

    say("Ada logs in on vm1 and saves a notebook where everybody has the link to their own directory on the share.");
    first.log_in("ada");
    shown(&first, "ada", "ls -l ~/notebooks");
    shown(&first, "ada", "echo '{\"cells\": []}' >~/notebooks/remote/first.ipynb && ls -l ~/notebooks/remote/");

    say("The next day she lands on vm2, where nobody has seen her before.");
    second.log_in("ada");
    shown(&second, "ada", "cat ~/notebooks/remote/first.ipynb");

    say("Edsger cannot read it, nor see what she has.");
    second.log_in("edsger");
    refused(&second, "edsger", "cat /srv/data/notebooks/ada/first.ipynb")?;
    refused(&second, "edsger", "ls /srv/data/notebooks/ada")?;

    say(
        "Grace is not logged in, so her directory is not mounted. What is written there cannot get lost on the VM's disk.",
    );
    refused(&first, "root", "touch /srv/data/notebooks/grace/lost.ipynb")?;

    say("What the agent on vm1 says of all this:");
    shown(&first, "root", "dsvm-agent status");
    say("Edsger, who is not root, sees himself:");
    shown(&second, "edsger", "dsvm-agent status");
    println!(
        "\nThat was the real program. Both VMs are gone now. In guests with systemd and SMB: cargo xtask demo --vm"
    );
    Ok(())
}

/// Builds as whoever this is, so that no file of root's is left behind, and shows as root.
fn again_as_root() -> Result<(), Box<dyn Error>> {
    println!("Namespaces need root: asking sudo.");
    let mut command = host::as_root("env");
    command.arg(format!("DSVM_AGENT_BIN={}", namespaces::program().display()));
    command.arg(std::env::current_exe()?).arg("demo");
    Ok(host::stream(command)?)
}

/// Runs a command as somebody and prints both, as on a terminal.
fn shown(vm: &Sandbox, user: &str, line: &str) {
    let output = as_somebody(vm, user, line);
    println!("{}", indented([output.out, output.err].join("\n").trim_start_matches('\n')));
}

/// The same for a command that must not succeed.
fn refused(vm: &Sandbox, user: &str, line: &str) -> Result<(), String> {
    let output = as_somebody(vm, user, line);
    println!("{}", indented(&output.err));
    if output.code == 0 { Err(format!("{user} could do this, and must not: {line}")) } else { Ok(()) }
}

fn as_somebody(vm: &Sandbox, user: &str, line: &str) -> namespaces::Output {
    println!("  {user}@{}$ {line}", vm.sh("hostname").out);
    if user == "root" { vm.sh(line) } else { vm.as_user(user, line) }
}

fn guests(shell: bool) -> Result<(), Box<dyn Error>> {
    if std::env::var_os("DSVM_AGENT_DEB").is_none() {
        image::build(vm::Suite::Trixie, false)?;
        let package = deb::build(Path::new("dist"))?;
        // The guests' harness takes the package from the environment, which a running program had better not change.
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["demo", "--vm"]).args(shell.then_some("--shell"));
        // With this terminal's input, for the shell at the end.
        let status = command.env("DSVM_AGENT_DEB", std::path::absolute(package)?).status()?;
        return if status.success() { Ok(()) } else { Err("the demo in guests failed: see above".into()) };
    }
    say("Three guests on a network of their own: a file server with the share, and two VMs with the agent's package.
Without hardware virtualisation this takes minutes.");
    let scenario = Scenario::new("demo");
    let start = |name: &'static str| {
        let scenario = &scenario;
        move || scenario.agent_vm(name, Service::Running)
    };
    let (server, (first, second)) = together(|| scenario.file_server(), || together(start("vm1"), start("vm2")));
    say("The administrator writes /etc/dsvm-agent/agent.toml and the file with the share's key on both.");
    together(|| first.configure_smb(), || second.configure_smb());
    together(|| first.wait_ready(), || second.wait_ready());
    println!("{}", indented(&first.sh("cat /etc/dsvm-agent/agent.toml")));

    say("Alice logs in on vm1 and saves a notebook.");
    logged_in(&first, "alice", "echo '{\"cells\": []}' >~/notebooks/remote/first.ipynb && ls -l ~/notebooks/remote/");
    say("It is on the file server, under her name:");
    println!("{}", indented(&server.list("notebooks/alice").join("\n")));
    say("The next day she lands on vm2.");
    logged_in(&second, "alice", "cat ~/notebooks/remote/first.ipynb");
    say("Bob cannot read it.");
    logged_in(&second, "bob", "cat /datamnt/dsvmshare/notebooks/alice/first.ipynb");
    say("What the agent on vm1 says of all this:");
    println!("{}", indented(&first.ssh("dsvm-agent status").stdout));
    println!("{}", indented(&first.ssh("systemctl status dsvm-agent --no-pager --lines 0").stdout));
    if shell {
        say("A shell of root's on vm1; su - alice makes you Alice. All three guests end when you leave it.");
        first.shell();
    }
    Ok(())
}

fn logged_in(vm: &Guest, user: &str, line: &str) {
    println!("  {user}@{}$ {line}", vm.name());
    let output = vm.log_in(user, line);
    println!("{}", indented(&[output.stdout, output.stderr].concat()));
}

fn say(what: &str) {
    println!("\n{what}");
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

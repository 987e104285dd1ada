//! A VM in namespaces around which the simulator is Azure.

use azure::Azure;
use azure::world::World;
use namespaces::{Agent, Sandbox, wait_for};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::Duration;

/// A VM with a share and a user, and Azure around it; nothing, which is said, when this process is not root's. `more` is
/// more configuration.
pub fn vm(world: World, more: &str) -> Option<(Sandbox, Azure)> {
    let vm = Sandbox::new("vm1")?;
    vm.user("ada");
    vm.sh("ip link set lo up").ok();
    let azure = Azure::on(world, inside(&vm)).expect("a simulator starts");
    let url = azure.url();
    let endpoints = format!("metadata = \"{url}\"\nresource_manager = \"{url}\"\nmonitor = \"{url}\"\n");
    vm.configure(&format!("[scale_set.endpoints]\n{endpoints}{more}"));
    Some((vm, azure))
}

/// A listener in the VM's network, served from here.
fn inside(vm: &Sandbox) -> TcpListener {
    vm.inside(|| TcpListener::bind("127.0.0.1:0").expect("a port"))
}

/// A part of the status that root sees.
pub fn told(agent: &Agent<'_>, pointer: &str) -> Value {
    agent.status().pointer(pointer).cloned().unwrap_or_default()
}

/// How long pauses between tries may add up to.
const LONG: Duration = Duration::from_secs(180);

pub fn wait_protected(agent: &Agent<'_>) {
    wait_for("the status says that it is protected", LONG, || told(agent, "/scale_set/protected") == json!(true));
}

//! The simulator as a program: `cargo run -p azure -- --vms 3 --secret share-key=…`.

use azure::Azure;
use azure::world::{Mode, World};
use clap::{Parser, ValueEnum};
use std::net::SocketAddr;
use std::time::Duration;

/// A piece of Azure on this machine: what a scale set's VM sees of it.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8169")]
    listen: SocketAddr,
    /// Where the first VM's services are too, as the wire server is at 168.63.129.16:80.
    #[arg(long = "also", value_name = "ADDRESS")]
    also: Vec<SocketAddr>,
    /// The first VM's network card, as instance metadata writes it: 000D3A123456.
    #[arg(long)]
    mac: Option<String>,
    /// How the scale set keeps its VMs.
    #[arg(long, value_enum, default_value = "uniform")]
    mode: Kind,
    /// How many VMs it has. The first is at the address above, the others at ports of their own.
    #[arg(long, default_value_t = 1)]
    vms: usize,
    /// Secrets of the vault, as NAME=VALUE.
    #[arg(long = "secret", value_name = "NAME=VALUE")]
    secrets: Vec<String>,
    /// Every write to a VM takes so many looks.
    #[arg(long)]
    looks: Option<u32>,
    /// Seconds that the first answer about events takes.
    #[arg(long, default_value_t = 0)]
    first_events: u64,
    /// Refuse what asks for instance metadata too often.
    #[arg(long)]
    limits: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Uniform,
    Flexible,
    Single,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let mode = match arguments.mode {
        Kind::Uniform => Mode::Uniform,
        Kind::Flexible => Mode::Flexible,
        Kind::Single => Mode::Single,
    };
    let mut world = World::new(mode, arguments.vms);
    let pairs = arguments.secrets.iter().filter_map(|s| s.split_once('='));
    world.secrets.extend(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
    world.looks = arguments.looks;
    world.first_events = Duration::from_secs(arguments.first_events);
    world.limits = arguments.limits;
    if let (Some(mac), Some(vm)) = (arguments.mac, world.vms.first_mut()) {
        vm.mac = mac;
    }
    let azure = Azure::at(world, arguments.listen)?;
    for address in arguments.also {
        azure.also_at(address)?;
    }
    let url = azure.url();
    println!(
        "[scale_set.endpoints]\nmetadata         = \"{url}\"\nresource_manager = \"{url}\"\nmonitor          = \"{url}\""
    );
    println!("\n# Key Vault is at {url} too. Its state, and what can be done to it:");
    azure::control::HELP.lines().for_each(|line| println!("#   {line}"));
    for vm in 1..arguments.vms {
        println!("# VM {vm}: {}", azure.also(vm)?);
    }
    loop {
        std::thread::park();
    }
}

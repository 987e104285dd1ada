//! What there is in this piece of Azure: a scale set with its VMs, identities with their roles, events, secrets.

use super::fault::Fault;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// How a scale set names and keeps its VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `pool_7`, a resource below the scale set.
    Uniform,
    /// `pool_0a1b2c3d`, a VM of its own.
    Flexible,
    /// No scale set: a single VM.
    Single,
}

/// A VM.
#[derive(Debug, Clone)]
pub struct Vm {
    /// Its name, as events call it.
    pub name: String,
    /// What it is called below the scale set.
    pub instance: String,
    /// Azure's own id.
    pub id: String,
    /// Its network card, as instance metadata writes it.
    pub mac: String,
    /// What it last said of its provisioning to the wire server.
    pub health: Option<String>,
    /// From scale-in, and from the set's actions; nothing before it was first set.
    pub protection: Option<(bool, bool)>,
    /// Deleted.
    pub gone: bool,
    /// Rises with every change.
    pub etag: u64,
}

/// A long-running operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its VM.
    pub vm: usize,
    /// What it does when it is through.
    pub protection: Option<(bool, bool)>,
    /// How often it is in progress before that.
    pub looks: u32,
    /// Whether it fails then.
    pub fails: bool,
    /// Whether it is through.
    pub done: bool,
}

/// An identity and what it may do.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its client id.
    pub client_id: String,
    /// Made with the VM, not assigned to it.
    pub system: bool,
    /// May read and write the scale set's VMs.
    pub virtual_machines: bool,
    /// May publish metrics.
    pub metrics: bool,
    /// May get secrets.
    pub secrets: bool,
}

/// A token that was handed out.
#[derive(Debug, Clone)]
pub struct Token {
    /// For whom, as an index into the identities.
    pub identity: usize,
    /// For which service, without a slash at the end.
    pub audience: String,
    /// Until when.
    pub expires: SystemTime,
}

/// A scheduled event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Reboot, Redeploy, Freeze, Preempt or Terminate.
    pub kind: String,
    /// The VMs' names.
    pub resources: Vec<String>,
    /// When it starts unless it is approved.
    pub not_before: SystemTime,
    /// The date as the vendor's own mock server writes it.
    pub iso: bool,
    /// It has started.
    pub started: bool,
    /// It was approved.
    pub approved: bool,
}

/// A metric's value as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The resource, in small letters.
    pub resource: String,
    /// The metric.
    pub metric: String,
    /// Its namespace.
    pub namespace: String,
    /// Names and values of its dimensions.
    pub dimensions: BTreeMap<String, String>,
    /// Its minute, in minutes since 1970.
    pub minute: u64,
    /// Minimum, maximum, sum, count.
    pub values: (f64, f64, f64, f64),
}

/// A request that was received, and the status of its answer.
#[derive(Debug, Clone)]
pub struct Received {
    /// The request.
    pub request: super::message::Request,
    /// The status of the answer, also if it never arrived.
    pub status: u16,
    /// When.
    pub at: SystemTime,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct World {
    /// The subscription's id.
    pub subscription: String,
    /// The resource group.
    pub group: String,
    /// The region.
    pub location: String,
    /// The scale set's name.
    pub set: String,
    /// How it keeps its VMs.
    pub mode: Mode,
    /// Its VMs. The first has the simulator's first address.
    pub vms: Vec<Vm>,
    /// The identities that every VM has.
    pub identities: Vec<Identity>,
    /// Tokens by their text.
    pub tokens: BTreeMap<String, Token>,
    /// How long a token lives.
    pub token_life: Duration,
    /// Operations by their id.
    pub operations: BTreeMap<String, Operation>,
    /// Every write to a VM is a long-running operation of so many looks.
    pub looks: Option<u32>,
    /// Events.
    pub events: Vec<Event>,
    /// Rises with every change of the events.
    pub incarnation: u64,
    /// Whether the events were asked for before, by VM.
    pub asked_events: Vec<usize>,
    /// How long the first answer about events takes: up to two minutes on Azure.
    pub first_events: Duration,
    /// Terminate events come before a VM is deleted, so long before it.
    pub notice: Option<Duration>,
    /// A VM that is being deleted runs on until [`World::delete`]; its event is shown as started.
    pub lingers: bool,
    /// What was received of metrics.
    pub samples: Vec<Sample>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Instance metadata refuses what is asked too often.
    pub limits: bool,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Everything that was received.
    pub received: Vec<Received>,
    /// How far the services' clock is ahead of this machine's.
    pub ahead: Duration,
    /// Numbers that were given out.
    pub count: u64,
}

impl World {
    /// A scale set of so many VMs, whose one user-assigned identity may do all that the agent needs.
    pub fn new(mode: Mode, vms: usize) -> Self {
        let mut world = Self {
            subscription: "11111111-2222-3333-4444-555555555555".into(),
            group: "dsvm-rg".into(),
            location: "westeurope".into(),
            set: "dsvmpool".into(),
            mode,
            vms: Vec::new(),
            identities: vec![Identity {
                client_id: "3f2a0000-0000-4000-8000-000000000001".into(),
                system: false,
                virtual_machines: true,
                metrics: true,
                secrets: true,
            }],
            tokens: BTreeMap::new(),
            token_life: Duration::from_secs(24 * 3600),
            operations: BTreeMap::new(),
            looks: None,
            events: Vec::new(),
            incarnation: 1,
            asked_events: Vec::new(),
            first_events: Duration::ZERO,
            notice: Some(Duration::from_secs(15 * 60)),
            lingers: false,
            samples: Vec::new(),
            secrets: BTreeMap::new(),
            limits: false,
            faults: Vec::new(),
            received: Vec::new(),
            ahead: Duration::ZERO,
            count: 0,
        };
        for number in 0..vms {
            world.add_vm(number);
        }
        world
    }

    fn add_vm(&mut self, number: usize) {
        let (name, instance) = match self.mode {
            Mode::Uniform => (format!("{}_{number}", self.set), number.to_string()),
            Mode::Flexible => (format!("{}_{number:08x}", self.set), format!("{}_{number:08x}", self.set)),
            Mode::Single => (format!("vm{number}"), format!("vm{number}")),
        };
        let id = format!("5c08b38e-4d57-4c23-ac45-{number:012x}");
        let mac = format!("000D3A{number:06X}");
        self.vms.push(Vm { name, instance, id, mac, health: None, protection: None, gone: false, etag: 1 });
    }

    /// The services' clock.
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead
    }

    /// A number that was not given out before, as the end of an id.
    pub fn id(&mut self) -> String {
        self.count += 1;
        format!("c7061bac-afdc-4513-b24b-{:012x}", self.count)
    }

    /// The scale set's id.
    pub fn set_id(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/virtualMachineScaleSets/{}",
            self.subscription, self.group, self.set
        )
    }

    /// A VM's id as its instance metadata says it.
    pub fn vm_id(&self, vm: &Vm) -> String {
        match self.mode {
            Mode::Uniform => format!("{}/virtualMachines/{}", self.set_id(), vm.instance),
            Mode::Flexible | Mode::Single => format!(
                "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/virtualMachines/{}",
                self.subscription, self.group, vm.name
            ),
        }
    }

    /// A VM as Resource Manager shows it below the scale set.
    pub fn vm_resource(&self, vm: &Vm) -> Value {
        let running = self.operations.values().any(|o| !o.done && self.vms.get(o.vm).is_some_and(|v| v.id == vm.id));
        let mut properties = json!({
            "latestModelApplied": true,
            "provisioningState": if running { "Updating" } else { "Succeeded" },
            "vmId": vm.id,
        });
        if let (Some((scale_in, actions)), Some(map)) = (vm.protection, properties.as_object_mut()) {
            let policy = json!({"protectFromScaleIn": scale_in, "protectFromScaleSetActions": actions});
            map.insert("protectionPolicy".into(), policy);
        }
        json!({
            "name": if self.mode == Mode::Uniform { &vm.name } else { &vm.instance },
            "id": format!("{}/virtualMachines/{}", self.set_id(), vm.instance),
            "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
            "location": self.location,
            "instanceId": vm.instance,
            "etag": format!("\"{}\"", vm.etag),
            "properties": properties,
        })
    }

    /// Announces an event for a VM and returns its id.
    pub fn announce(&mut self, kind: &str, vm: usize, notice: Duration) -> String {
        let (id, not_before) = (self.id().to_ascii_uppercase(), self.now() + notice);
        let resources = self.vms.get(vm).map(|v| v.name.clone()).into_iter().collect();
        self.events.push(Event {
            id: id.clone(),
            kind: kind.to_owned(),
            resources,
            not_before,
            iso: false,
            started: false,
            approved: false,
        });
        self.incarnation += 1;
        id
    }

    /// What autoscale does when its rules say one VM less: the scale set picks the victim among those that are not
    /// protected, the one with the highest instance id, as the default scale-in policy does within one zone and fault
    /// domain. With terminate notification the VM gets its event first. Returns the victim's index.
    pub fn scale_in(&mut self) -> Option<usize> {
        let doomed = |w: &World, name: &str| {
            w.events.iter().any(|e| e.kind == "Terminate" && e.resources.iter().any(|r| r == name))
        };
        let free = |(_, vm): &(usize, &Vm)| {
            !vm.gone && !vm.protection.is_some_and(|(scale_in, _)| scale_in) && !doomed(self, &vm.name)
        };
        let victim = self.vms.iter().enumerate().filter(free).map(|(i, _)| i).next_back()?;
        match self.notice {
            Some(notice) => drop(self.announce("Terminate", victim, notice)),
            None => self.delete(victim),
        }
        Some(victim)
    }

    /// Deletes the VM.
    pub fn delete(&mut self, vm: usize) {
        if let Some(vm) = self.vms.get_mut(vm) {
            vm.gone = true;
        }
    }

    /// Starts what was approved or is due, and deletes what was to be terminated.
    pub fn settle(&mut self) {
        let now = self.now();
        let mut deleted = Vec::new();
        for event in &mut self.events {
            if !event.started && (event.approved || event.not_before <= now) {
                event.started = true;
                self.incarnation += 1;
                if !self.lingers && matches!(event.kind.as_str(), "Terminate" | "Preempt") {
                    deleted.extend(event.resources.clone());
                }
            }
        }
        for vm in self.vms.iter_mut().filter(|vm| deleted.contains(&vm.name)) {
            vm.gone = true;
        }
    }

    /// The identity that a token request means: with several, its client id must be given.
    pub fn identity(&self, client_id: Option<&str>) -> Result<usize, &'static str> {
        if let Some(wanted) = client_id.filter(|c| !c.is_empty()) {
            let found = self.identities.iter().position(|i| i.client_id.eq_ignore_ascii_case(wanted));
            return found.ok_or("Identity not found");
        }
        if let Some(system) = self.identities.iter().position(|i| i.system) {
            return Ok(system);
        }
        match self.identities.len() {
            0 => Err("Identity not found"),
            1 => Ok(0),
            _ => Err("Multiple user assigned identities exist, please specify the clientId / resourceId of the \
                      identity in the token request"),
        }
    }
}

//! The words of this room as plain data.

use crate::config::settings;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Where this VM is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Not on Azure, as far as anybody says.
    Elsewhere,
    /// A VM of Azure's that belongs to no scale set.
    Single(Node),
    /// A VM of a scale set.
    Member(Node, Instance),
}

impl Place {
    /// The VM, on Azure.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Place::Elsewhere => None,
            Place::Single(node) | Place::Member(node, _) => Some(node),
        }
    }

    /// The instance of a scale set.
    pub fn member(&self) -> Option<(&Node, &Instance)> {
        match self {
            Place::Member(node, instance) => Some((node, instance)),
            _ => None,
        }
    }
}

/// A VM of Azure's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, as scheduled events call it.
    pub name: String,
    /// Azure's id of it.
    pub vm_id: String,
    /// The region.
    pub location: String,
    /// The cloud.
    pub cloud: Cloud,
    /// A Spot VM may be taken away on 30 seconds' notice.
    pub spot: bool,
}

/// What a VM is in its scale set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The scale set's name.
    pub set: String,
    /// The scale set's id, from `/subscriptions/` on.
    pub set_id: String,
    /// What the VM is called below it: a number in a Uniform set, its name in a Flexible one.
    pub id: String,
}

/// Azure's clouds. Their addresses are those of the vendor's own command line (azure-cli, `cloud.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cloud {
    /// The public one.
    Public,
    /// For the government of the United States.
    UsGovernment,
    /// In China.
    China,
}

impl Cloud {
    /// Resource Manager, which is also what its tokens are for.
    pub fn resource_manager(self) -> &'static str {
        match self {
            Cloud::Public => "https://management.azure.com",
            Cloud::UsGovernment => "https://management.usgovcloudapi.net",
            Cloud::China => "https://management.chinacloudapi.cn",
        }
    }
}

/// What a VM is protected from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Protection {
    /// From scale-in.
    pub scale_in: bool,
    /// From the set's own actions. Never without the other: Azure refuses that.
    pub actions: bool,
}

impl Protection {
    /// From nothing.
    pub const NONE: Protection = Protection { scale_in: false, actions: false };

    /// What a VM in use is protected from; nothing when the agent does not deal with it.
    pub fn of(setting: settings::Protect) -> Option<Self> {
        match setting {
            settings::Protect::InUse => Some(Protection { scale_in: true, actions: true }),
            settings::Protect::ScaleIn => Some(Protection { scale_in: true, actions: false }),
            settings::Protect::Off => None,
        }
    }
}

/// What was read of a VM's protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Before anything was changed; nothing when that was not looked at.
    pub found: Option<Protection>,
    /// After everything.
    pub now: Protection,
}

/// What is known of the VM's use, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It cannot be told. Never taken for idle.
    Unknown,
    /// It is used, kept, or has just booted.
    InUse,
    /// No use is seen, not for long enough, or that was not announced for long enough.
    Quiet,
    /// It is idle, that was announced long enough ago, and nobody came.
    Due {
        /// The number of the announcement.
        epoch: u64,
    },
}

/// Whom a request went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Instance metadata.
    Metadata,
    /// Instance metadata's identity tokens.
    Identity,
    /// Instance metadata's scheduled events.
    Events,
    /// Resource Manager.
    ResourceManager,
    /// Monitor.
    Monitor,
}

impl Service {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Service::Metadata => "instance metadata",
            Service::Identity => "the VM's identity service",
            Service::Events => "the service for scheduled events",
            Service::ResourceManager => "Azure Resource Manager",
            Service::Monitor => "Azure Monitor",
        }
    }
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whom it went to.
    pub service: Service,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The service's own name for what is wrong: letters and digits.
    pub code: Option<String>,
    /// What is wrong, in words. No secret is in it; its length is limited.
    pub text: String,
    /// When the service wants to be asked again.
    pub retry_after: Option<Duration>,
    /// A change was asked for, and whether it happened is not known.
    pub doubtful: bool,
    /// What the VM is protected from, where that was read just before a change of it was refused.
    #[serde(default)]
    pub found: Option<Protection>,
}

impl Failure {
    /// In one line, for a person.
    pub fn line(&self) -> String {
        match (self.status, &self.code) {
            (Some(status), Some(code)) => format!("{} says {status} ({code})", self.service.name()),
            (Some(status), None) => format!("{} says {status}", self.service.name()),
            (None, _) => self.text.clone(),
        }
    }

    /// Whether it is likely to last until somebody does something.
    pub fn is_lasting(&self) -> bool {
        let no_identity = self.service == Service::Identity && matches!(self.status, Some(400 | 404));
        no_identity || self.is_locked() || matches!(self.status, Some(401 | 403))
    }

    /// Whether a lock forbids it: Azure says 409 then, as it does of a change that is under way, and says so until somebody
    /// takes the lock off.
    pub fn is_locked(&self) -> bool {
        self.status == Some(409) && self.code.as_deref() == Some("ScopeLocked")
    }
}

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The VM stands still for a few seconds.
    Freeze,
    /// The VM reboots; its disks stay.
    Reboot,
    /// The VM moves; its temporary disk is lost.
    Redeploy,
    /// A Spot VM is deleted, on 30 seconds' notice.
    Preempt,
    /// The VM is deleted.
    Terminate,
}

impl EventKind {
    /// Whether the VM is gone for good afterwards.
    pub fn is_end(self) -> bool {
        matches!(self, EventKind::Preempt | EventKind::Terminate)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Freeze => "freeze",
            EventKind::Reboot => "reboot",
            EventKind::Redeploy => "redeploy",
            EventKind::Preempt => "preempt",
            EventKind::Terminate => "terminate",
        }
    }
}

/// An event that was announced to this VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Azure's id of it.
    pub id: String,
    /// Its kind.
    pub kind: EventKind,
    /// It begins then unless it is approved before; nothing once it has begun, or when the date cannot be read.
    pub not_before: Option<SystemTime>,
    /// It has begun.
    pub started: bool,
    /// It is of this VM and of no other.
    pub alone: bool,
}

/// What is told to Azure Monitor: of each, one or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Idle, and free to be taken away.
    pub idle: Option<bool>,
    /// In use.
    pub busy: Option<bool>,
    /// Not free to be taken away, and not known to be protected either: vetoes scale-in of the whole set.
    pub unprotected: Option<bool>,
}

//! The share looked at by hand, step by step, and which step is the cause when something is wrong. What was seen is
//! data, gathered elsewhere; what it means is decided here.

pub mod examine;
mod judge;
pub mod metadata;
pub mod sign;

pub use judge::judge;

use super::greeting::Greeting;
use super::model::{Failure, Mounted, Probe};
use crate::config::settings::{Kind, Settings};
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One look, in a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Examine {
    /// At the server's name.
    Name {
        /// The name.
        host: String,
        /// The port that is meant.
        port: u16,
    },
    /// At the server's port.
    Port {
        /// Its address.
        address: IpAddr,
        /// Its port.
        port: u16,
    },
    /// At a port as somebody who is nobody: who has no more rights than any user.
    Stranger {
        /// Its address.
        address: IpAddr,
        /// Its port.
        port: u16,
    },
    /// At what the server speaks.
    Greet {
        /// Its address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// What it should be.
        kind: Kind,
    },
    /// At whether anybody answers where the server should be, whatever they say.
    Sign {
        /// Its address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// What it should be.
        kind: Kind,
    },
    /// At the credentials.
    Key,
    /// At what the kernel can do.
    Kernel {
        /// For a share of this kind.
        kind: Kind,
    },
    /// At the share, by mounting it where nobody sees it.
    Trial {
        /// The server's address.
        address: Option<IpAddr>,
    },
}

/// What a look brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Examined {
    /// The name's addresses.
    Addresses(Vec<IpAddr>),
    /// The port is open.
    Open {
        /// So long it took, in milliseconds.
        ms: f64,
    },
    /// What the server speaks.
    Greeting(Greeting),
    /// The credentials can be used. No part of a key.
    Key {
        /// The account's name.
        account: String,
        /// How many keys there are.
        keys: u8,
    },
    /// What the kernel can do.
    Kernel(Kernel),
    /// The share let itself be mounted.
    Trial(Trial),
}

/// What the kernel can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kernel {
    /// Its release, as of uname(2).
    pub release: String,
    /// Whether it knows the kind's file system; nothing where none is needed.
    pub module: Option<bool>,
    /// Whether it knows a second key (`password2`, since Linux 6.9).
    pub second_key: Option<bool>,
    /// Whether it knows openat2(2).
    pub openat2: bool,
    /// Whether `/sbin/request-key` is there, by which it asks for a server's new address.
    pub request_key: bool,
    /// Whether it is in FIPS mode.
    pub fips: bool,
}

/// What a trial of the share brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// So long mounting took, in milliseconds.
    pub ms: f64,
    /// Size of the share in bytes.
    pub bytes_total: u64,
    /// Free for users, in bytes.
    pub bytes_free: u64,
    /// Why no directory can be made on it, if none can.
    pub refusal: Option<Failure>,
    /// The directory above the users' own is there.
    pub parent_is_there: bool,
}

/// The agent, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// None runs.
    Absent,
    /// It runs, and says nothing that can be used: why.
    Mute(String),
    /// It runs.
    Runs {
        /// Since when what it says is so, for people: `runs, looked 4 s ago`.
        standing: String,
        /// What it reports.
        problems: Vec<Problem>,
    },
}

/// The configuration, as far as the asker may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Configuration {
    /// It has no mistake.
    Good {
        /// The settings.
        settings: Box<Settings>,
        /// The files that they come from.
        files: Vec<String>,
        /// What is right, but worth knowing.
        notes: Vec<String>,
    },
    /// It cannot be used.
    Bad(Problem),
    /// Only root may read it.
    Hidden,
}

/// Everything that was seen. What is `None` was not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whether root asks: others may not look at everything.
    pub is_root: bool,
    /// The configuration.
    pub configuration: Configuration,
    /// The kernel.
    pub kernel: Option<Result<Kernel, Failure>>,
    /// The credentials: the account and how many keys.
    pub key: Option<Result<(String, u8), Failure>>,
    /// The name's addresses.
    pub addresses: Option<Result<Vec<IpAddr>, Failure>>,
    /// The port, at each address: milliseconds.
    pub ports: Vec<(IpAddr, Result<f64, Failure>)>,
    /// What the server speaks.
    pub greeting: Option<Result<Greeting, Failure>>,
    /// How far this machine's clock is ahead of the server's, in milliseconds.
    pub ahead_ms: Option<i64>,
    /// Whether the clock is kept right by NTP; nothing where the kernel does not say.
    pub synchronised: Option<bool>,
    /// The trial of the share.
    pub trial: Option<Result<Trial, Failure>>,
    /// What is mounted.
    pub mounted: Option<Mounted>,
    /// The sign of life of what is mounted.
    pub probe: Option<Result<Probe, Failure>>,
    /// The agent.
    pub agent: Agent,
    /// Who reaches instance metadata.
    pub metadata: Option<metadata::Access>,
}

impl Seen {
    /// Nothing seen yet but the configuration and the agent.
    pub fn new(is_root: bool, configuration: Configuration, agent: Agent) -> Self {
        Self {
            is_root,
            configuration,
            kernel: None,
            key: None,
            addresses: None,
            ports: Vec::new(),
            greeting: None,
            ahead_ms: None,
            synchronised: None,
            trial: None,
            mounted: None,
            probe: None,
            agent,
            metadata: None,
        }
    }
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Right,
    /// Worth knowing, and not what is wrong.
    Note,
    /// Wrong.
    Wrong,
    /// Not looked at.
    Unseen,
}

/// One step of the examination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was looked at: a stable word.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<Problem>,
}

/// The examination, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this form; fields are added, never changed.
    pub schema: u32,
    /// Nothing is wrong, as far as could be seen.
    pub right: bool,
    /// Everything could be looked at.
    pub complete: bool,
    /// The step that is the cause: the first that is wrong.
    pub cause: Option<String>,
    /// The steps, in order: each rests on those before it.
    pub steps: Vec<Step>,
}

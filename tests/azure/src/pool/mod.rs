//! A pool in made-up time: a scale set of VMs, people who come and go, the agent's own decisions on every VM, and
//! autoscale by its documents with the rules of `packaging/azure`. It counts what a day costs, and what is destroyed.
//!
//! What is real: the code that judges samples, protects and reports ([`dsvm_agent::idle`], [`dsvm_agent::scale_set`],
//! and what joins them in the daemon), and the rules. What is made up: people, what a VM sees of them, Azure.

pub mod agent;
pub mod autoscale;
pub mod chance;
pub mod machine;
pub mod people;
pub mod report;
pub mod scenario;
pub mod world;

pub use scenario::{Scaling, Scenario};
pub use world::run;

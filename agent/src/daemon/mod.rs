//! The daemon: what triggers a pass, the pass itself, requests, and the brain's life.
//!
//! ```text
//! trigger -> observe -> facts -> decide -> jobs -> (workers) -> answers -> memory -> status
//! ```

pub mod accounts;
pub mod ahead;
pub mod brain;
pub mod changes;
pub mod doctor;
pub mod engine;
mod files;
pub mod idle;
pub mod listener;
pub mod login;
pub mod notice;
pub mod orders;
pub mod plan;
pub mod pool;
pub mod quiet;
pub mod report;
pub mod request;
pub mod scale_set;
pub mod senses;
mod share;
pub mod stuck;
pub mod textfile;
pub mod trigger;
pub mod turn;
mod users;

//! What people and programs are told: one model for the text, the JSON and the sentence in `systemctl status`.
//!
//! [`publish`] writes two files after each pass, one for everybody ([`public`]) and one for root; [`read`] and [`ask`]
//! are the other end; [`render`] and [`sentence`] make words of it.

pub mod age;
pub mod ask;
pub mod doctor;
pub mod duration;
pub mod escape;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod health;
pub mod idle;
pub mod last_time;
pub mod look;
pub mod metrics;
pub mod model;
mod page;
pub mod pool;
pub mod public;
pub mod publish;
pub mod read;
pub mod render;
pub mod sentence;
pub mod textfile;

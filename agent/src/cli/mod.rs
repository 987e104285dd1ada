//! What people type: one file for each command.

pub mod config;

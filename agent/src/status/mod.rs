//! What people and programs are told: one model for the text, the JSON and the sentence in `systemctl status`.

pub mod model;

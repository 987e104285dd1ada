//! The share: mounted for the agent alone, and for each user a mount of their own directory, put into the guard.

pub mod abandon;
pub mod act;
pub mod credentials;
pub mod decide;
pub mod diagnosis;
pub mod doctor;
pub mod fetch;
pub mod flush;
pub mod greeting;
pub mod heal;
pub mod keys;
pub mod model;
pub mod nfs;
pub mod observe;
pub mod old;
pub mod options;
pub mod own;
pub mod repair;
pub mod shared;
pub mod vault;
pub mod whole;
mod workstation;

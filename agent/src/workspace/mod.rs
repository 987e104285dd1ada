//! Workspaces: one user's directory on the share with the link to it in their home. And the directories of several users.

pub mod act;
pub mod decide;
pub mod groups;
pub mod identities;
pub mod import;
pub mod memory;
pub mod model;
pub mod names;
pub mod observe;
pub mod rescue;
pub mod shared;

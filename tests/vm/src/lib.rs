//! The vm ring.

//! The cli ring.

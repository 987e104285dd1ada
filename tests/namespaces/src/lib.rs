//! The namespaces ring.

//! `cargo xtask`: builds, packages, tests and shows the project. Each command installs what it needs.

fn main() {}

//! The `dsvm-agent` program: arguments, log, dispatch, exit code.

fn main() {}

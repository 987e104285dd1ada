//! The ways to use a VM, and not to, one after the other, with everything real that they go through: systemd's sessions
//! and scopes, sshd, tmux. Each is named while it lasts, is never taken for idle for longer than the quiet
//! time, and is recorded (`agent/src/idle/decide/situations/recorded`).

mod busy;
mod engine;
mod hub;
mod quiet;
mod stage;
mod unknown;

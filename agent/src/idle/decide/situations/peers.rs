//! How others would judge the same hours: their rules, written anew from their documents and sources, with the defaults
//! that these name, but all with the same quiet time as ours. Predicted, not measured: their programs were not run.

use super::World;

/// One rule of somebody else's.
pub(super) struct Peer {
    /// Whose.
    pub name: &'static str,
    /// Whether it takes the VM for used at this moment.
    pub sees_use: fn(&World) -> bool,
    /// Whether something holds it back at this moment, while its clock runs on.
    pub is_held: fn(&World) -> bool,
}

/// The load from which on autosuspend takes a machine for used (its check `Load`, the default of `threshold`).
const LOAD: f64 = 2.5;
/// The load of 15 minutes from which on Verily's probe does; not by core.
const LOW_LOAD: f64 = 0.1;

pub(super) const PEERS: [Peer; 5] = [
    // skylet: jobs of its own (there are none here), or any process on a terminal below sshd. An error is no use.
    Peer { name: "SkyPilot", sees_use: |w| w.terminal.is_some() && w.readable, is_held: |_| false },
    // Users (utmp), ActiveConnection on port 22, Load. An error is use. systemd's inhibitors hold the action only.
    Peer {
        name: "autosuspend",
        sees_use: |w| !w.readable || w.terminal.is_some() || w.copying || w.load_5 > LOAD,
        is_held: |w| w.inhibited,
    },
    // The notebook instances' script: kernels' states and last activity; open tabs are ignored as shipped.
    Peer {
        name: "SageMaker",
        sees_use: |w| w.kernel.is_some_and(|k| k.computes || w.wall - k.last_activity < 60.0),
        is_held: |_| false,
    },
    // Load of 15 minutes or requests for notebooks. Its probe of SSH looks for `sshd-session`, which OpenSSH has since
    // 9.8 only: not in Ubuntu 22.04 or 24.04.
    Peer {
        name: "Verily",
        sees_use: |w| w.readable && (w.load_15 >= LOW_LOAD || w.kernel.is_some_and(|k| k.has_tab)),
        is_held: |_| false,
    },
    // Sessions with a terminal go by its input; those without one, and those that are closing, are never idle.
    Peer {
        name: "logind",
        sees_use: |w| {
            let typed = w.terminal.is_some_and(|input| w.wall - input < 60.0);
            !w.bus || typed || w.copying || w.lingers
        },
        is_held: |w| w.inhibited,
    },
];

//! What systemd says of the machine as a whole. In a worker only: it is asked by its own program, which may block.

use super::program;
use std::path::Path;

/// Whether this machine was booted by systemd: sd_booted(3).
pub fn booted(root: &Path) -> bool {
    root.join("run/systemd/system").is_dir()
}

/// Whether the machine goes down: the state `stopping` of systemctl(1), which begins when the jobs that stop everything are
/// queued. What is mounted from then on has no such job: systemd finds it at the very end, when the network is gone.
/// A manager that gives no answer is taken to stay: whoever logs in then has notebooks.
pub fn is_stopping() -> bool {
    booted(Path::new("/")) && goes_down() == Some(true)
}

/// Whether the machine goes down, if anybody says so. At the very end nobody is left who could be asked: then systemd-shutdown
/// is the first process, by the name to which the kernel shortens that.
pub fn goes_down() -> Option<bool> {
    if std::fs::read("/proc/1/comm").is_ok_and(|name| name.trim_ascii() == b"systemd-shutdow") {
        return Some(true);
    }
    let show = ["show", "--property=SystemState", "--value"];
    let state = program::run("/usr/bin/systemctl", show).ok()?;
    (says_stopping(&state) || says_staying(&state)).then(|| says_stopping(&state))
}

fn says_staying(state: &[u8]) -> bool {
    [&b"initializing"[..], b"starting", b"running", b"degraded", b"maintenance"].contains(&state.trim_ascii())
}

fn says_stopping(state: &[u8]) -> bool {
    state.trim_ascii() == b"stopping"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_states_one_means_the_end() {
        let states =
            ["initializing", "starting", "running", "degraded", "maintenance", "stopping", "offline", "unknown"];
        let ends: Vec<&str> =
            states.into_iter().filter(|state| says_stopping(format!("{state}\n").as_bytes())).collect();
        assert_eq!(ends, ["stopping"]);
        assert!(!says_stopping(b""));
        let stays = states.into_iter().filter(|state| says_staying(format!("{state}\n").as_bytes()));
        assert_eq!(stays.collect::<Vec<_>>(), ["initializing", "starting", "running", "degraded", "maintenance"]);
    }
}

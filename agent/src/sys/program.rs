//! Programs of the system's, where what they print is the interface. In a worker only: they may block.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The longest output that is read, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// Runs a program of the system's to its end and returns what it printed. It ends with this process.
///
/// # Errors
/// In words: it is not there, it failed, or it says too much.
pub fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<Vec<u8>, String> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl(2) and getppid(2) are.
    unsafe {
        command.pre_exec(move || Ok(crate::sys::process::die_with_parent(own)?));
    }
    let mut child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
    let mut text = Vec::new();
    let read = child.stdout.take().map_or(Ok(0), |out| out.take(LONGEST + 1).read_to_end(&mut text));
    let short = text.len() as u64 <= LONGEST;
    if !short {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| format!("{program}: {e}"))?;
    read.map_err(|e| format!("{program}: {e}"))?;
    match (status.success(), short) {
        (_, false) => Err(format!("{program} says too much")),
        (false, true) => Err(format!("{program} failed ({status})")),
        (true, true) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_answers_fails_or_says_too_much() {
        assert_eq!(run("/bin/echo", ["a", "b"]), Ok(b"a b\n".to_vec()));
        assert!(run("/bin/false", []).unwrap_err().contains("failed"));
        assert!(run("/nonexistent", []).is_err());
        assert!(run("/bin/cat", ["/dev/zero"]).unwrap_err().contains("too much"));
    }
}

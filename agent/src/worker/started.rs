//! A process of this same program, started without waiting for it: std's way waits until the new program runs, which wakes
//! the launcher once more for every worker. What is done every few seconds, or while people wait, goes on as a copy of the
//! launcher instead.

use nix::sys::signal::SigSet;
use nix::unistd::ForkResult;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt;

/// This program, whatever lies at its path by now (proc_pid_exe(5)).
const PROGRAM: &CStr = c"/proc/self/exe";
/// What a new process ends with that cannot become the program.
const NO_PROGRAM: i32 = 127;

/// A child of this process that is waited for through a descriptor (pidfd_open(2), Linux 5.3): its number cannot come to
/// mean another one.
#[derive(Debug)]
pub(crate) struct Started {
    pidfd: OwnedFd,
}

impl AsFd for Started {
    /// Readable when it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Started {
    /// One that a test started in another way.
    #[cfg(test)]
    pub(super) fn of_child(child: &std::process::Child) -> Self {
        let pidfd = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
        Self { pidfd }
    }

    /// Kills it. That it is gone already is no mistake.
    pub(crate) fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Whether it has ended, and is taken off the table of processes with that (waitid(2), `P_PIDFD`, Linux 5.4). A second
    /// call says the same.
    pub(crate) fn has_ended(&self) -> bool {
        let waited =
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        !matches!(waited, Ok(None) | Err(Errno::INTR))
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) {
        let options = WaitIdOptions::EXITED;
        while matches!(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Err(Errno::INTR)) {}
    }
}

/// Goes on as a copy of this process that does `work` and ends with what it returns: a fifth of what a new program costs, but
/// with everything in its memory that is in this one's. It has `input` and `output` for its own, `/` for its directory, and no
/// signal blocked. This process must have one thread, or the copy may wait for ever for a lock that another one held.
///
/// # Errors
/// As of fork(2) and pidfd_open(2). Then no process is left.
pub(crate) fn copy(streams: (OwnedFd, OwnedFd), work: impl FnOnce() -> i32) -> Result<Started, Errno> {
    fork(&streams, |ready| if ready { work() } else { NO_PROGRAM })
}

/// Starts this program with these arguments, of which the first is its name, and only those variables of the environment that
/// are named. It has `input` and `output` for its own, an own copy of standard error, `/` for its directory, and no signal
/// blocked. Should the program not come up, `excuse` is what it writes.
///
/// # Errors
/// As of fork(2) and pidfd_open(2). Then no process is left.
pub(crate) fn start(
    arguments: &[CString],
    kept: &[&str],
    streams: (OwnedFd, OwnedFd),
    excuse: &[u8],
) -> Result<Started, Errno> {
    start_program(PROGRAM, arguments, kept, streams, excuse)
}

fn start_program(
    program: &CStr,
    arguments: &[CString],
    kept: &[&str],
    streams: (OwnedFd, OwnedFd),
    excuse: &[u8],
) -> Result<Started, Errno> {
    let environment: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| kept.iter().any(|k| name == k))
        .filter_map(|(name, value)| CString::new([&name.into_vec()[..], b"=", &value.into_vec()[..]].concat()).ok())
        .collect();
    let ends = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (argv, envp) = (ends(arguments), ends(&environment));
    fork(&streams, |ready| {
        // SAFETY: all of it was made before, and lives until then.
        unsafe {
            if ready {
                libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
            }
            libc::write(streams.1.as_raw_fd(), excuse.as_ptr().cast(), excuse.len());
        }
        NO_PROGRAM
    })
}

/// Forks. The child has the streams for its own, `/` for its directory and no signal blocked; it goes on with `child`, which
/// is told whether that is so, and ends with what that returns. Where this process has threads, `child` may make
/// async-signal-safe calls only (fork(2), signal-safety(7)).
fn fork((input, output): &(OwnedFd, OwnedFd), child: impl FnOnce(bool) -> i32) -> Result<Started, Errno> {
    /// Whatever happens, nothing of this process's own work goes on in its child.
    struct Never;
    impl Drop for Never {
        fn drop(&mut self) {
            // SAFETY: _exit(2) only ends this process.
            unsafe { libc::_exit(NO_PROGRAM) }
        }
    }
    let nothing = SigSet::empty();
    // SAFETY: the child makes async-signal-safe calls only, unless its caller knows that it has no threads.
    match unsafe { nix::unistd::fork() }.map_err(|e| Errno::from_raw_os_error(e as i32))? {
        ForkResult::Parent { child } => {
            let pid = Pid::from_raw(child.as_raw()).ok_or(Errno::SRCH)?;
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).map(|pidfd| Started { pidfd }).inspect_err(|_| {
                // One of which nobody knows would have no deadline.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            })
        }
        ForkResult::Child => {
            let _never = Never;
            // SAFETY: plain system calls on what lives until then. The streams never have the numbers that they get: std has
            // 0 to 2 open in every process of ours.
            let ready = unsafe {
                libc::dup2(input.as_raw_fd(), 0) == 0
                    && libc::dup2(output.as_raw_fd(), 1) == 1
                    && libc::chdir(c"/".as_ptr()) == 0
                    && libc::sigprocmask(libc::SIG_SETMASK, nothing.as_ref(), std::ptr::null_mut()) == 0
            };
            let code = child(ready);
            // SAFETY: as above.
            unsafe { libc::_exit(code) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// What a program with these arguments says, given this to read, and how it is about it after its end.
    fn said(program: &CStr, arguments: &[&CStr], given: &[u8]) -> String {
        let (input, mut give) = std::io::pipe().unwrap();
        let (mut out, output) = std::io::pipe().unwrap();
        let arguments: Vec<CString> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let started =
            start_program(program, &arguments, &["PATH"], (input.into(), output.into()), b"it did not start").unwrap();
        give.write_all(given).unwrap();
        drop(give);
        let mut said = String::new();
        out.read_to_string(&mut said).unwrap();
        started.wait();
        assert!(started.has_ended() && started.has_ended());
        started.kill();
        said
    }

    #[test]
    fn a_new_process_has_what_it_is_given_and_nothing_else() {
        let mut mask = SigSet::empty();
        mask.add(nix::sys::signal::Signal::SIGTERM);
        mask.thread_block().unwrap();
        let script =
            c"cat; pwd; grep SigBlk: /proc/self/status; env | sed 's/=.*//' | grep -vx '_\\|PWD\\|SHLVL\\|OLDPWD'";
        let said = said(c"/bin/sh", &[c"sh", c"-c", script], b"given\n");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines, ["given", "/", "SigBlk:\t0000000000000000", "PATH"], "{said}");
        mask.thread_unblock().unwrap();
    }

    #[test]
    fn a_copy_does_its_work_and_nothing_else() {
        let (input, mut give) = std::io::pipe().unwrap();
        let (mut out, output) = std::io::pipe().unwrap();
        give.write_all(b"given").unwrap();
        drop(give);
        // Tests have threads: nothing here takes a lock, as panicking would.
        let copy = copy((input.into(), output.into()), || {
            let mut buffer = [0; 5];
            // SAFETY: plain system calls on what lives until then.
            let echoed =
                unsafe { libc::read(0, buffer.as_mut_ptr().cast(), 5) + libc::write(1, buffer.as_ptr().cast(), 5) };
            i32::from(echoed != 10)
        })
        .unwrap();
        let mut said = String::new();
        out.read_to_string(&mut said).unwrap();
        copy.wait();
        assert_eq!(said, "given");
    }

    #[test]
    fn one_that_does_not_come_up_says_so() {
        assert_eq!(said(c"/nonexistent", &[c"x"], b""), "it did not start");
    }
}

//! Runs a program and kills it at one of its system calls: `strike WHEN WHOM PROGRAM ARGUMENT…`.
//!
//! All processes that come of it are traced (ptrace(2)). Calls that others can see the effect of are counted, whichever of
//! them makes them, and at number WHEN, before it is done, `all` of them are killed, or `one`: the process that makes it. A
//! death between two calls that only change the process itself is the same for everybody else as one before the next that
//! counts. WHEN 0 kills nobody. Prints how many calls were counted, what was struck, and the program's exit code.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Calls that show nobody else anything: they read, wait, or change the process itself.
const SILENT: [libc::c_long; 71] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_futex,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_prlimit64,
    libc::SYS_prctl,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// The same of calls that only this processor has.
#[cfg(target_arch = "x86_64")]
const OLD: [libc::c_long; 14] = [
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_arch_prctl,
    libc::SYS_getdents,
    libc::SYS_getrlimit,
    libc::SYS_time,
    libc::SYS_alarm,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: [libc::c_long; 0] = [];

/// What a stopped process is about to do.
struct Call {
    number: libc::c_long,
    arguments: [u64; 6],
}

impl Call {
    fn is_seen(&self) -> bool {
        let writes = |flags: u64| flags & u64::from((libc::O_CREAT | libc::O_TRUNC).unsigned_abs()) != 0;
        match self.number {
            libc::SYS_openat => writes(self.arguments[2]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => writes(self.arguments[1]),
            // What is made by openat2(2) would have to be looked up in its memory: it counts.
            // Descriptors that others hold the other end of are seen by these when they are closed; files are not.
            libc::SYS_close => false,
            number => !SILENT.contains(&number) && !OLD.contains(&number),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let text = |a: Option<std::ffi::OsString>| a.and_then(|a| a.into_string().ok());
    let (when, whom) = (text(arguments.next()), text(arguments.next()));
    let usage = "usage: strike WHEN all|one PROGRAM ARGUMENT...";
    let (Some(when), Some(whom), Some(program)) = (when, whom, arguments.next()) else { return Err(usage.into()) };
    let when: u64 = when.parse()?;
    let all = match whom.as_str() {
        "all" => true,
        "one" => false,
        _ => return Err(usage.into()),
    };
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; ptrace(2) is a bare system call.
    unsafe {
        command.pre_exec(|| {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    let child = command.spawn()?;
    let mut hunt = Hunt { when, all, counted: 0, struck: None, traced: BTreeMap::new() };
    let code = hunt.follow(&child)?;
    println!("calls {} struck {} exit {code}", hunt.counted, hunt.struck.as_deref().unwrap_or("nobody"));
    Ok(())
}

struct Hunt {
    when: u64,
    all: bool,
    counted: u64,
    struck: Option<String>,
    /// Who is traced, and whether the stop that each begins with was seen.
    traced: BTreeMap<i32, bool>,
}

impl Hunt {
    /// Until nobody is left. The exit code of the first, 128 and more for a signal.
    fn follow(&mut self, first: &Child) -> io::Result<i32> {
        let first = i32::try_from(first.id()).map_err(io::Error::other)?;
        let mut code = -1;
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to a local variable.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            if pid < 0 {
                return match io::Error::last_os_error() {
                    e if e.raw_os_error() == Some(libc::ECHILD) => Ok(code),
                    e => Err(e),
                };
            }
            if !libc::WIFSTOPPED(status) {
                self.traced.remove(&pid);
                if pid == first {
                    let ended = libc::WIFEXITED(status);
                    code = if ended { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
                }
                continue;
            }
            self.stopped(pid, status, pid == first);
        }
    }

    fn stopped(&mut self, pid: i32, status: i32, first: bool) {
        let begun = self.traced.insert(pid, true).unwrap_or(false);
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let mut pass = 0;
        if !begun && first {
            let options = libc::PTRACE_O_TRACESYSGOOD
                | libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACEVFORK
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_TRACEEXEC
                | libc::PTRACE_O_EXITKILL;
            ptrace(libc::PTRACE_SETOPTIONS, pid, 0, usize::try_from(options).unwrap_or(0));
        } else if signal == libc::SIGTRAP | 0x80 {
            if let Some(call) = call(pid).filter(Call::is_seen) {
                self.counted += 1;
                if self.counted == self.when {
                    self.strike(pid, &call);
                    return;
                }
            }
        } else if begun && event == 0 {
            pass = signal;
        }
        ptrace(libc::PTRACE_SYSCALL, pid, 0, usize::try_from(pass).unwrap_or(0));
    }

    fn strike(&mut self, pid: i32, call: &Call) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        self.struck = Some(format!("{}:{}", name.trim().replace(' ', "-"), call.number));
        let everybody: Vec<i32> = if self.all { self.traced.keys().copied().collect() } else { vec![pid] };
        for pid in everybody {
            // A killed one is never let go on: the call is not made.
            // SAFETY: kill(2) takes numbers only.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

/// What the process that stopped there is about to call; nothing when it comes back from a call.
fn call(pid: i32) -> Option<Call> {
    // SAFETY: all zeros is a value of this plain structure of the kernel's.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the kernel writes at most `size` bytes to the structure.
    let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info) };
    if got <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: `op` says that this is the member that was written.
    let entry = unsafe { info.u.entry };
    Some(Call { number: libc::c_long::try_from(entry.nr).ok()?, arguments: entry.args })
}

/// Asks it of the kernel. Whoever was killed meanwhile is not there any more, which is no error.
fn ptrace(request: libc::c_uint, pid: i32, address: usize, data: usize) {
    // SAFETY: these requests take numbers only.
    unsafe { libc::ptrace(request, pid, address, data) };
}

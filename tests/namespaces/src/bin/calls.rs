//! Runs a service and notes which of its functions are called, and by whom: `calls FUNCTIONS CALLED PROGRAM ARGUMENT…`.
//!
//! FUNCTIONS has the address of each in the program's file, a hexadecimal number a line. Where each begins a breakpoint is put
//! (ptrace(2), int3 of Intel's manual), in every process that runs the program, and taken out when it was met: from then on
//! all is as fast as ever. CALLED gets a line for each that was met: `launcher`, `main` or `helper`, and the address.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The instruction that stops a process.
const BREAKPOINT: u8 = 0xcc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(functions), Some(called), Some(program)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: calls FUNCTIONS CALLED PROGRAM ARGUMENT...".into());
    };
    let mut replaced = BTreeMap::new();
    for line in fs::read_to_string(functions)?.lines() {
        replaced.insert(u64::from_str_radix(line, 16)?, 0);
    }
    let called = File::create(called)?;
    let program = fs::canonicalize(program)?;
    let mut command = Command::new(&program);
    command.args(arguments);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; ptrace(2) is a bare system call.
    unsafe {
        command.pre_exec(|| {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    let first = i32::try_from(command.spawn()?.id())?;
    Trace { program, replaced, called, first, begun: BTreeSet::new() }.follow()?;
    Ok(())
}

struct Trace {
    program: PathBuf,
    /// Each function's address in the file, and the byte that the breakpoint replaces.
    replaced: BTreeMap<u64, u8>,
    called: File,
    first: i32,
    /// Whose stop was seen that each begins with.
    begun: BTreeSet<i32>,
}

impl Trace {
    /// Until nobody is left.
    fn follow(&mut self) -> io::Result<()> {
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to a local variable.
            let task = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            if task < 0 {
                return match io::Error::last_os_error() {
                    e if e.raw_os_error() == Some(libc::ECHILD) => Ok(()),
                    e => Err(e),
                };
            }
            if !libc::WIFSTOPPED(status) {
                self.begun.remove(&task);
                continue;
            }
            // Who was killed meanwhile is not there any more, which is no error.
            let pass = self.stopped(task, libc::WSTOPSIG(status), status >> 16).unwrap_or(0);
            ptrace(libc::PTRACE_CONT, task, usize::try_from(pass).unwrap_or(0));
        }
    }

    /// Returns the signal that the task gets.
    fn stopped(&mut self, task: i32, signal: i32, event: i32) -> io::Result<i32> {
        let begins = self.begun.insert(task);
        if begins && task == self.first {
            let options = libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACEVFORK
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_TRACEEXEC
                | libc::PTRACE_O_EXITKILL;
            ptrace(libc::PTRACE_SETOPTIONS, task, usize::try_from(options).unwrap_or(0));
            return self.plant(task).map(|()| 0);
        }
        if event == libc::PTRACE_EVENT_EXEC {
            return self.plant(task).map(|()| 0);
        }
        if begins || event != 0 {
            return Ok(0);
        }
        if signal == libc::SIGTRAP && self.met(task)? {
            return Ok(0);
        }
        Ok(signal)
    }

    /// Puts breakpoints into what was just started, if it is the program.
    fn plant(&mut self, task: i32) -> io::Result<()> {
        let Some(base) = base(task, &self.program) else { return Ok(()) };
        let memory = memory(task)?;
        for (address, replaced) in &mut self.replaced {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, base + address)?;
            *replaced = byte[0];
            memory.write_all_at(&[BREAKPOINT], base + address)?;
        }
        Ok(())
    }

    /// Notes what the task was about to do and lets it; false when it met no breakpoint.
    fn met(&mut self, task: i32) -> io::Result<bool> {
        // SAFETY: all zeros is a value of this plain structure of the kernel's.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one such structure.
        unsafe { libc::ptrace(libc::PTRACE_GETREGS, task, 0, &raw mut registers) };
        let Some(base) = base(task, &self.program) else { return Ok(false) };
        let Some(address) = registers.rip.checked_sub(base + 1) else { return Ok(false) };
        let Some(replaced) = self.replaced.get(&address) else { return Ok(false) };
        memory(task)?.write_all_at(&[*replaced], base + address)?;
        registers.rip -= 1;
        // SAFETY: the kernel reads one such structure.
        unsafe { libc::ptrace(libc::PTRACE_SETREGS, task, 0, &raw const registers) };
        writeln!(self.called, "{} {address:x}", self.role(task))?;
        Ok(true)
    }

    /// Who that is: the launcher's copies are called as it is.
    fn role(&self, task: i32) -> &'static str {
        let line = fs::read(format!("/proc/{task}/cmdline")).unwrap_or_default();
        let process = fs::read_to_string(format!("/proc/{task}/status")).unwrap_or_default();
        let process = process.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        match line.split(|byte| *byte == 0).nth(1) {
            Some(b"brain") => "main",
            _ if process == Some(self.first) => "launcher",
            _ => "helper",
        }
    }
}

/// Where the file of the program begins in a task's memory (proc(5), maps).
fn base(task: i32, program: &Path) -> Option<u64> {
    let maps = fs::read_to_string(format!("/proc/{task}/maps")).ok()?;
    let first =
        maps.lines().find(|line| line.split_whitespace().nth(5).is_some_and(|path| Path::new(path) == program))?;
    u64::from_str_radix(first.split('-').next()?, 16).ok()
}

fn memory(task: i32) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/{task}/mem"))
}

/// Asks it of the kernel.
fn ptrace(request: libc::c_uint, task: i32, data: usize) {
    // SAFETY: these requests take numbers only.
    unsafe { libc::ptrace(request, task, 0, data) };
}

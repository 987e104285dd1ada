//! What the guests stand on, made while the rings before them run: those wait half of their time, and the released build
//! is one long stretch on one processor.

use crate::deb::{self, target};
use crate::host::{Error, at};
use crate::{counts, image};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the package goes.
const OUT: &str = "dist";

/// Does it: the guests' image, the package, and how many instructions its hot paths take. Returns where the package is.
///
/// # Errors
/// One of them cannot be built, or the paths take more instructions than what is kept allows.
pub fn run() -> Result<PathBuf, Error> {
    image::build(vm::Suite::Trixie, false)?;
    let package = package()?;
    // Here, where most of what is counted is built already.
    counts::run(false)?;
    Ok(package)
}

/// The package that is tested, packed twice.
///
/// # Errors
/// It cannot be built, or the two differ.
pub fn package() -> Result<PathBuf, Error> {
    let package = deb::build(Path::new(OUT))?;
    deb::pack_again(&package).map(|()| package)
}

/// The same in a process of its own, at the lowest priority. It ends with this; if that is killed, it goes on to its own end.
#[derive(Debug)]
pub struct Ahead {
    child: Child,
    log: PathBuf,
}

impl Ahead {
    /// Begins. What it says is kept until somebody waits for its end.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn begin() -> Result<Self, Error> {
        let log = target().join("ahead.log");
        let file = at(&log, File::create(&log))?;
        let other = at(&log, file.try_clone())?;
        let own = std::env::current_exe().map_err(|error| Error::Start("cargo xtask ahead".to_owned(), error))?;
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(own).arg("ahead").stdin(Stdio::null()).stdout(file).stderr(other);
        // A group of its own, so that what it has started ends with it.
        let child = command.process_group(0).spawn();
        Ok(Self { child: child.map_err(|error| Error::Start("nice".to_owned(), error))?, log })
    }

    /// Waits for its end, shows what it said, and returns where the package is.
    ///
    /// # Errors
    /// It failed.
    pub fn end(mut self) -> Result<PathBuf, Error> {
        let status = self.child.wait().map_err(|error| Error::Start("cargo xtask ahead".to_owned(), error))?;
        print!("{}", String::from_utf8_lossy(&at(&self.log, fs::read(&self.log))?));
        let failed =
            || Error::Failed("what was made ahead of the guests".to_owned(), "what it said is above".to_owned());
        if status.success() { deb::built(Path::new(OUT)) } else { Err(failed()) }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // Once it was waited for, its number may be somebody else's.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::TERM));
        let _ = self.child.wait();
    }
}

//! A user who changes their home under the agent's hands: `spiteful HOME SECONDS LINK`. Prints how often the agent's link
//! (to LINK, which is never made here) was found: so often the agent was at work in between.

use rustix::fs::{CWD, Mode, RenameFlags, mkfifoat, renameat_with};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ELSEWHERE: [&str; 14] = [
    "/etc",
    "/root",
    "/",
    "/home/ada",
    "/home/ada/notebooks",
    "/srv/share",
    "/srv/share/notebooks",
    "/srv/data",
    "/run/dsvm-agent",
    "/run/dsvm-agent/status",
    "/dev/zero",
    "/proc/self/root/etc",
    "/nowhere/at/all",
    "notebooks",
];

struct Home {
    home: PathBuf,
    seed: u64,
}

impl Home {
    fn dice(&mut self, sides: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.seed >> 33).unwrap_or(0) % sides
    }

    /// Puts something at `path`. That this fails now and then, since the agent is there too, is the point.
    fn put(&mut self, path: &Path) {
        let target = ELSEWHERE.get(self.dice(ELSEWHERE.len())).copied().unwrap_or("/etc");
        let _ = match self.dice(9) {
            0 => Ok(()),
            1 => fs::write(path, "mine"),
            2 => mkfifoat(CWD, path, Mode::from(0o666)).map_err(Into::into),
            3 => fs::create_dir(path).and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o000))),
            4..=6 => fs::create_dir(path),
            _ => symlink(target, path),
        };
    }

    fn clear(path: &Path) {
        let _ = fs::set_permissions(path, Permissions::from_mode(0o700)).and(fs::remove_dir_all(path));
        let _ = fs::remove_file(path);
    }

    fn round(&mut self, link: &Path) -> u64 {
        let (notebooks, other) = (self.home.join("notebooks"), self.home.join("other"));
        let found =
            [&notebooks, &other].into_iter().filter(|d| fs::read_link(d.join("remote")).is_ok_and(|l| l == link));
        let found = found.count() as u64;
        for directory in [&notebooks, &other] {
            // A link's own target is not this user's to clear, and is not cleared: only the link goes.
            if directory.is_symlink() {
                let _ = fs::remove_file(directory);
            } else {
                Self::clear(directory);
            }
            self.put(directory);
            if self.dice(3) == 0 && !directory.is_symlink() {
                self.put(&directory.join("remote"));
            }
        }
        // One in place of the other, at once and again and again: between a look and what is done after it.
        for _ in 0..self.dice(300) {
            let _ = renameat_with(CWD, &notebooks, CWD, &other, RenameFlags::EXCHANGE);
        }
        if self.dice(20) == 0 {
            let mode = [0o000, 0o100, 0o500, 0o777].get(self.dice(4)).copied().unwrap_or(0o700);
            let _ = fs::set_permissions(&self.home, Permissions::from_mode(mode));
            std::thread::yield_now();
            let _ = fs::set_permissions(&self.home, Permissions::from_mode(0o755));
        }
        found
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, seconds, link] = &arguments[..] else { return Err("usage: spiteful HOME SECONDS LINK".into()) };
    if rustix::process::geteuid().is_root() {
        return Err("this removes things: not as root".into());
    }
    let seed = std::time::UNIX_EPOCH.elapsed()?.subsec_nanos().into();
    let mut home = Home { home: home.into(), seed };
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let mut found = 0;
    while Instant::now() < end {
        // Long enough, now and then, for the agent to come by.
        if home.dice(4) == 0 {
            std::thread::sleep(Duration::from_millis(home.dice(30) as u64));
        }
        found += home.round(Path::new(link));
    }
    println!("{found}");
    Ok(())
}

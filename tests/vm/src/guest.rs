//! A guest: booted or resumed, commanded, broken, and always ended.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::boot::{directory, seed_for};
use crate::control::{Control, Output, quoted};
use crate::image::Image;
use crate::network::{Network, Plug};
use crate::qemu::{Cloud, Machine, Process, Start, overlay};
use crate::scenario::{Common, failures};
use crate::wait::until;

/// How long a command may take that is not expected to take long.
const COMMAND: Duration = Duration::from_secs(120);

/// How long a boot may take. Emulated on a busy machine it takes a minute.
const BOOT: Duration = Duration::from_secs(400);

/// A virtual machine under test. It ends when this is dropped; if that is because the test failed, its serial log, its
/// journal and what the agent says of itself are kept.
#[derive(Debug)]
pub struct Guest {
    common: Arc<Common>,
    name: String,
    image: Image,
    memory: u32,
    kernel_line: String,
    directory: PathBuf,
    seed: PathBuf,
    cloud: Cloud,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    // Dropped in this order: first the channel, then the machine, then its place on the segment.
    control: Control,
    process: Process,
    _plug: Plug,
}

impl Guest {
    pub(crate) fn new(common: Arc<Common>, name: &str, image: Image, memory: u32, seed: PathBuf, base: &Path) -> Self {
        let directory = common.directory.path().join(name);
        overlay(&directory.join("disk.qcow2"), base).expect("a disk for the guest");
        let (name, kernel_line, cloud) = (name.to_owned(), String::new(), Cloud::Disk);
        Self { common, name, image, memory, kernel_line, directory, seed, cloud, running: None }
    }

    /// Goes on from saved memory on the disk that belongs to it.
    pub(crate) fn resumed(
        common: &Arc<Common>,
        name: &str,
        image: &Image,
        memory: u32,
        saved: &Path,
        now: bool,
    ) -> Self {
        directory(common, name);
        let (seed, disk) = (saved.join("seed.iso"), saved.join("disk.qcow2"));
        let mut guest = Self::new(Arc::clone(common), name, image.clone(), memory, seed, &disk);
        guest.power_on_from(&Start::Resume(&saved.join("memory")));
        guest.become_itself(now);
        guest
    }

    /// Stops it and leaves in `to` what [`Guest::resumed`] goes on from.
    pub(crate) fn save(mut self, to: &Path) -> io::Result<()> {
        let mut running = self.running.take().ok_or_else(|| io::Error::other("a guest that is off has no state"))?;
        // A disk that is written back, and no connection that will never be heard of again.
        running.control.run("sync", b"", COMMAND)?;
        running.control.disconnect();
        std::thread::sleep(Duration::from_millis(300));
        running.process.save(&to.join("memory"))?;
        fs::copy(&self.seed, to.join("seed.iso"))?;
        fs::copy(self.directory.join("disk.qcow2"), to.join("disk.qcow2")).map(drop)
    }

    #[track_caller]
    pub(crate) fn power_on_from(&mut self, start: &Start<'_>) {
        let began = Instant::now();
        let disk = self.directory.join("disk.qcow2");
        let mac = self.mac();
        let machine = Machine {
            image: &self.image,
            directory: &self.directory,
            disk: &disk,
            seed: &self.seed,
            cloud: self.cloud,
            memory: self.memory,
            kernel_line: &self.kernel_line,
            mac: &mac,
        };
        let (card, plug) = self.common.network.plug().expect("a card on the segment");
        let process = machine.start(card, start).expect("a machine");
        let control = Control::new(&self.directory, self.image.key(), process.port());
        self.running = Some(Running { control, process, _plug: plug });
        self.reach(BOOT);
        let how = if matches!(start, Start::Boot) { "booted" } else { "resumed" };
        eprintln!("vm: {} {how} in {:.1} s", self.name, began.elapsed().as_secs_f64());
    }

    fn mac(&self) -> String {
        format!("52:54:00:4d:00:{:02x}", self.address().octets()[3])
    }

    /// A resumed guest wakes as the one that was saved: with its name, its addresses, and the time it had then.
    #[track_caller]
    fn become_itself(&self, now: bool) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let clock = if now { format!("date --set @{:.3} >/dev/null", since.as_secs_f64()) } else { String::new() };
        let (name, mac, address) = (&self.name, self.mac(), self.address());
        self.sh(&format!(
            "set -e; {clock}
            echo {name} >/etc/hostname; hostname {name}
            ip link set eth1 down; ip link set eth1 address {mac}
            sed -i 's/^Address=.*/Address={address}\\/24/' /etc/systemd/network/*-cloud-init-eth1.network
            ip addr flush dev eth1; networkctl reload; ip link set eth1 up
            n=0; until ip -br addr show eth1 | grep -q ' {address}/'; do
                n=$((n+1)); [ $n -lt 300 ]; sleep 0.1
            done"
        ));
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the segment.
    pub fn address(&self) -> Ipv4Addr {
        Network::address(&self.name)
    }

    #[track_caller]
    fn running(&self) -> &Running {
        self.running.as_ref().unwrap_or_else(|| panic!("{} is off", self.name))
    }

    #[track_caller]
    fn running_mut(&mut self) -> &mut Running {
        let name = &self.name;
        self.running.as_mut().unwrap_or_else(|| panic!("{name} is off"))
    }

    #[track_caller]
    fn reach(&mut self, within: Duration) {
        let name = self.name.clone();
        let running = self.running_mut();
        if let Err(error) = running.control.connect(within) {
            panic!("{name}: {error}");
        }
    }

    /// Runs a line of shell as root.
    #[track_caller]
    pub fn ssh(&self, line: &str) -> Output {
        self.ssh_within(line, COMMAND)
    }

    /// The same, with another limit than two minutes. One that reaches it has the status 124.
    #[track_caller]
    pub fn ssh_within(&self, line: &str, within: Duration) -> Output {
        self.run(line, b"", within)
    }

    #[track_caller]
    fn run(&self, line: &str, input: &[u8], within: Duration) -> Output {
        let output = self.running().control.run(line, input, within);
        output.unwrap_or_else(|error| panic!("{}: `{line}`: {error}", self.name))
    }

    /// Runs a line of shell as root and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        self.ssh(line).ok()
    }

    /// Runs a line of shell with a user's rights, in their home, without logging in: PAM and logind hear nothing of it.
    #[track_caller]
    pub fn as_user(&self, user: &str, line: &str) -> Output {
        self.as_user_within(user, line, COMMAND)
    }

    /// The same, with another limit than two minutes.
    #[track_caller]
    pub fn as_user_within(&self, user: &str, line: &str, within: Duration) -> Output {
        let user = quoted(user);
        let line = quoted(&format!("cd; {line}"));
        let run = "exec setpriv --reuid \"$u\" --regid \"$g\" --init-groups --reset-env -- bash -c";
        self.ssh_within(&format!("u={user}; g=$(id -g -- \"$u\") || exit; {run} {line}"), within)
    }

    /// Logs a user in over the guest's own SSH server, with everything that hangs on that, and runs a line of shell.
    #[track_caller]
    pub fn log_in(&self, user: &str, line: &str) -> Output {
        self.ssh(&format!("{} {}", log_in_command("", user), quoted(line)))
    }

    /// Logs a user in on a terminal, to stay until [`Guest::log_out`].
    #[track_caller]
    pub fn stay_logged_in(&self, user: &str) {
        let command = log_in_command("-tt", user);
        self.sh(&format!("systemd-run --quiet --collect --unit=person-{user} {command} 'exec sleep infinity'"));
        let there = || self.sh(&format!("pgrep -u {} -x sleep || true", quoted(user))).lines().count() > 0;
        assert!(until(COMMAND, there), "{user} could not log in: {}", self.sh("journalctl -b -u ssh -n 20 --no-pager"));
    }

    /// Ends what [`Guest::stay_logged_in`] began.
    #[track_caller]
    pub fn log_out(&self, user: &str) {
        self.sh(&format!("systemctl stop person-{user}"));
    }

    /// Writes a file as root, and the directories on the way to it.
    #[track_caller]
    pub fn put(&self, bytes: impl AsRef<[u8]>, path: &str, mode: u32) {
        let line = format!("install -D -m {mode:o} /dev/stdin {}", quoted(path));
        self.run(&line, bytes.as_ref(), COMMAND).ok();
    }

    /// Reads a file as root.
    ///
    /// # Panics
    /// If it cannot be read.
    #[track_caller]
    pub fn get(&self, path: &str) -> Vec<u8> {
        let output = self.ssh(&format!("cat -- {}", quoted(path)));
        assert!(output.success(), "{output}");
        output.bytes()
    }

    #[track_caller]
    pub(crate) fn forward(&self, port: u16, here: u16) {
        self.running().control.forward(port, here).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Says where a name leads from now on, in `/etc/hosts`.
    #[track_caller]
    pub fn resolve(&self, name: &str, address: Ipv4Addr) {
        // In place: a new file would have a new inode, and the old one may be held open.
        let name = quoted(name);
        self.sh(&format!(
            "h=$(grep -vwF -- {name} /etc/hosts); printf '%s\\n%s\\n' \"$h\" {address}' '{name} >/etc/hosts"
        ));
    }

    /// What the journal holds of this boot.
    #[track_caller]
    pub fn journal(&self) -> String {
        self.sh("journalctl --boot --no-pager --output short-precise")
    }

    /// What came over the serial line since the guest was made.
    pub fn serial(&self) -> String {
        let bytes = fs::read(self.directory.join("serial.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A shell in the guest for whoever sits at the terminal, until they leave it.
    ///
    /// # Panics
    /// If ssh cannot be started.
    #[track_caller]
    pub fn shell(&self) {
        self.running().control.shell().expect("ssh starts");
    }

    /// Waits until cloud-init and the services are through with booting, well or not.
    #[track_caller]
    pub fn settle(&self) {
        self.ssh_within("cloud-init status --wait; systemctl is-system-running --wait", BOOT);
    }

    /// Restarts the guest as an administrator does, and waits until it is up.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.restart();
        self.settle();
    }

    /// Restarts the guest and returns as soon as the control channel answers again.
    #[track_caller]
    pub fn restart(&mut self) {
        let boot = || "cat /proc/sys/kernel/random/boot_id";
        let before = self.sh(boot());
        // The channel may go before the answer comes.
        self.ssh("systemctl reboot");
        let began = Instant::now();
        let deadline = began + BOOT;
        loop {
            self.reach(deadline.saturating_duration_since(Instant::now()));
            let after = self.ssh_within(boot(), Duration::from_secs(20));
            if after.success() && after.stdout.trim() != before {
                eprintln!("vm: {} restarted in {:.1} s", self.name, began.elapsed().as_secs_f64());
                return;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Shuts the guest down and waits until it is off.
    ///
    /// # Panics
    /// If it is not off after some minutes.
    #[track_caller]
    pub fn power_off_clean(&mut self) {
        self.ssh("systemctl poweroff");
        let running = self.running_mut();
        let off = until(BOOT, || !running.process.runs());
        assert!(off, "{} did not shut down", self.name);
        self.running = None;
    }

    /// Takes the power away, in the middle of everything.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Gives a guest that is off another size, as a scale set's model can: so many MiB from its next boot on.
    ///
    /// # Panics
    /// If it is on.
    #[track_caller]
    pub fn resize(&mut self, mebibytes: u32) {
        assert!(self.running.is_none(), "{} is on", self.name);
        self.memory = mebibytes;
    }

    /// Tells the kernel of a guest that is off this too, from its next boot on.
    ///
    /// # Panics
    /// If it is on.
    #[track_caller]
    pub fn tell_kernel(&mut self, words: &str) {
        assert!(self.running.is_none(), "{} is on", self.name);
        self.kernel_line = words.to_owned();
    }

    /// Boots a guest that is off, from the disk that it had.
    #[track_caller]
    pub fn power_on(&mut self) {
        assert!(self.running.is_none(), "{} is on", self.name);
        self.power_on_from(&Start::Boot);
        self.settle();
    }

    /// Another machine, made from this one's disk as from an image, and booted for the first time. This one must be off,
    /// and stay so.
    ///
    /// # Panics
    /// If this one is on, or the other does not boot.
    #[track_caller]
    pub fn boot_clone(&self, name: &str, user_data: &str) -> Guest {
        self.clone_on(Cloud::Disk, name, |directory| seed_for(directory, name, user_data))
    }

    #[track_caller]
    pub(crate) fn clone_on(&self, cloud: Cloud, name: &str, seed: impl FnOnce(&Path) -> PathBuf) -> Self {
        assert!(self.running.is_none(), "{} is on", self.name);
        let seed = seed(&directory(&self.common, name));
        let disk = self.directory.join("disk.qcow2");
        let mut clone = Self::new(Arc::clone(&self.common), name, self.image.clone(), self.memory, seed, &disk);
        clone.cloud = cloud;
        clone.power_on_from(&Start::Boot);
        clone.settle();
        clone
    }

    /// Pulls the cable of the segment, or puts it back. The control channel stays.
    #[track_caller]
    pub fn cable(&mut self, plugged: bool) {
        self.running_mut().process.cable(plugged).expect("QEMU moves the cable");
    }

    /// Makes the whole guest stand still, or go on.
    #[track_caller]
    pub fn pause(&mut self, paused: bool) {
        self.running_mut().process.pause(paused).expect("QEMU stops and goes on");
    }

    fn keep_remains(&self) -> io::Result<PathBuf> {
        let directory = failures(&self.common.name).join(&self.name);
        fs::create_dir_all(&directory)?;
        for name in ["serial.log", "qemu.log"] {
            let _ = fs::copy(self.directory.join(name), directory.join(name));
        }
        let Some(running) = &self.running else { return Ok(directory) };
        for (name, line) in [
            ("journal.txt", "journalctl --no-pager --output short-precise"),
            ("status.txt", "dsvm-agent status; dsvm-agent status --json"),
            (
                "system.txt",
                "cat /proc/self/mountinfo; systemctl --failed; ps axfo pid,user,stat,wchan:20,args; free -m",
            ),
        ] {
            let output = running.control.run(line, b"", Duration::from_secs(30))?;
            fs::write(directory.join(name), format!("{}{}", output.stdout, output.stderr))?;
        }
        Ok(directory)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        match self.keep_remains() {
            Ok(directory) => eprintln!("vm: what is left of {}: {}", self.name, directory.display()),
            Err(error) => eprintln!("vm: nothing could be kept of {}: {error}", self.name),
        }
    }
}

fn log_in_command(options: &str, user: &str) -> String {
    format!(
        "ssh {options} -q -i /root/person_key -o BatchMode=yes -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null -- {}@127.0.0.1",
        quoted(user)
    )
}

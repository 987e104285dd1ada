//! One QEMU process: started, spoken to, and always ended.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cache;
use crate::image::Image;
use crate::wait::until;

/// What the kernel is told. The names of the cards are the images' own.
const KERNEL_LINE: &str = "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off loglevel=4";

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor itself.
    Kvm,
    /// A program.
    Tcg,
}

impl Accelerator {
    /// The faster of those that work here. Some machines have a `/dev/kvm` that boots nothing, so one kernel is tried,
    /// once for each boot of this machine.
    pub fn here(image: &Image) -> Self {
        match std::env::var("DSVM_VM_ACCEL").as_deref() {
            Ok("kvm") => return Self::Kvm,
            Ok("tcg") => return Self::Tcg,
            Ok(other) => panic!("DSVM_VM_ACCEL is kvm or tcg, not {other}"),
            Err(_) => {}
        }
        if File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return Self::Tcg;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let answer = cache::directory().join(format!("kvm-{}", boot.trim()));
        let _alone = cache::Lock::exclusive(&cache::directory().join("kvm.lock"));
        let works = fs::read_to_string(&answer).ok().map(|text| text == "yes").unwrap_or_else(|| {
            let works = kvm_boots(image);
            eprintln!("vm: /dev/kvm {}", if works { "works" } else { "boots nothing: emulating" });
            let _ = fs::write(&answer, if works { "yes" } else { "no" });
            works
        });
        if works { Self::Kvm } else { Self::Tcg }
    }

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // With AES for encrypted mounts; what newer models have costs more to emulate than it brings.
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "Westmere"],
        }
    }
}

fn kvm_boots(image: &Image) -> bool {
    let Ok(directory) = tempfile::tempdir() else { return false };
    let serial = directory.path().join("serial");
    let mut command = bound("qemu-system-x86_64");
    command.args(["-nodefaults", "-display", "none", "-m", "256", "-no-reboot"]).args(Accelerator::Kvm.arguments());
    command.arg("-kernel").arg(image.kernel()).args(["-append", "console=ttyS0 panic=-1"]);
    command.arg("-serial").arg(format!("file:{}", serial.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = spawn(command) else { return false };
    // It gets as far as missing its root, in two seconds or never.
    let reached = || fs::read_to_string(&serial).is_ok_and(|text| text.contains("Unable to mount root"));
    let works = until(Duration::from_secs(8), reached);
    let _ = child.kill();
    let _ = child.wait();
    works
}

/// Where a machine starts.
#[derive(Debug)]
pub(crate) enum Start<'a> {
    /// From its disk.
    Boot,
    /// From the memory that was saved in this file.
    Resume(&'a Path),
}

/// How a cloud hands a machine what it wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// A disk with a file for each thing (cloud-init's NoCloud).
    Disk,
    /// Azure: a medium in a drive, and the asset tag of its chassis, by which cloud-init's ds-identify knows it.
    Azure,
}

impl Cloud {
    fn arguments(self, seed: &Path) -> Vec<String> {
        let seed = format!("file={},format=raw,readonly=on", seed.display());
        match self {
            Self::Disk => vec!["-drive".into(), format!("if=virtio,{seed}")],
            Self::Azure => vec![
                "-drive".into(),
                format!("if=ide,media=cdrom,{seed}"),
                "-smbios".into(),
                "type=3,asset=7783-7084-3265-9085-8269-3286-77".into(),
                // The VM's id, as instance metadata says it; cloud-init knows by it whether this is a first boot.
                "-uuid".into(),
                "5c08b38e-4d57-4c23-ac45-000000000000".into(),
            ],
        }
    }
}

/// What a machine is made of. Everything but the paths and the card's address must be the same for resuming.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub image: &'a Image,
    pub directory: &'a Path,
    pub disk: &'a Path,
    pub seed: &'a Path,
    pub cloud: Cloud,
    pub memory: u32,
    /// What the kernel is told besides.
    pub kernel_line: &'a str,
    pub mac: &'a str,
}

impl Machine<'_> {
    /// All that must be the same for resuming, as text.
    pub fn shape(image: &Image, memory: u32) -> String {
        let version = Command::new("qemu-system-x86_64").arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        format!("{version} {:?} {memory} {KERNEL_LINE} {}", Accelerator::here(image), include_str!("qemu.rs"))
    }

    /// Starts it with its card on the segment.
    pub fn start(&self, card: OwnedFd, start: &Start<'_>) -> io::Result<Process> {
        let at = |name: &str| self.directory.join(name);
        let (monitor, log) = (at("monitor"), at("qemu.log"));
        let _ = fs::remove_file(&monitor);
        let mut qemu = bound("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-display", "none", "-machine", "pc", "-smp", "2", "-m", &self.memory.to_string()]);
        qemu.args(Accelerator::here(self.image).arguments());
        qemu.arg("-kernel").arg(self.image.kernel()).arg("-initrd").arg(self.image.initrd());
        qemu.arg("-append").arg(format!("{KERNEL_LINE} {}", self.kernel_line));
        qemu.arg("-drive").arg(format!("if=virtio,file={},format=qcow2,cache=unsafe", self.disk.display()));
        qemu.args(self.cloud.arguments(self.seed));
        // The first card is the control channel and leads nowhere else; the second is on the segment. The segment's
        // socket is the process's standard input, which nothing else uses.
        qemu.args(["-netdev", "user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:0-:22000"]);
        qemu.args(["-device", "virtio-net-pci,netdev=control,mac=52:54:00:00:00:01,romfile="]);
        qemu.args(["-netdev", "socket,id=segment,fd=0", "-device"]);
        qemu.arg(format!("virtio-net-pci,id=card,netdev=segment,mac={},romfile=", self.mac));
        qemu.args(["-device", "virtio-rng-pci", "-chardev"]);
        qemu.arg(format!("file,id=serial,path={},append=on", at("serial.log").display()));
        qemu.args(["-serial", "chardev:serial", "-qmp"]);
        qemu.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        if let Start::Resume(memory) = start {
            qemu.arg("-incoming").arg(format!("exec:cat '{}'", memory.display()));
        }
        let said = File::options().create(true).append(true).open(&log)?;
        qemu.stdin(Stdio::from(card)).stdout(said.try_clone()?).stderr(said);
        let mut process = Process { child: spawn(qemu)?, monitor: None, port: 0 };
        process.attach(&monitor, &log)?;
        if let Start::Resume(_) = start {
            process.resume()?;
        }
        Ok(process)
    }
}

/// A QEMU that runs. It ends with this value, and with this process whatever happens to it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    monitor: Option<Monitor>,
    port: u16,
}

impl Process {
    /// The port on loopback that leads to the control channel.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn attach(&mut self, monitor: &Path, log: &Path) -> io::Result<()> {
        let mut stream = None;
        until(Duration::from_secs(30), || {
            stream = UnixStream::connect(monitor).ok();
            stream.is_some() || !self.runs()
        });
        let Some(stream) = stream else {
            let said = fs::read_to_string(log).unwrap_or_default();
            return Err(io::Error::other(format!("QEMU did not start: {}", said.trim())));
        };
        let mut monitor = Monitor::new(stream)?;
        let users = monitor.human("info usernet")?;
        // TCP[HOST_FORWARD]  12       127.0.0.1 43111       10.0.2.15 22000     0     0
        let forward = users.lines().find(|line| line.contains("HOST_FORWARD"));
        let port = forward.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        self.port = port.ok_or_else(|| io::Error::other(format!("no port leads to the guest: {users}")))?;
        self.monitor = Some(monitor);
        Ok(())
    }

    fn monitor(&mut self) -> io::Result<&mut Monitor> {
        self.monitor.as_mut().ok_or_else(|| io::Error::other("QEMU has no monitor"))
    }

    fn resume(&mut self) -> io::Result<()> {
        let monitor = self.monitor()?;
        monitor.wait("query-status", |answer| answer["status"] == "paused")?;
        monitor.ask("cont", &json!({})).map(drop)
    }

    /// Stops the guest and writes its memory to a file. The disk is whole when this returns; the guest is over.
    pub fn save(mut self, memory: &Path) -> io::Result<()> {
        let monitor = self.monitor()?;
        monitor.ask("stop", &json!({}))?;
        monitor.ask("migrate-set-parameters", &json!({"max-bandwidth": 1_u64 << 40}))?;
        monitor.ask("migrate", &json!({"uri": format!("exec:cat > '{}'", memory.display())}))?;
        monitor.wait("query-migrate", |answer| {
            assert_ne!(answer["status"], "failed", "QEMU could not save the guest: {answer}");
            answer["status"] == "completed"
        })?;
        monitor.ask("quit", &json!({}))?;
        self.child.wait().map(drop)
    }

    /// Plugs the segment's cable in or out.
    pub fn cable(&mut self, plugged: bool) -> io::Result<()> {
        self.monitor()?.ask("set_link", &json!({"name": "card", "up": plugged})).map(drop)
    }

    /// Stands still, as a host does that has other things to do.
    pub fn pause(&mut self, paused: bool) -> io::Result<()> {
        self.monitor()?.ask(if paused { "stop" } else { "cont" }, &json!({})).map(drop)
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU's monitor: a question, an answer, a line of JSON each.
#[derive(Debug)]
struct Monitor {
    answers: BufReader<UnixStream>,
}

impl Monitor {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut monitor = Self { answers: BufReader::new(stream) };
        monitor.line()?;
        monitor.ask("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| io::Error::other(format!("QEMU's monitor: {error} in {line:?}")))
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        let question = json!({"execute": command, "arguments": arguments});
        writeln!(self.answers.get_mut(), "{question}")?;
        loop {
            let mut line = self.line()?;
            if let Some(error) = line.get("error") {
                return Err(io::Error::other(format!("QEMU's monitor refused {question}: {error}")));
            }
            if line.get("return").is_some() {
                return Ok(line["return"].take());
            }
        }
    }

    fn human(&mut self, line: &str) -> io::Result<String> {
        let answer = self.ask("human-monitor-command", &json!({"command-line": line}))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    fn wait(&mut self, question: &str, enough: impl Fn(&Value) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !enough(&self.ask(question, &json!({}))?) {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("QEMU's monitor: {question} came to no end")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// A command whose process the kernel kills when the thread that started it ends. To be started by [`spawn`].
pub(crate) fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Starts a process from a thread that lasts as long as this process: those of tests come and go.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in jobs {
                // Whoever asked may have given up.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (answer, result) = channel();
    starter.send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// An empty overlay on a disk, so that the disk stays as it is.
pub(crate) fn overlay(disk: &Path, on: &Path) -> io::Result<()> {
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(on).arg(disk);
    finish(&mut create)
}

/// The disk from which cloud-init reads what a cloud would tell it.
pub(crate) fn seed(directory: &Path, label: &str, files: &[(&str, &str)]) -> io::Result<PathBuf> {
    let content = directory.join("seed");
    fs::create_dir_all(&content)?;
    for (name, text) in files {
        fs::write(content.join(name), text)?;
    }
    let disk = directory.join("seed.iso");
    let mut make = Command::new("genisoimage");
    make.args(["-quiet", "-volid", label, "-joliet", "-rock", "-output"]).arg(&disk).arg(&content);
    finish(&mut make)?;
    Ok(disk)
}

fn finish(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

//! Computing on GPUs, and memory held on them, as NVIDIA's management library tells it (NVML API reference,
//! <https://docs.nvidia.com/deploy/nvml-api/>): buffered samples of each process, not the moment at which somebody asks.
//!
//! The library belongs to the driver and is loaded when a look is taken, in a worker that ends afterwards: a driver that
//! was updated, hangs or went away takes nothing else with it. A VM without a GPU on its PCI bus has none: that is a fact. One
//! that has a GPU which cannot be asked cannot be told.

use super::{Roots, process};
use crate::idle::model::{GPU_TELLS_NOTHING, Level, Seen, Source};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the driver puts it: the loader's own path.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// NVIDIA's vendor id on the PCI bus.
const VENDOR: &str = "0x10de";
/// Classes of display and 3D controllers (pci.ids, class 03).
const CLASS: &str = "0x03";
/// The most GPUs and processes of each that are asked for.
const MOST: usize = 64;
/// The most samples and processes of one GPU.
const MOST_SAMPLES: c_uint = 4096;

/// `nvmlReturn_t`.
const SUCCESS: c_int = 0;
const NOT_SUPPORTED: c_int = 3;
const NO_PERMISSION: c_int = 4;
const NOT_FOUND: c_int = 6;
/// Memory of a process that the driver cannot tell (`NVML_VALUE_NOT_AVAILABLE`).
const NOT_AVAILABLE: u64 = u64::MAX;

/// `nvmlProcessUtilizationSample_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sample {
    pid: c_uint,
    at: c_ulonglong,
    sm: c_uint,
    memory: c_uint,
    encoder: c_uint,
    decoder: c_uint,
}

/// `nvmlProcessInfo_t` of versions 2 and 3.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Running {
    pid: c_uint,
    memory: c_ulonglong,
    instance: c_uint,
    compute: c_uint,
}

/// `nvmlUtilization_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Rates {
    gpu: c_uint,
    memory: c_uint,
}

/// `nvmlMemory_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Whole {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

/// What all GPUs said: computing in percent, and memory in bytes, of each process; the whole GPU is process 0.
#[derive(Debug, Default, PartialEq)]
struct Told {
    computing: Vec<(u32, u32)>,
    memory: Vec<(u32, u64)>,
    /// Processes that hold memory on a GPU that does not tell how much anybody computes.
    holding: Vec<u32>,
}

/// Looks. What was computed within `window` counts, as far as the driver remembers.
pub fn look(roots: &Roots, counts: &dyn Fn(u32) -> bool, window: Duration) -> BTreeMap<Source, Seen> {
    look_with(LIBRARY, roots, counts, window)
}

fn look_with(library: &str, roots: &Roots, counts: &dyn Fn(u32) -> bool, window: Duration) -> BTreeMap<Source, Seen> {
    let both = |gpu, memory| BTreeMap::from([(Source::Gpu, gpu), (Source::GpuMemory, memory)]);
    match is_there(roots) {
        Ok(false) => return both(Seen::Absent, Seen::Absent),
        Ok(true) => {}
        Err(e) => return both(Seen::Unreadable(format!("the PCI bus: {e}")), Seen::Absent),
    }
    match ask(library, window) {
        Ok(told) => {
            let (gpu, memory) = seen(&told, roots, counts);
            both(gpu, memory)
        }
        // One line is enough: memory cannot be told then, either.
        Err(why) => both(Seen::Unreadable(why), Seen::Absent),
    }
}

/// Whether there is one of NVIDIA's GPUs on the PCI bus.
fn is_there(roots: &Roots) -> std::io::Result<bool> {
    let devices = match std::fs::read_dir(roots.root.join("sys/bus/pci/devices")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let has = |path: std::path::PathBuf, name: &str, start: &str| {
        std::fs::read_to_string(path.join(name)).is_ok_and(|text| text.starts_with(start))
    };
    Ok(devices.flatten().any(|d| has(d.path(), "vendor", VENDOR) && has(d.path(), "class", CLASS)))
}

/// What was told, by user. A process of nobody's in particular (a container's, or one that is gone) computes all the same.
fn seen(told: &Told, roots: &Roots, counts: &dyn Fn(u32) -> bool) -> (Seen, Seen) {
    let whose = |pid: u32| {
        let owner = std::fs::metadata(roots.proc.join(pid.to_string())).map(|m| m.uid()).ok();
        owner.filter(|uid| pid != 0 && counts(*uid))
    };
    let mut computing: BTreeMap<Option<u32>, u32> = BTreeMap::new();
    for (pid, percent) in &told.computing {
        let most = computing.entry(whose(*pid)).or_default();
        *most = (*most).max(*percent);
    }
    let mut memory: BTreeMap<Option<u32>, f64> = BTreeMap::new();
    for (pid, bytes) in &told.memory {
        *memory.entry(whose(*pid)).or_default() += *bytes as f64;
    }
    let level = |who, value| Level { who, value, ..Level::default() };
    let mut gpu: Vec<Level> = computing.iter().map(|(who, percent)| level(*who, f64::from(*percent))).collect();
    let holding: BTreeMap<Option<u32>, u32> = told.holding.iter().map(|pid| (whose(*pid), *pid)).collect();
    // They may compute: that nobody sees it is not that they do not.
    gpu.extend(holding.into_iter().filter(|(who, _)| !computing.contains_key(who)).map(|(who, pid)| Level {
        what: Some(format!("{} is on a GPU that does not tell who computes", program(roots, pid))),
        unmeasured: true,
        ..level(who, 0.0)
    }));
    (Seen::Levels(gpu), Seen::Levels(memory.into_iter().map(|(who, bytes)| level(who, bytes)).collect()))
}

/// What a process is called, for a person.
fn program(roots: &Roots, pid: u32) -> String {
    let text = std::fs::read(roots.proc.join(pid.to_string()).join("stat")).ok();
    let name = text.and_then(|text| process::parse(&text, 0)).map(|process| process.name);
    name.map_or("something".to_owned(), |name| name.chars().map(|c| if c.is_control() { '?' } else { c }).collect())
}

/// The library, loaded.
struct Library(*mut c_void);

impl Library {
    fn open(name: &str) -> Result<Self, String> {
        let name = CString::new(name).map_err(|_| "no name of a library".to_owned())?;
        // SAFETY: the name is a string that lives through the call. The library's own initialisation runs: it is the
        // driver's, and whoever could put another one into the loader's path is root.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return Err("there is a GPU, and the driver's library is not there or cannot be loaded".to_owned());
        }
        Ok(Self(handle))
    }

    /// The address of a function.
    fn find(&self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the handle is of a library that is never unloaded, and the name a string.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    }

    fn need(&self, name: &CStr) -> Result<*mut c_void, String> {
        self.find(name).ok_or_else(|| format!("the driver's library has no {}", name.to_string_lossy()))
    }
}

type Device = *mut c_void;

/// Asks all GPUs.
fn ask(library: &str, window: Duration) -> Result<Told, String> {
    let library = Library::open(library)?;
    let init = library.need(c"nvmlInit_v2")?;
    let count = library.need(c"nvmlDeviceGetCount_v2")?;
    let by_index = library.need(c"nvmlDeviceGetHandleByIndex_v2")?;
    let utilization = library.need(c"nvmlDeviceGetProcessUtilization")?;
    let rates = library.need(c"nvmlDeviceGetUtilizationRates")?;
    let running = library
        .find(c"nvmlDeviceGetComputeRunningProcesses_v3")
        .or_else(|| library.find(c"nvmlDeviceGetComputeRunningProcesses_v2"));
    let whole = library.find(c"nvmlDeviceGetMemoryInfo");
    let words = library.find(c"nvmlErrorString");
    // SAFETY: each function is cast to the type that nvml.h declares for it.
    let (init, count, by_index, utilization, rates) = unsafe {
        (
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(init),
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_uint) -> c_int>(count),
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_uint, *mut Device) -> c_int>(by_index),
            std::mem::transmute::<
                *mut c_void,
                unsafe extern "C" fn(Device, *mut Sample, *mut c_uint, c_ulonglong) -> c_int,
            >(utilization),
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(Device, *mut Rates) -> c_int>(rates),
        )
    };
    let check = |code: c_int| match code {
        SUCCESS => Ok(()),
        code => Err(said(words, code)),
    };
    // SAFETY: as nvml.h declares it.
    check(unsafe { init() })?;
    let mut number: c_uint = 0;
    // SAFETY: it writes one number.
    check(unsafe { count(&raw mut number) })?;
    let since = SystemTime::now().checked_sub(window).and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let since = since.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX));
    let mut told = Told::default();
    for index in 0..number.min(MOST as c_uint) {
        let mut device: Device = std::ptr::null_mut();
        // SAFETY: it writes one handle.
        check(unsafe { by_index(index, &raw mut device) })?;
        let mut tells = true;
        let mut samples = vec![Sample::default(); MOST_SAMPLES as usize];
        let mut many = MOST_SAMPLES;
        // SAFETY: there is room for as many samples as it is told.
        match unsafe { utilization(device, samples.as_mut_ptr(), &raw mut many, since) } {
            SUCCESS => {
                let taken = samples.iter().take(many as usize);
                let busiest = |s: &Sample| (s.pid, s.sm.max(s.encoder).max(s.decoder).min(100));
                told.computing.extend(taken.map(busiest).filter(|(_, percent)| *percent > 0));
            }
            // No process has computed.
            NOT_FOUND => {}
            // Some GPUs tell only how much all of it computes.
            NOT_SUPPORTED => {
                let mut now = Rates::default();
                // SAFETY: it writes one pair of numbers.
                match unsafe { rates(device, &raw mut now) } {
                    SUCCESS if now.gpu > 0 => told.computing.push((0, now.gpu.min(100))),
                    SUCCESS => {}
                    // Nor that in MIG mode: "querying device utilization rates is not currently supported" (nvml.h).
                    NOT_SUPPORTED => tells = false,
                    code => return Err(said(words, code)),
                }
            }
            code => return Err(said(words, code)),
        }
        match running.map_or(Err(NOT_SUPPORTED), |running| holders(running, device)) {
            // In MIG mode they are listed for whoever may see everybody's (nvml.h), who may see the whole's memory, too.
            Ok(all) if tells || !all.is_empty() || is_shown(whole, device) => {
                told.holding.extend(all.iter().filter(|_| !tells).map(|p| p.pid));
                // Held, and nobody says how much.
                let bytes = |p: &Running| if p.memory == NOT_AVAILABLE { 1 } else { p.memory };
                told.memory.extend(all.iter().map(|p| (p.pid, bytes(p))));
            }
            Err(NOT_SUPPORTED | NOT_FOUND) if tells => {}
            Err(code) if tells || !matches!(code, NOT_SUPPORTED | NOT_FOUND | NO_PERMISSION) => {
                return Err(said(words, code));
            }
            Ok(_) | Err(_) => return Err(GPU_TELLS_NOTHING.to_owned()),
        }
    }
    Ok(told)
}

/// Who holds memory on a GPU, or the library's error.
fn holders(running: *mut c_void, device: Device) -> Result<Vec<Running>, c_int> {
    // SAFETY: versions 2 and 3 have this type.
    let running = unsafe {
        std::mem::transmute::<*mut c_void, unsafe extern "C" fn(Device, *mut c_uint, *mut Running) -> c_int>(running)
    };
    let mut processes = vec![Running::default(); MOST_SAMPLES as usize];
    let mut many = MOST_SAMPLES;
    // SAFETY: there is room for as many processes as it is told.
    match unsafe { running(device, &raw mut many, processes.as_mut_ptr()) } {
        SUCCESS => {
            processes.truncate(many as usize);
            Ok(processes)
        }
        code => Err(code),
    }
}

/// Whether the library shows how much of a GPU's memory is used, by whomever.
fn is_shown(whole: Option<*mut c_void>, device: Device) -> bool {
    let Some(whole) = whole else { return false };
    let mut memory = Whole::default();
    // SAFETY: as nvml.h declares it; it writes three numbers.
    unsafe {
        let whole = std::mem::transmute::<*mut c_void, unsafe extern "C" fn(Device, *mut Whole) -> c_int>(whole);
        whole(device, &raw mut memory) == SUCCESS
    }
}

/// What an error is called.
fn said(words: Option<*mut c_void>, code: c_int) -> String {
    let Some(words) = words else { return format!("the driver's library says error {code}") };
    // SAFETY: as nvml.h declares it; what it returns is a constant string of the library's.
    let text = unsafe {
        let words = std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> *const c_char>(words);
        let text = words(code);
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    };
    let text: String = text.unwrap_or_else(|| format!("error {code}")).chars().take(100).collect();
    format!("the driver's library says: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A stand-in for the driver's library that says what `body` makes it say.
    fn library(dir: &Path, [utilization, rates, running, whole, init]: [&str; 5]) -> String {
        let code = format!(
            "typedef struct {{ unsigned pid; unsigned long long at; unsigned sm, memory, encoder, decoder; }} S;
             typedef struct {{ unsigned pid; unsigned long long memory; unsigned i, c; }} R;
             typedef struct {{ unsigned gpu, memory; }} U;
             int nvmlInit_v2(void) {{ {init} }}
             int nvmlDeviceGetCount_v2(unsigned *n) {{ *n = 1; return 0; }}
             int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) {{ *d = (void *)8; return i == 0 ? 0 : 2; }}
             int nvmlDeviceGetProcessUtilization(void *d, S *s, unsigned *n, unsigned long long since) {{
                 if (d != (void *)8 || *n < 2 || since < 1600000000000000ULL) return 2;
                 {utilization} }}
             int nvmlDeviceGetUtilizationRates(void *d, U *u) {{ {rates} }}
             int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, R *r) {{ {running} }}
             int nvmlDeviceGetMemoryInfo(void *d, unsigned long long *m) {{ m[0] = m[1] = 8192; m[2] = 0; {whole} }}
             const char *nvmlErrorString(int code) {{ return code == 18 ? \"Driver/library version mismatch\" : \"?\"; }}"
        );
        let (source, out) = (dir.join("nvml.c"), dir.join("libnvidia-ml.so.1"));
        std::fs::write(&source, code).unwrap();
        let built = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&out).arg(&source).status();
        assert!(built.unwrap().success(), "whoever links Rust has a C compiler");
        out.to_str().unwrap().to_owned()
    }

    fn machine(dir: &Path, vendor: &str, class: &str) -> Roots {
        let device = dir.join("sys/bus/pci/devices/0001:00:00.0");
        std::fs::create_dir_all(&device).unwrap();
        std::fs::write(device.join("vendor"), format!("{vendor}\n")).unwrap();
        std::fs::write(device.join("class"), format!("{class}\n")).unwrap();
        Roots { root: dir.into(), ..Roots::default() }
    }

    fn own_seen(utilization: &str, running: &str, init: &str) -> BTreeMap<Source, Seen> {
        own_seen_by([utilization, "u->gpu = 7; u->memory = 1; return 0;", running, "return 0;", init])
    }

    fn own_seen_by(bodies: [&str; 5]) -> BTreeMap<Source, Seen> {
        let dir = tempfile::tempdir().unwrap();
        let roots = machine(dir.path(), "0x10de", "0x030200");
        let library = library(dir.path(), bodies);
        let own = rustix::process::getuid().as_raw();
        look_with(&library, &roots, &|uid| uid == own, Duration::from_secs(300))
    }

    #[test]
    fn no_gpu_is_a_fact_and_one_that_cannot_be_asked_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let look = |roots: &Roots| look_with("/nonexistent/libnvidia-ml.so.1", roots, &|_| true, Duration::ZERO);
        let nothing = Roots { root: dir.path().into(), ..Roots::default() };
        assert!(look(&nothing).values().all(|s| *s == Seen::Absent));
        // A network card of the same maker's, and somebody else's display.
        for (vendor, class) in [("0x10de", "0x020000"), ("0x1234", "0x030000")] {
            assert!(look(&machine(dir.path(), vendor, class)).values().all(|s| *s == Seen::Absent), "{vendor} {class}");
        }
        let seen = look(&machine(dir.path(), "0x10de", "0x030200"));
        assert!(matches!(&seen[&Source::Gpu], Seen::Unreadable(why) if why.contains("cannot be loaded")), "{seen:?}");
        let mismatch = own_seen("return 6;", "return 3;", "return 18;");
        let expected = "the driver's library says: Driver/library version mismatch";
        assert_eq!(mismatch[&Source::Gpu], Seen::Unreadable(expected.to_owned()));
    }

    #[test]
    fn what_processes_computed_and_hold_is_their_users() {
        let (pid, uid) = (std::process::id(), rustix::process::getuid().as_raw());
        let samples =
            format!("s[0] = (S){{ {pid}, 1, 5, 0, 0, 0 }}; s[1] = (S){{ {pid}, 2, 40, 0, 0, 0 }}; *n = 2; return 0;");
        let memory =
            format!("r[0] = (R){{ {pid}, 2048, 0, 0 }}; r[1] = (R){{ {pid}, -1ULL, 0, 0 }}; *n = 2; return 0;");
        let seen = own_seen(&samples, &memory, "return 0;");
        let level = |value| Seen::Levels(vec![Level { who: Some(uid), value, ..Level::default() }]);
        assert_eq!((&seen[&Source::Gpu], &seen[&Source::GpuMemory]), (&level(40.0), &level(2049.0)));
        // A process that is gone, or a container's, computed all the same.
        let gone = "s[0] = (S){ 4194305, 1, 9, 0, 0, 0 }; *n = 1; return 0;";
        let seen = own_seen(gone, "*n = 0; return 0;", "return 0;");
        let nobodys = Seen::Levels(vec![Level { value: 9.0, ..Level::default() }]);
        assert_eq!((&seen[&Source::Gpu], &seen[&Source::GpuMemory]), (&nobodys, &Seen::Levels(vec![])));
    }

    #[test]
    fn a_gpu_that_rests_is_quiet_and_one_that_tells_of_no_process_is_asked_as_a_whole() {
        let rests = own_seen("return 6;", "*n = 0; return 0;", "return 0;");
        assert!(rests.values().all(|s| *s == Seen::Levels(vec![])), "{rests:?}");
        let part = own_seen("return 3;", "return 3;", "return 0;");
        assert_eq!(part[&Source::Gpu], Seen::Levels(vec![Level { value: 7.0, ..Level::default() }]));
        let lost = own_seen("return 15;", "return 0;", "return 0;");
        assert!(matches!(lost[&Source::Gpu], Seen::Unreadable(_)), "{lost:?}");
    }

    #[test]
    fn a_gpu_in_parts_is_used_by_whoever_has_a_part() {
        let (pid, uid) = (std::process::id(), rustix::process::getuid().as_raw());
        let part = |running: &str, whole: &str| own_seen_by(["return 3;", "return 3;", running, whole, "return 0;"]);
        let one = format!("r[0] = (R){{ {pid}, 2048, 1, 0 }}; r[1] = (R){{ 4194305, 9, 2, 0 }}; *n = 2; return 0;");
        for whole in ["return 0;", "return 4;"] {
            let seen = part(&one, whole);
            let Seen::Levels(levels) = &seen[&Source::Gpu] else { panic!("{seen:?}") };
            let told: Vec<_> = levels.iter().map(|l| (l.who, l.unmeasured)).collect();
            assert_eq!(told, [(None, true), (Some(uid), true)], "who is gone, or a container's, has a part, too");
            assert!(levels.iter().all(|l| l.what.as_deref().is_some_and(|what| what.contains(" is on a GPU that"))));
            let held = |who, value| Level { who, value, ..Level::default() };
            assert_eq!(seen[&Source::GpuMemory], Seen::Levels(vec![held(None, 9.0), held(Some(uid), 2048.0)]));
        }
        let rests = part("*n = 0; return 0;", "return 0;");
        assert!(rests.values().all(|s| *s == Seen::Levels(vec![])), "{rests:?}");
        // Nobody is listed for whoever may see nobody.
        for (running, whole) in [
            ("*n = 0; return 0;", "return 4;"),
            ("return 3;", "return 0;"),
            ("return 4;", "return 0;"),
            ("return 6;", "return 0;"),
        ] {
            let mute = part(running, whole);
            assert_eq!(mute[&Source::Gpu], Seen::Unreadable(GPU_TELLS_NOTHING.to_owned()), "{running} {whole}");
        }
    }
}

//! Every window and threshold, in one table: the rule reads it, and the manual page is made from it.

use super::model::Source;
use crate::config::settings::Tuning;

/// A mebibyte.
const MIB: f64 = 1024.0 * 1024.0;

/// The most of a user's surroundings (editors' servers, monitors) that does not count as work, in cores.
pub const AMBIENT_CORES: f64 = 0.25;
/// Nobody was there for so long, and less than [`LOW_CORES`] were used: somebody should look, in seconds.
pub const LONG_BUSY: f64 = 24.0 * 3600.0;
/// What is less than that is no training.
pub const LOW_CORES: f64 = 0.5;
/// It could not be told for so long: somebody should look, in seconds.
pub const LONG_UNKNOWN: f64 = 2.0 * 3600.0;
/// A program that waits for another machine counts for so long after it began or its user was last there or at work,
/// whichever is later, in seconds.
pub const PROGRAM: f64 = 12.0 * 3600.0;
/// An SSH connection younger than that proves nothing, in seconds: a health probe, a refused log-in.
pub const YOUNG_CONNECTION: f64 = 60.0;

/// The age from which on a connection proves something: with a shorter window, that. Where the quiet time is a minute, too,
/// a copy that began with it would be seen too late.
pub fn young_connection(tuning: &Tuning) -> f64 {
    YOUNG_CONNECTION.min(tuning.window.as_secs_f64())
}

/// How what was seen becomes busy or quiet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// A counter grew by this much a second on average over the window.
    Average(f64),
    /// A counter grew by this much a minute on average over the window.
    AMinute(f64),
    /// A stamp moved.
    Moved,
    /// A level is this high or higher.
    AtLeast(f64),
    /// A level is lower than this, or its user's last use by another source is less than this ago.
    Below(f64),
    /// It is there: the VM is kept.
    Keeps,
    /// It is there and this high: quiet must last longer.
    Stretches(f64),
    /// It is there: it would be lost.
    AtRisk,
}

/// How often a source is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// With every sample.
    Sample,
    /// Once in a window.
    Window,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The source.
    pub source: Source,
    /// Its rule.
    pub rule: Rule,
    /// The unit in which people are told.
    pub unit: &'static str,
    /// How often it is looked at.
    pub every: Every,
    /// What counts, in a sentence.
    pub text: &'static str,
}

/// The table.
pub fn table(tuning: &Tuning) -> Vec<Limit> {
    use Every::{Sample, Window};
    let line = |source, rule, unit, every, text| Limit { source, rule, unit, every, text };
    vec![
        line(Source::Keep, Rule::Keeps, "", Sample, "a keep that somebody asked for and that has not ended"),
        line(
            Source::Inhibitor,
            Rule::Keeps,
            "",
            Window,
            "an inhibitor of systemd's that blocks idle or shutdown, held by a user's process",
        ),
        line(Source::Typing, Rule::Moved, "", Sample, "input that a program read from a terminal; a log-in or log-out"),
        line(
            Source::Remote,
            Rule::AMinute(0.4 * 64.0 * 1024.0),
            "bytes/min",
            Window,
            "bytes that an SSH connection without a terminal moved (scp, rsync, editors)",
        ),
        line(
            Source::Kernel,
            Rule::AtLeast(1.0),
            "",
            Window,
            "a Jupyter kernel that says that it is at work, whether it computes or waits, with its tab open or closed",
        ),
        line(
            Source::Notebook,
            Rule::Moved,
            "",
            Window,
            "a Jupyter kernel or terminal that was started, ended, used, or printed something",
        ),
        line(Source::Hub, Rule::AtLeast(1.0), "", Window, "a server that JupyterHub is starting for somebody"),
        line(
            Source::Cpu,
            Rule::Average(tuning.cpu_cores),
            "cores",
            Sample,
            "CPU time of a user's processes, short-lived children included; of editors' servers and monitors only what \
             exceeds a quarter of a core",
        ),
        line(
            Source::Gpu,
            Rule::AtLeast(1.0),
            "%",
            Window,
            "computing on a GPU, in any of the driver's samples; a program that holds memory on one that does not tell who \
             computes, as in MIG mode",
        ),
        line(Source::Container, Rule::Average(tuning.cpu_cores), "cores", Sample, "CPU time of a container"),
        line(
            Source::Io,
            // More than a shell moves that starts a short program every second, which loads its libraries by reading them;
            // less than a copy of small files that waits for its server at each.
            Rule::AMinute(3.0 * MIB),
            "bytes/min",
            Window,
            "bytes that a user's processes, those of ended children included, read and wrote: files on disks and on the share, \
             pipes; of editors' servers and monitors nothing",
        ),
        line(
            Source::Network,
            Rule::AMinute(0.6 * MIB),
            "bytes/min",
            Window,
            "bytes that a user's processes or a container moved to and from other machines",
        ),
        line(
            Source::Program,
            Rule::Below(PROGRAM),
            "s",
            Window,
            "a foreground program or kernel, no shell, that is connected to another machine; counted from its start or from \
             its user's last other use, whichever is later",
        ),
        line(
            Source::Maintenance,
            Rule::AtLeast(1.0),
            "",
            Sample,
            "packages being installed, or cloud-init not through",
        ),
        line(
            Source::Unsaved,
            Rule::AtLeast(1.0),
            "bytes",
            Window,
            "bytes on their way to the share; unknown of everybody who is present and has it mounted, while it does not answer",
        ),
        line(
            Source::Memory,
            Rule::Stretches(tuning.memory.above as f64),
            "bytes",
            Window,
            "memory of a user's processes: their quiet time is longer",
        ),
        line(
            Source::GpuMemory,
            Rule::Stretches(1.0),
            "bytes",
            Window,
            "memory held on a GPU: the quiet time is longer",
        ),
        line(Source::Kernels, Rule::AtRisk, "kernels", Window, "kernels that keep state"),
        line(Source::Stopped, Rule::AtRisk, "jobs", Window, "stopped jobs"),
        line(Source::Due, Rule::AtRisk, "jobs", Window, "jobs that are due later"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_young_for_no_longer_than_a_window() {
        let window = |s| Tuning { window: std::time::Duration::from_secs(s), ..Tuning::default() };
        assert!((young_connection(&window(15)) - 15.0).abs() < 1e-9);
        assert!((young_connection(&window(300)) - YOUNG_CONNECTION).abs() < 1e-9);
    }

    #[test]
    fn every_source_has_one_line_in_the_order_of_telling() {
        let sources: Vec<_> = table(&Tuning::default()).iter().map(|l| l.source).collect();
        assert_eq!(sources, Source::ALL);
    }
}

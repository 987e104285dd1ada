//! The status, version 1 of its JSON. Fields are added, never changed. What is not known is `null`.

use crate::config::settings::Kind;
pub use crate::share::model::ShareState;
use serde::{Deserialize, Serialize};

/// Version of the layout.
pub const SCHEMA: u32 = 1;

/// The whole status after a pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this layout: 1.
    pub schema: u32,
    /// The agent itself.
    pub agent: Agent,
    /// The VM.
    pub node: Node,
    /// All in one word.
    pub health: Health,
    /// What needs a person, most important first.
    pub problems: Vec<ProblemView>,
    /// How many.
    pub counts: Counts,
    /// The share.
    pub share: ShareView,
    /// What is the same for all users.
    #[serde(default)]
    pub workspace: WorkspaceView,
    /// Directories that several people work in.
    #[serde(default)]
    pub shared: Vec<SharedView>,
    /// Every user; empty in the file that everybody may read.
    pub users: Vec<UserView>,
    /// Whether the VM is used, and why; nothing before the first look.
    #[serde(default)]
    pub idle: Option<super::idle::IdleView>,
    /// The scale set; nothing where the agent does not deal with it.
    #[serde(default)]
    pub scale_set: Option<ScaleSetView>,
}

/// What is the same for all users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkspaceView {
    /// The link, relative to a home.
    pub link: Option<String>,
}

/// A directory of the share that several people work in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedView {
    /// The directory on the share.
    pub directory: String,
    /// The link to it, relative to a home.
    pub link: String,
    /// Whose it is; everybody's when absent.
    pub group: Option<String>,
    /// Nobody can write.
    pub read_only: bool,
    /// How it stands with those whom it is for.
    pub state: UserState,
    /// For so many users it is mounted now.
    pub mounted: u64,
}

/// The scale set, as far as it concerns this VM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScaleSetView {
    /// Whether this is a VM of Azure's.
    pub on_azure: Option<bool>,
    /// Whether it belongs to a scale set.
    pub member: Option<bool>,
    /// Whether it is protected from scale-in, as it was read back.
    pub protected: Option<bool>,
    /// Whether somebody else protects it, after the agent had lifted that: it is left so until they take it off.
    #[serde(default)]
    pub by_hand: bool,
    /// Whether it was given free to be taken away.
    pub free: Option<bool>,
    /// Since when its protection is lifted for that.
    #[serde(default)]
    pub free_since: Option<String>,
    /// When Azure Monitor last took a report.
    pub metric_sent_at: Option<String>,
    /// What Azure announced to this VM.
    pub events: Vec<EventView>,
    /// Whether there are others cannot be told: they were not read yet, or not for long.
    #[serde(default)]
    pub events_unknown: bool,
    /// What is done before the VM is deleted or restarts; nothing when it is not about to be.
    #[serde(default)]
    pub drain: Option<DrainView>,
}

impl ScaleSetView {
    /// The same without what every report counts anew.
    pub fn lasting(&self) -> Self {
        Self { metric_sent_at: None, ..self.clone() }
    }
}

/// What is done before the VM is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// When it is deleted; nothing once that has begun, or when it is not known.
    pub at: Option<String>,
    /// Nobody but root is let in any more.
    pub log_ins_refused: bool,
    /// So many files that were on this VM only are on the share now.
    pub rescued: u64,
    /// So many are not: too big, or they could not be copied.
    pub left: u64,
    /// What waited to be written to the share is written.
    pub written: bool,
    /// Azure was told that it may begin.
    pub approved: bool,
    /// Azure announced it for other VMs too, and is not told so: that would end their notice as well.
    #[serde(default)]
    pub shared: bool,
}

/// An event that Azure announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// `freeze`, `reboot`, `redeploy`, `preempt` or `terminate`.
    pub kind: String,
    /// When it begins; nothing once it has begun.
    pub not_before: Option<String>,
    /// It has begun.
    pub started: bool,
}

/// The agent itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// When it was started: RFC 3339, UTC, as every time here.
    pub started_at: String,
    /// Passes since then.
    pub pass: u64,
    /// When the last pass ended.
    pub pass_at: String,
    /// How long it took, in milliseconds.
    pub pass_ms: f64,
    /// The kernel's id of this boot: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// When the last pass ended, in seconds of the boot-time clock, which no clock change touches.
    pub pass_boottime_s: f64,
}

/// The VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name: the host name where nothing better is known.
    pub name: String,
    /// Azure's id of the VM.
    pub vm_id: Option<String>,
    /// Azure's region.
    pub location: Option<String>,
    /// The scale set that it belongs to.
    pub scale_set: Option<String>,
}

/// All in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No share is configured.
    Unconfigured,
    /// The first passes are not through.
    Starting,
    /// Everything is as it should be.
    Ready,
    /// Something needs a person, or the share is away.
    Degraded,
}

/// A [`crate::problem::Problem`] with the time when it was first seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemView {
    /// The problem itself.
    #[serde(flatten)]
    pub problem: crate::problem::Problem,
    /// When it was first seen.
    pub since: String,
    /// In the file that everybody may read: how many users it stands for. Nothing elsewhere.
    #[serde(default)]
    pub count: Option<u64>,
}

impl ProblemView {
    /// `problem`, first seen at `since`.
    pub fn new(problem: crate::problem::Problem, since: impl Into<String>) -> Self {
        Self { problem, since: since.into(), count: None }
    }
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Users that are served.
    pub users: u64,
    /// Of those, in state ready.
    pub ready: u64,
    /// Of those, in state problem.
    pub problems: u64,
    /// Of those, logged in or with a process.
    pub present: u64,
    /// Of those who are neither ready nor a problem, for whom something is being done. Whoever has no home yet is not
    /// among them: their link is made when the home is, at their first log-in mostly. Statuses of before this was counted
    /// have none.
    #[serde(default)]
    pub waiting: u64,
}

/// The share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareView {
    /// Its kind.
    pub kind: Option<Kind>,
    /// As configured.
    pub source: Option<String>,
    /// Where users see it.
    pub mount_point: Option<String>,
    /// How it is.
    pub state: ShareState,
    /// Since when it is so.
    pub since: Option<String>,
    /// How long the last probe took, in milliseconds.
    pub probe_ms: Option<f64>,
    /// Size, in bytes.
    pub bytes_total: Option<u64>,
    /// Free, in bytes.
    pub bytes_free: Option<u64>,
    /// What was agreed with the server, for people: `SMB 3.1.1, encrypted`.
    pub protocol: Option<String>,
    /// The whole share is shown to everybody, who may change everything on it.
    #[serde(default)]
    pub open: bool,
}

/// State of a user's workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserState {
    /// Directory and link are there.
    Ready,
    /// Not yet.
    Pending,
    /// A person is needed: see the problem with this subject.
    Problem,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserView {
    /// Log-in name.
    pub name: String,
    /// Numeric id on this VM.
    pub uid: u32,
    /// How their workspace is.
    pub state: UserState,
    /// Whether their directory is mounted now.
    pub mounted: bool,
    /// Their directory on the share.
    pub directory: String,
    /// The link in their home.
    pub link: String,
    /// What was kept for them when the VM that they were on before went, for a day.
    #[serde(default)]
    pub last_time: Option<Box<LastView>>,
}

/// What was kept for a user when an earlier VM went. It lies where they may write, and is shown to them and root alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastView {
    /// That VM.
    pub node: String,
    /// When.
    pub at: String,
    /// So many files are kept.
    pub files: u64,
    /// So many were not.
    pub left: u64,
    /// It came to its end; otherwise there may have been more.
    pub whole: bool,
    /// Where they are.
    pub place: String,
}

/// What a user is told of themselves over the request socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnView {
    /// Their row; nothing when they are not served.
    pub user: Option<UserView>,
    /// Their own problems.
    pub problems: Vec<ProblemView>,
    /// Their own part in the use of the VM.
    #[serde(default)]
    pub idle: Option<super::idle::OwnIdle>,
    /// The other VMs of the pool on which they are, too, as far as is known.
    #[serde(default)]
    pub elsewhere: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::Status;
    use serde_json::Value;

    /// A status as version 1 was first published. It stays as it is; what is added later is not in it.
    const SAMPLE_1: &str = include_str!("sample-1.json");

    /// Every key of `old` that is not in `new`, with its path.
    fn missing(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                for (key, value) in old {
                    match new.get(key) {
                        Some(other) => missing(value, other, &format!("{path}.{key}"), found),
                        None => found.push(format!("{path}.{key}")),
                    }
                }
            }
            (Value::Array(old), Value::Array(new)) => {
                assert_eq!(old.len(), new.len(), "{path}");
                for (old, new) in old.iter().zip(new) {
                    missing(old, new, path, found);
                }
            }
            (old, new) => assert_eq!(old, new, "{path}"),
        }
    }

    #[test]
    fn an_old_sample_is_read_and_all_of_it_is_still_written() {
        let status: Status = serde_json::from_str(SAMPLE_1).unwrap();
        let old: Value = serde_json::from_str(SAMPLE_1).unwrap();
        let new = serde_json::to_value(&status).unwrap();
        let mut found = Vec::new();
        missing(&old, &new, "", &mut found);
        assert_eq!(found, [""; 0], "fields are never taken away");
    }

    #[test]
    fn what_a_later_version_adds_is_no_mistake() {
        let mut later: Value = serde_json::from_str(SAMPLE_1).unwrap();
        later["weather"] = serde_json::json!({"verdict": "fine"});
        later["users"][0]["keeps"] = serde_json::json!([]);
        later["problems"][0]["url"] = serde_json::json!("https://example.org");
        let status: Status = serde_json::from_value(later).unwrap();
        assert_eq!(status, serde_json::from_str(SAMPLE_1).unwrap());
    }

    #[test]
    fn what_is_not_known_is_null() {
        let mut status: Status = serde_json::from_str(SAMPLE_1).unwrap();
        status.share.probe_ms = None;
        status.node.vm_id = None;
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!((&json["share"]["probe_ms"], &json["node"]["vm_id"]), (&Value::Null, &Value::Null));
    }
}

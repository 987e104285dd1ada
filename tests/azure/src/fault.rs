//! What goes wrong, when asked to.

use super::message::{Answer, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// One thing that goes wrong for some requests. The first fault that fits a request is played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// Only for paths that contain this, in any case of letters; empty: for all.
    pub path: String,
    /// Only for this verb; empty: for all.
    pub method: String,
    /// So many requests that fit go through first.
    pub after: u32,
    /// Then so many have the fault.
    pub times: u32,
    /// What happens to them.
    pub what: What,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It is refused with this status. 429 and 503 may say when to come again.
    Status {
        /// The status code.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// A read-only lock forbids it.
    Locked,
    /// The answer comes so many milliseconds late.
    Slow {
        /// How late.
        ms: u64,
    },
    /// It is done, and the answer is cut in the middle.
    Cut,
    /// It is done, and no answer comes.
    Lost,
    /// The connection ends before anything is done.
    Dropped,
    /// It is done, and the answer is no HTTP.
    Garbage,
    /// It is done, and the body of the answer is no JSON.
    Nonsense,
    /// Its token counts as expired.
    Expired,
    /// A write becomes a long-running operation that needs so many looks, and may fail at the end.
    Operation {
        /// How often it is in progress before it is through.
        looks: u32,
        /// Whether it fails then.
        #[serde(default)]
        fails: bool,
    },
}

impl Default for Fault {
    fn default() -> Self {
        let what = What::Status { status: 500, retry_after: None };
        Self { path: String::new(), method: String::new(), after: 0, times: u32::MAX, what }
    }
}

impl Fault {
    /// A fault for every request whose path contains `path`.
    pub fn new(path: &str, what: What) -> Self {
        Self { path: path.to_owned(), what, ..Self::default() }
    }

    /// Only for so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Only after so many requests.
    #[must_use]
    pub fn after(mut self, after: u32) -> Self {
        self.after = after;
        self
    }

    /// Only for this verb.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    fn fits(&self, request: &Request) -> bool {
        let path = request.path.to_ascii_lowercase();
        path.contains(&self.path.to_ascii_lowercase())
            && (self.method.is_empty() || self.method.eq_ignore_ascii_case(&request.method))
    }
}

/// The fault that `request` meets, if any. Counts it.
pub fn next(faults: &mut [Fault], request: &Request) -> Option<What> {
    let fault = faults.iter_mut().find(|f| f.times > 0 && f.fits(request))?;
    if fault.after > 0 {
        fault.after -= 1;
        return None;
    }
    if fault.times != u32::MAX {
        fault.times -= 1;
    }
    Some(fault.what.clone())
}

/// How long an answer is held back.
pub fn delay(what: Option<&What>) -> Duration {
    match what {
        Some(What::Slow { ms }) => Duration::from_millis(*ms),
        _ => Duration::ZERO,
    }
}

/// What Resource Manager says of what lies below a read-only lock: the status of a conflict, for as long as the lock is there.
pub fn locked(request: &Request) -> Answer {
    let message = format!(
        "The scope '{}' cannot perform write operation because following scope(s) are locked. Please remove the lock and \
         try again.",
        request.path
    );
    Answer::error(409, "ScopeLocked", &message)
}

/// A refusal in the words of the service that was asked.
pub fn refusal(request: &Request, status: u16, retry_after: Option<u64>) -> Answer {
    let code = match status {
        403 => "AuthorizationFailed",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Gone",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        500.. => "InternalServerError",
        _ => "BadRequest",
    };
    // The message that production code of onefuzz looks for.
    let message = match status {
        409 => {
            "The request failed due to conflict with a concurrent request. To resolve it, please refer to the \
                documentation."
        }
        _ => "Played by the simulator.",
    };
    let answer = if request.path.starts_with("/metadata/identity") {
        Answer::json(status, &json!({"error": code, "error_description": message}))
    } else if request.path.starts_with("/metadata") {
        Answer::json(status, &json!({"error": message}))
    } else {
        Answer::error(status, code, message)
    };
    match retry_after {
        Some(seconds) => answer.with("Retry-After", seconds.to_string()),
        None => answer,
    }
}

//! The scale set: which of its VMs this one is, its protection from scale-in, what it tells Azure Monitor, and the
//! events that Azure announces to it.
//!
//! Autoscale picks a number and the scale set picks the victim; it knows nothing of use. The one veto that a VM has is
//! its protection, which is set on the instance by a request to Resource Manager. So the VM protects itself at boot and
//! lifts that only after idle was announced and committed.

pub mod act;
pub mod decide;
pub mod log_ins;
pub mod model;
pub mod observe;

//! Whether somebody uses this VM, and why that is thought: samples are observed, folded into a memory, and judged by one
//! pure function. Unknown never becomes idle.
//!
//! ```text
//! observe/* -> Sample -> memory (fold) -> decide -> Decision -> status, scale set
//! ```
//!
//! All times here are seconds of the boot-time clock, which no change of the wall clock touches.

pub mod decide;
pub mod keeps;
pub mod limits;
pub mod memory;
pub mod model;
pub mod observe;
pub mod recording;

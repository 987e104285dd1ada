//! Going down, by the guest's own clock.

use crate::guest::Guest;

impl Guest {
    /// How long it takes from the order to go down until its power is off, in seconds.
    ///
    /// # Panics
    /// If it is not off after some minutes, or was taken down otherwise.
    #[track_caller]
    pub fn goes_down(&mut self) -> f64 {
        let from: f64 = self.sh("cut -d' ' -f1 /proc/uptime").parse().expect("seconds");
        self.power_off_clean();
        powered_off(&self.serial()).expect("the kernel says so") - from
    }
}

/// The guest's own seconds since boot at which its kernel turned the power off, from the serial line.
fn powered_off(serial: &str) -> Option<f64> {
    let line = serial.lines().rev().find(|line| line.contains("reboot: Power down"))?;
    line.split(['[', ']']).nth(1)?.trim().parse().ok()
}

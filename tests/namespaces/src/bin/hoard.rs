//! Takes all inotify instances that its user may have (inotify(7), `max_user_instances`), and lets go of them when its
//! standard input ends. Prints how many there were.

use rustix::fs::inotify;
use std::io::Read;

fn main() -> std::io::Result<()> {
    let mut held = Vec::new();
    while let Ok(instance) = inotify::init(inotify::CreateFlags::CLOEXEC) {
        held.push(instance);
    }
    println!("{}", held.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

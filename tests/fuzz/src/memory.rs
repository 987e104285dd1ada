//! How much memory a piece of work holds at most, counted for the thread that does it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Without destructors and lazy beginnings, which would ask for memory themselves.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with what each thread holds.
pub(crate) struct Counting;

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: everything is the system's allocator's; the counts touch no memory but the thread's own cells.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as of the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Does `work` and returns how many bytes it held at most, beyond what was held before.
pub(crate) fn most(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    work();
    (MOST.get() - before).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_at_once_counts() {
        let one = most(|| (0..100).for_each(|_| drop(vec![0_u8; 10_000])));
        assert!((10_000..20_000).contains(&one), "{one}");
        let all = most(|| drop((0..100).map(|_| vec![0_u8; 10_000]).collect::<Vec<_>>()));
        assert!(all >= 1_000_000, "{all}");
    }
}

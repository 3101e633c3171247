//! An allocator that counts when it is told to, for the walks that are not timed.
//!
//! While it does not count it costs a timed walk one load and one branch an allocation, which could
//! not be measured beside the 8 ns that an allocation and its release take. The crate
//! `allocation-counter` was too dear: it counts always, and makes a copy of every `realloc`.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static IS_ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Counts from here on.
pub(crate) fn start_counting() {
    IS_ON.store(true, Relaxed);
}

/// Allocations since then, those that grew or shrank included. Stops counting.
pub(crate) fn stop_counting() -> u32 {
    IS_ON.store(false, Relaxed);
    COUNT.load(Relaxed)
}

fn count() {
    if IS_ON.load(Relaxed) {
        COUNT.fetch_add(1, Relaxed);
    }
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

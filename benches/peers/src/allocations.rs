//! An allocator that counts on request, for runs that are not timed.
//!
//! In a timed run it adds one load and one branch per allocation, which is too little to measure
//! against the 8 ns of an allocation and its release. The crate `allocation-counter` distorts timed
//! runs: it always counts, and copies the block at every `realloc`.
#![expect(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static IS_ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Starts counting.
pub(crate) fn start_counting() {
    IS_ON.store(true, Relaxed);
}

/// Stops counting and returns the number of allocations, including reallocations.
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

// SAFETY: passes every call unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the same contract.
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

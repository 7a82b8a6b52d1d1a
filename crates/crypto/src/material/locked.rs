//! The allocator behind key material, and the only module with `unsafe`.
//!
//! A request handles a few secrets of some dozen bytes, so one `mmap` and `mlock` per secret would cost more than the
//! cryptography, and `RLIMIT_MEMLOCK` counts whole pages. Memory is therefore taken in regions of 64 KiB, locked and
//! excluded from core dumps once, and cut into slots of a few sizes. Free slots are kept in one list per size. Larger
//! secrets have a mapping of their own, which is unmapped when they are dropped; regions are kept for reuse.
//!
//! Invariants:
//! 1. a slot is in a free list, or owned by exactly one [`Slot`], never both;
//! 2. every byte of a free slot is zero (fresh mappings are, and a slot is wiped before it goes back);
//! 3. free lists hold addresses only and lie outside the regions, so an overrun of a slot cannot forge an allocation.
//!
//! A region that cannot be locked is used all the same and counted: a server with a small limit must be able to run
//! and to warn. Memory that cannot be had at all ends the process, as it does for `Vec`.

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use zeroize::Zeroize;

/// Bytes taken from the system at a time: a multiple of every page size in use and of every slot size.
const REGION_BYTES: usize = 64 * 1024;
/// Slots of these sizes, in bytes, ascending. Each divides [`REGION_BYTES`], so each slot is aligned to its size or 64.
const SLOT_SIZES: [usize; 5] = [64, 256, 1024, 4096, 16_384];
/// The alignment every slot has at least.
const SLOT_ALIGNMENT: usize = 64;

static FREE_LISTS: [Mutex<FreeList>; SLOT_SIZES.len()] =
    [const { Mutex::new(FreeList { slots: Vec::new(), total: 0 }) }; SLOT_SIZES.len()];
static UNLOCKED_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_UNLOCKED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The addresses of the free slots of one size.
struct FreeList {
    slots: Vec<Address>,
    /// How many slots of this size exist, free or not; `slots` has room for all of them.
    total: usize,
}

/// The start of a free slot.
struct Address(NonNull<u8>);

// SAFETY: the address is that of memory owned by no thread (invariant 1); it is dereferenced only after the slot has
// been taken from its list, under the list's lock.
unsafe impl Send for Address {}

/// The largest number of bytes that were in use for secrets without being locked.
pub(super) fn peak_unlocked_bytes() -> usize {
    PEAK_UNLOCKED_BYTES.load(Ordering::Relaxed)
}

/// Memory for one secret: zero when allocated, wiped when dropped.
pub(super) struct Slot {
    /// Start of `length` bytes owned by this value; dangling, never dereferenced, where `length` is 0.
    start: NonNull<u8>,
    /// Bytes asked for. It also tells the size of the slot: the smallest that holds them, or an own mapping.
    length: usize,
    /// Whether an own mapping counts as unlocked; false for slots of a region, which are counted with the region.
    unlocked: bool,
}

// SAFETY: a slot owns its memory alone (invariant 1) and hands out references under the usual borrowing rules only, so
// it may move between threads and be shared just as a `Box<[u8]>` may.
unsafe impl Send for Slot {}
// SAFETY: as above; `&Slot` gives read access only.
unsafe impl Sync for Slot {}

impl Slot {
    /// Takes memory for `length` bytes, all zero.
    pub(super) fn allocate(length: usize) -> Self {
        if length == 0 {
            return Self { start: NonNull::dangling(), length, unlocked: false };
        }
        let Some((class, size)) = class_of(length) else {
            let (start, locked) = map(length);
            if !locked {
                count_unlocked(length);
            }
            return Self { start, length, unlocked: !locked };
        };
        let mut list = lock(class);
        let start = match list.slots.pop() {
            Some(Address(start)) => start,
            None => list.add_region(size),
        };
        Self { start, length, unlocked: false }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` is valid for reads of `length` initialized bytes for as long as `self` lives (or dangling,
        // aligned and `length` is 0), and `&self` rules out writes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    fn wipe(&mut self) {
        // Words instead of bytes: a volatile write each, so eight times fewer of them.
        // SAFETY: the slot's size (or the mapping's, whole pages) is a multiple of 8 and not below `length` rounded up
        // to one; its start is aligned to 64; zero is a valid `u64` and the memory is initialized; `&mut self` makes
        // this the only reference.
        let words = unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().cast::<u64>(), self.length.div_ceil(8))
        };
        words.zeroize();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.length == 0 {
            return;
        }
        self.wipe();
        if let Some((class, _)) = class_of(self.length) {
            // Never allocates: `add_region` reserved room for every slot there is.
            lock(class).slots.push(Address(self.start));
            return;
        }
        // SAFETY: the mapping was made by `map` with this length, belongs to this value alone and is not used again.
        // Failure would mean arguments that are not a mapping, and would leave wiped memory mapped: nothing to do.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        if self.unlocked {
            UNLOCKED_BYTES.fetch_sub(self.length, Ordering::Relaxed);
        }
    }
}

impl FreeList {
    /// Maps a region, adds all of its slots but one to the list and returns that one.
    fn add_region(&mut self, size: usize) -> NonNull<u8> {
        let count = REGION_BYTES / size;
        let (start, locked) = map(REGION_BYTES);
        if !locked {
            count_unlocked(REGION_BYTES);
        }
        self.total += count;
        self.slots.reserve(self.total.saturating_sub(self.slots.len()));
        for index in 1..count {
            // SAFETY: `index * size` is below `REGION_BYTES`, the length of the mapping that begins at `start`.
            self.slots.push(Address(unsafe { start.add(index * size) }));
        }
        start
    }
}

/// The class and size of the slots that hold `length` bytes, or nothing where it needs its own mapping.
fn class_of(length: usize) -> Option<(usize, usize)> {
    SLOT_SIZES.into_iter().enumerate().find(|(_, size)| length <= *size)
}

/// Locks a free list. A panic cannot happen while it is held, so a poisoned lock still guards a sound list.
fn lock(class: usize) -> MutexGuard<'static, FreeList> {
    FREE_LISTS[class].lock().unwrap_or_else(PoisonError::into_inner)
}

fn count_unlocked(length: usize) {
    let now = UNLOCKED_BYTES.fetch_add(length, Ordering::Relaxed).saturating_add(length);
    PEAK_UNLOCKED_BYTES.fetch_max(now, Ordering::Relaxed);
}

/// Maps zeroed pages for at least `length` bytes and tells whether they could be locked.
fn map(length: usize) -> (NonNull<u8>, bool) {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory in use.
    let mapping = unsafe {
        mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    let Some(start) = mapping.ok().and_then(NonNull::new) else {
        handle_alloc_error(Layout::array::<u8>(length).unwrap_or(Layout::new::<u8>()))
    };
    // A kernel without the advice has no core dumps to keep this out of, or is older than any supported one.
    #[cfg(target_os = "linux")]
    // SAFETY: exactly the pages just mapped; this advice does not change their content.
    let _ = unsafe { madvise(start.as_ptr(), length, rustix::mm::Advice::LinuxDontDump) };
    // SAFETY: exactly the pages just mapped.
    let locked = unsafe { mlock(start.as_ptr(), length) }.is_ok();
    (start.cast(), locked)
}

/// A value, such as an expanded key schedule, that lives in secret memory and is wiped after its own drop.
pub(crate) struct Locked<T> {
    slot: Slot,
    value: PhantomData<T>,
}

impl<T> Locked<T> {
    /// Moves `value` into secret memory.
    pub(crate) fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= SLOT_ALIGNMENT && size_of::<T>() > 0) };
        let slot = Slot::allocate(size_of::<T>());
        // SAFETY: the slot has room for a `T`, is aligned for it (asserted above) and belongs to nobody else.
        unsafe { slot.start.cast::<T>().write(value) };
        Self { slot, value: PhantomData }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a `T` there and nothing but `drop` takes it away.
        unsafe { self.slot.start.cast::<T>().as_ref() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the `T` written by `new` is still there, is dropped once, here, and not used afterwards; the slot
        // itself is wiped and given back when the field is dropped.
        unsafe { ptr::drop_in_place(self.slot.start.cast::<T>().as_ptr()) };
    }
}

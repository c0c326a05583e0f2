//! What the bench knows about each host thread: its IRQL and processor ([`Local`], seen by itself alone) and what of
//! the driver's it is running ([`Slot`], seen by all).

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::callout::Kind;

/// No processor held.
pub(crate) const NO_CPU: u32 = u32::MAX;
const DEPTH: usize = 16;
const HELD: usize = 8;

/// State of this thread that no other thread looks at.
pub(crate) struct Local {
    /// Its IRQL.
    pub irql: Cell<u8>,
    /// The processor it holds while at DISPATCH_LEVEL, else [`NO_CPU`].
    pub cpu: Cell<u32>,
    /// The processor it takes first.
    pub home: Cell<u32>,
    /// Other processors whose queues it filled while it could not run them.
    pub kicks: Cell<u64>,
    /// Number of spin locks held.
    pub locks: Cell<u32>,
    /// The first few of them.
    pub held: [Cell<usize>; HELD],
    /// Where `PsTerminateSystemThread` goes, if this is a system thread.
    pub exit: Cell<usize>,
    /// The `ETHREAD` of a system thread.
    pub object: Cell<usize>,
    slot: Cell<Option<&'static Slot>>,
}

thread_local! {
    pub(crate) static LOCAL: Local = const {
        Local {
            irql: Cell::new(0),
            cpu: Cell::new(NO_CPU),
            home: Cell::new(NO_CPU),
            kicks: Cell::new(0),
            locks: Cell::new(0),
            held: [const { Cell::new(0) }; HELD],
            exit: Cell::new(0),
            object: Cell::new(0),
            slot: Cell::new(None),
        }
    };
    static RETIRE: Retire = const { Retire };
}

/// State of a thread that others look at.
pub(crate) struct Slot {
    /// A small number, never zero; also the owner mark in spin locks.
    pub id: u32,
    in_use: AtomicU8,
    depth: AtomicUsize,
    routines: [AtomicUsize; DEPTH],
    kinds: [AtomicU8; DEPTH],
}

static SLOTS: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());
static IDS: AtomicU32 = AtomicU32::new(1);

/// Gives the slot back when its thread ends.
struct Retire;

impl Drop for Retire {
    fn drop(&mut self) {
        let _ = LOCAL.try_with(|local| {
            if let Some(slot) = local.slot.take() {
                slot.in_use.store(0, Ordering::Release);
            }
        });
    }
}

/// This thread's slot.
pub(crate) fn slot() -> &'static Slot {
    LOCAL.with(|local| local.slot.get()).unwrap_or_else(claim)
}

#[cold]
fn claim() -> &'static Slot {
    let mut slots = SLOTS.lock();
    let free = slots.iter().copied().find(|slot| slot.in_use.swap(1, Ordering::AcqRel) == 0);
    let slot = free.unwrap_or_else(|| {
        let slot = Box::leak(Box::new(Slot::new(IDS.fetch_add(1, Ordering::Relaxed))));
        slots.push(slot);
        slot
    });
    slot.depth.store(0, Ordering::Relaxed);
    LOCAL.with(|local| local.slot.set(Some(slot)));
    let _ = RETIRE.try_with(|_| ());
    slot
}

/// One call from the bench into a driver, as seen from another thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The thread.
    pub thread: u32,
    /// Why the driver was called.
    pub kind: Kind,
    /// What was called.
    pub routine: usize,
    /// Whether a reference keeps the image loaded until the call has returned.
    pub kept: bool,
}

/// The mark of a kept call in a frame's kind.
const KEPT: u8 = 0x80;

/// The calls under way into addresses of `range`, on other threads than this one.
pub(crate) fn inside(range: &std::ops::Range<usize>) -> Vec<Frame> {
    let me = slot().id;
    let slots = SLOTS.lock();
    slots.iter().filter(|slot| slot.id != me).flat_map(|slot| slot.frames()).filter(|f| range.contains(&f.routine)).collect()
}

impl Slot {
    fn new(id: u32) -> Slot {
        Slot {
            id,
            in_use: AtomicU8::new(1),
            depth: AtomicUsize::new(0),
            routines: [const { AtomicUsize::new(0) }; DEPTH],
            kinds: [const { AtomicU8::new(0) }; DEPTH],
        }
    }

    fn frames(&self) -> Vec<Frame> {
        let depth = self.depth.load(Ordering::Acquire).min(DEPTH);
        let mut kept = false;
        let frame = |i: usize| {
            let kind = self.kinds[i].load(Ordering::Relaxed);
            // What is called inside a kept call returns before it.
            kept |= kind & KEPT != 0;
            let routine = self.routines[i].load(Ordering::Relaxed);
            Frame { thread: self.id, kind: Kind::from_number(kind & !KEPT), routine, kept }
        };
        (0..depth).map(frame).collect()
    }

    /// Notes that `routine` is entered.
    pub fn push(&self, kind: Kind, routine: usize) {
        self.enter(kind as u8, routine);
    }

    /// Notes that `routine` is entered, while a reference keeps its image loaded.
    pub fn push_kept(&self, kind: Kind, routine: usize) {
        self.enter(kind as u8 | KEPT, routine);
    }

    fn enter(&self, kind: u8, routine: usize) {
        let depth = self.depth.load(Ordering::Relaxed);
        if depth < DEPTH {
            self.routines[depth].store(routine, Ordering::Relaxed);
            self.kinds[depth].store(kind, Ordering::Relaxed);
        }
        self.depth.store(depth + 1, Ordering::Release);
    }

    /// Notes that the last routine entered has returned.
    pub fn pop(&self) {
        self.depth.store(self.depth.load(Ordering::Relaxed) - 1, Ordering::Release);
    }

    /// Forgets everything: the thread left the driver by ending itself.
    pub fn clear(&self) {
        self.depth.store(0, Ordering::Release);
    }

    /// The innermost call into a driver.
    pub fn innermost(&self) -> Option<Kind> {
        let depth = self.depth.load(Ordering::Relaxed).min(DEPTH);
        (depth > 0).then(|| Kind::from_number(self.kinds[depth - 1].load(Ordering::Relaxed) & !KEPT))
    }

    /// How deep calls into drivers are nested.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }
}

//! A queue of things to run, linked through the things themselves: putting one in allocates nothing and locks nothing.
//!
//! Many put in, one takes everything at once; since nothing else is ever taken out, the head of the stack can have no ABA.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

/// What a runner runs: the link and the function. It is the first field of tasks and jobs.
#[repr(C)]
pub struct Node {
    next: AtomicPtr<Node>,
    run: unsafe fn(NonNull<Node>),
}

impl Node {
    /// A node that is run by `run`, with itself as the argument.
    ///
    /// # IRQL
    /// Any.
    pub const fn new(run: unsafe fn(NonNull<Node>)) -> Self {
        Self { next: AtomicPtr::new(null_mut()), run }
    }

    /// Runs a node that was taken from a queue.
    ///
    /// # Safety
    /// Whoever put it in guaranteed that it may be run now, once.
    ///
    /// # IRQL
    /// That of the queue's lane.
    pub unsafe fn run(node: NonNull<Self>) {
        // SAFETY: a node in a queue is live.
        let run = unsafe { node.as_ref() }.run;
        // SAFETY: as the caller promises.
        unsafe { run(node) };
    }
}

/// A queue of nodes.
pub struct Queue(AtomicPtr<Node>);

impl Queue {
    /// An empty one.
    ///
    /// # IRQL
    /// Any.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// Puts a node in. `true` if the queue was empty: then its runner has to be told.
    ///
    /// # Safety
    /// The node is in no queue, and stays live until it has been run.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub unsafe fn push(&self, node: NonNull<Node>) -> bool {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: live and, being in no queue, ours.
            unsafe { node.as_ref() }.next.store(head, Ordering::Relaxed);
            match self.0.compare_exchange_weak(head, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return head.is_null(),
                Err(seen) => head = seen,
            }
        }
    }

    /// Takes all nodes, in the order in which they were put in.
    ///
    /// # IRQL
    /// Any.
    pub fn take(&self) -> Taken {
        let mut newest = self.0.swap(null_mut(), Ordering::Acquire);
        let mut oldest = null_mut();
        while let Some(node) = NonNull::new(newest) {
            // SAFETY: a node in a queue is live, and after the swap this list is ours.
            newest = unsafe { node.as_ref() }.next.swap(oldest, Ordering::Relaxed);
            oldest = node.as_ptr();
        }
        Taken(oldest)
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

/// Nodes taken from a queue, oldest first.
pub struct Taken(*mut Node);

impl Iterator for Taken {
    type Item = NonNull<Node>;

    fn next(&mut self) -> Option<NonNull<Node>> {
        let node = NonNull::new(self.0)?;
        // SAFETY: live until it is run, which its receiver does after this.
        self.0 = unsafe { node.as_ref() }.next.load(Ordering::Relaxed);
        Some(node)
    }
}

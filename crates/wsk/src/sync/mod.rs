//! What the library builds on in place of `std`: pool memory, counted pointers, locks, events, threads, DPCs, timers.
//!
//! Unsafe code of the crate lives here and in `raw`; each file says what its handles guarantee, and the
//! rest of the crate is safe because of that.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.
#![allow(unsafe_code)] // wraps kernel objects, which are reached by pointer

mod dpc;
mod event;
mod exec;
mod irql;
mod join;
mod list;
mod pool;
mod pool_use;
mod prefetch;
mod queue;
mod ring;
#[macro_use]
pub(crate) mod shared;
mod spin;
mod task;
mod thread;
mod time;
mod timer;
mod watched;

pub use event::Event;
pub use exec::{Executor, Lane, Runtime, SpawnError};
pub(crate) use irql::AtDispatch;
pub use irql::Passive;
pub use join::{JoinError, JoinHandle};
pub use list::try_push;
pub use pool::{Pool, tag};
pub use pool_use::{PoolUse, pool_use};
pub use shared::{Shared, Tagged};
pub use spin::SpinLock;
pub use time::Instant;
pub use timer::Sleep;
pub(crate) use watched::{Watched, Watching};

pub(crate) use dpc::{Dpc, DpcCell, flush_dpcs};
pub(crate) use prefetch::prefetch;
pub(crate) use queue::{Node, Queue};
pub(crate) use ring::Ring;
pub(crate) use thread::Thread;
pub use time::{current_processor, system_time};
pub(crate) use time::processor_count;

/// Memory for what was asked is not there. The one way in which allocation fails here, and it always can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl From<allocator_api2::alloc::AllocError> for OutOfMemory {
    fn from(_: allocator_api2::alloc::AllocError) -> Self {
        Self
    }
}

impl From<allocator_api2::collections::TryReserveError> for OutOfMemory {
    fn from(_: allocator_api2::collections::TryReserveError) -> Self {
        Self
    }
}

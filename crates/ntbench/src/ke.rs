//! The kernel core: interrupt request levels, processors, DPCs, timers, dispatcher objects, spin locks, time.

pub mod dpc;
pub mod event;
pub mod irql;
pub(crate) mod lockorder;
pub mod processor;
pub mod spinlock;
pub mod time;
pub mod timer;
pub mod wait;

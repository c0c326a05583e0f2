//! The executive: pool memory, rundown protection.

pub mod pool;
pub mod rundown;

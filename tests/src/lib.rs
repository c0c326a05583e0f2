//! The built `wskclient.sys` in the bench: what the scenes (`src/bin/scenes`) and the tests (`tests/`) share.
//!
//! From the top down: [`rig`] is a bench with the driver's file and settings, on which it is loaded and asked things;
//! [`timeline`] tells the end of a driver step by step; [`peer`] is the other end of its connections.

pub mod peer;
pub mod rig;
pub mod timeline;

pub use rig::{Loaded, Rig, SERVICE};

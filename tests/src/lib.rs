//! The built `wskclient.sys` in the bench: what the scenes (`src/bin/scenes`) and the tests (`tests/`) share.
//!
//! From the top down: [`rig`] is a bench with the driver's file and settings, on which it is loaded and asked things;
//! [`control_socket`] is where tools in other processes reach its devices; [`timeline`] tells the end of a driver step by step;
//! [`peer`] is the other end of its connections; [`fuzz`] makes requests that are wrong, and judges answers.

#[cfg(unix)]
pub mod control_socket;
pub mod fuzz;
pub mod peer;
pub mod rig;
pub mod timeline;
pub mod wine;

#[cfg(unix)]
pub use control_socket::ControlSocket;
pub use rig::{Loaded, Rig, SERVICE};

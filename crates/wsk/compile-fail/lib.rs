//! What must not compile, beside what does: the types, and not the reader's attention, keep these mistakes out.
//!
//! Each module shows one promise. With `--cfg wrong` the mistakes are compiled too, and each has to be refused at the line
//! that is marked with a part of the message, `//~ like this`; without it, the same code without the mistake compiles.
//! `cargo xtask compile-fail` does both.
#![no_std]
#![allow(missing_docs, dead_code, unused_variables)] // nothing here is ever run

mod outliving;
mod passive_only;
mod tables;
mod under_lock;

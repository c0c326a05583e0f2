//! Safe, async Winsock Kernel sockets for Rust drivers, with the lifecycle built in
#![no_std]

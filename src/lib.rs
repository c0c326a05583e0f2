//! wskclient.sys.
#![no_std]

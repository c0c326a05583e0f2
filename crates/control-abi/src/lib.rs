//! IOCTL codes and wire structures between wskclient.sys and its tools
#![no_std]

//! An NT kernel in a Linux process, for network drivers

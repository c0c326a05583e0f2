//! Bindings of wsk.h and netioddk.h for windows-drivers-rs drivers

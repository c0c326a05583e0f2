//! [`Driver`]: a driver that has been loaded, until it is unloaded.
#![allow(unsafe_code)] // The driver's routines are called.

use std::ffi::c_void;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nt_abi::{
    DO_DEVICE_INITIALIZING, DRIVER_EXTENSION, DRIVER_INITIALIZE, DRIVER_OBJECT, IO_TYPE_DRIVER, NtStatus, UNICODE_STRING,
};
use parking_lot::Mutex;

use crate::callout::{self, Kind};
use crate::image::Image;
use crate::image::map::{self, MapError};
use crate::image::parse::ImageError;
use crate::io::{device, file};
use crate::ke::time;
use crate::trace::{self, Side};
use crate::{leave, ob, registry, rtl};

/// Why a driver could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The image is damaged or not for this machine.
    #[error("the image cannot be loaded: {0}")]
    Image(#[from] ImageError),
    /// The image wants functions that the bench does not have.
    #[error("the image imports what the bench does not have: {}", .0.join(", "))]
    Imports(Vec<String>),
    /// Its entry point failed.
    #[error("DriverEntry answered {0}")]
    DriverEntry(NtStatus),
}

impl From<MapError> for LoadError {
    fn from(error: MapError) -> LoadError {
        match error {
            MapError::Image(error) => LoadError::Image(error),
            MapError::Imports(names) => LoadError::Imports(names),
        }
    }
}

/// Why a driver was not unloaded (rule L38).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnloadRefused {
    /// Handles are open on its devices.
    #[error("{0} handles are open on its devices")]
    Handles(u32),
    /// It has no unload routine.
    #[error("it has no unload routine")]
    NoRoutine,
    /// It has been unloaded.
    #[error("it has been unloaded already")]
    Gone,
}

/// A part of an unload.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Phase {
    /// What it is.
    pub name: &'static str,
    /// When it began, after the unload did.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub detail: String,
}

/// An unload, step by step.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Unload {
    /// From the call of the unload routine to its return.
    pub total: Duration,
    /// How long references to its devices outlived it.
    pub lingered: Duration,
    /// Its parts, in order.
    pub phases: Vec<Phase>,
}

/// A driver that has been loaded.
pub struct Driver {
    service: String,
    image: Arc<Image>,
    /// Address of its driver object, zero once unloaded.
    object: Mutex<usize>,
}

fn destroy(_driver: *mut c_void) {}

/// A driver object for an image; it and its strings are never freed, for drivers keep pointers to them.
fn driver_object(service: &str, image: &Image) -> *mut DRIVER_OBJECT {
    let driver = ob::create(ob::Kind::Driver, size_of::<DRIVER_OBJECT>(), destroy).cast::<DRIVER_OBJECT>();
    let extension = Box::leak(Box::new(DRIVER_EXTENSION {
        DriverObject: driver,
        AddDevice: std::ptr::null_mut(),
        Count: 0,
        ServiceKeyName: rtl::leak(service),
    }));
    // SAFETY: the object is new and zeroed; the entry point has this signature.
    unsafe {
        (*driver).Type = IO_TYPE_DRIVER;
        (*driver).Size = size_of::<DRIVER_OBJECT>() as u16;
        (*driver).DriverStart = image.range.start as *mut c_void;
        (*driver).DriverSize = image.range.len() as u32;
        (*driver).DriverExtension = extension;
        (*driver).DriverName = rtl::leak(&format!(r"\Driver\{service}"));
        (*driver).DriverInit = Some(std::mem::transmute::<usize, DRIVER_INITIALIZE>(image.entry));
    }
    driver
}

/// Calls the entry point.
fn enter(driver: *mut DRIVER_OBJECT, path: &mut UNICODE_STRING) -> NtStatus {
    // SAFETY: the driver object is valid and has an entry point.
    let Some(entry) = (unsafe { (*driver).DriverInit }) else { return NtStatus::DRIVER_ENTRYPOINT_NOT_FOUND };
    // SAFETY: the entry point, called as the I/O manager does.
    callout::call(Kind::Entry, "DriverEntry", entry as usize, || unsafe { entry(driver, &raw mut *path) })
}

impl Driver {
    pub(crate) fn load(service: &str, path: &Path) -> Result<Driver, LoadError> {
        registry::create_service(service);
        let image = map::map(path)?;
        let (base, size) = (image.range.start, image.range.len());
        trace::emit(trace::Kind::ImageMapped { service: service.into(), base, size });
        let object = driver_object(service, &image);
        let mut path = rtl::leak(&registry::service_key(service));
        trace::emit(trace::Kind::LoadBegin { service: service.into() });
        let status = enter(object, &mut path);
        trace::emit(trace::Kind::LoadReturn { service: service.into(), status });
        let driver = Driver { service: service.into(), image, object: Mutex::new(object as usize) };
        if status.is_failure() {
            *driver.object.lock() = 0;
            driver.vanish(object);
            return Err(LoadError::DriverEntry(status));
        }
        for device in device::of_driver(object) {
            // SAFETY: the driver's devices exist.
            unsafe { (*(device.object as *mut nt_abi::DEVICE_OBJECT)).Flags &= !DO_DEVICE_INITIALIZING };
        }
        Ok(driver)
    }

    /// Its image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Its service's name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Handles open on its devices.
    pub fn handles(&self) -> u32 {
        let object = *self.object.lock() as *mut DRIVER_OBJECT;
        let devices = device::of_driver(object);
        let count = |d: &device::Device| file::handles(d.object as *mut nt_abi::DEVICE_OBJECT).load(Ordering::Acquire);
        devices.iter().map(count).sum::<i32>().max(0) as u32
    }

    /// Unloads it: calls its unload routine, checks that it has left nothing, and makes its pages inaccessible.
    ///
    /// # Errors
    /// Why the I/O manager does not call the routine; the driver is still there.
    pub fn unload(&self) -> Result<Unload, UnloadRefused> {
        let handles = self.handles();
        let mut object = self.object.lock();
        if *object == 0 {
            return Err(UnloadRefused::Gone);
        }
        if handles > 0 {
            return Err(UnloadRefused::Handles(handles));
        }
        let driver = *object as *mut DRIVER_OBJECT;
        // SAFETY: the driver object exists.
        let routine = unsafe { (*driver).DriverUnload }.ok_or(UnloadRefused::NoRoutine)?;
        *object = 0;
        drop(object);
        let service = self.service.clone();
        let first = trace::count();
        let began = time::since_start();
        trace::emit(trace::Kind::UnloadBegin { service: service.clone() });
        // SAFETY: the unload routine, called as the I/O manager does.
        callout::call(Kind::Entry, "DriverUnload", routine as usize, || unsafe { routine(driver) });
        let total = time::since_start() - began;
        trace::emit(trace::Kind::UnloadReturn { service });
        let phases = phases(&trace::events_from(first), began);
        let lingered = self.vanish(driver);
        Ok(Unload { total, lingered, phases })
    }

    /// Checks what a driver whose last routine has returned has left, and takes its image away.
    fn vanish(&self, driver: *mut DRIVER_OBJECT) -> Duration {
        let lingered = leave::check(driver, &self.image);
        map::unmap(&self.image);
        trace::emit(trace::Kind::ImageUnmapped { service: self.service.clone() });
        lingered
    }
}

/// The parts of an unload, from the events in it. Each lasts from its first event to its last.
fn phases(events: &[trace::Event], began: Duration) -> Vec<Phase> {
    use trace::Kind as K;
    let mut phases = Vec::new();
    let mut open: Vec<(&'static str, Duration)> = Vec::new();
    for event in events {
        let mut begin = |name| open.push((name, event.time));
        match event.kind {
            K::DeregisterCall { side: Side::Client, .. } => begin("deregister"),
            K::DetachCall { side: Side::Client, .. } => {
                // The completion may come before the callback has returned (N7).
                begin("drain, to detach complete");
                begin("detach callback");
            }
            K::WaitBegin { side: Side::Client, .. } => begin("wait for deregistration"),
            K::DetachReturn { side: Side::Client, status, .. } => {
                close(&mut open, &mut phases, "detach callback", event, began, status.to_string());
                if status != NtStatus::PENDING {
                    open.pop_if(|(name, _)| *name == "drain, to detach complete");
                }
            }
            K::DetachComplete { side: Side::Client, .. } => {
                close(&mut open, &mut phases, "drain, to detach complete", event, began, String::new());
            }
            K::Deregister { side: Side::Client, status, .. } => {
                close(&mut open, &mut phases, "deregister", event, began, status.to_string());
            }
            K::Cleanup { side: Side::Client, .. } => {
                phases.push(Phase {
                    name: "cleanup callback",
                    at: event.time - began,
                    took: Duration::ZERO,
                    detail: String::new(),
                });
            }
            K::WaitReturn { side: Side::Client, status, .. } => {
                close(&mut open, &mut phases, "wait for deregistration", event, began, status.to_string());
            }
            _ => {}
        }
    }
    phases.sort_by_key(|phase| phase.at);
    phases
}

/// Ends the phase of this name that began last.
fn close(
    open: &mut Vec<(&'static str, Duration)>,
    phases: &mut Vec<Phase>,
    name: &'static str,
    event: &trace::Event,
    began: Duration,
    detail: String,
) {
    if let Some(at) = open.iter().rposition(|(other, ..)| *other == name) {
        let (_, start) = open.remove(at);
        phases.push(Phase { name, at: start.saturating_sub(began), took: event.time - start, detail });
    }
}

impl fmt::Display for Unload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        for phase in &self.phases {
            writeln!(f, "{:9.3} ms  {:<26} {:9.3} ms  {}", ms(&phase.at), phase.name, ms(&phase.took), phase.detail)?;
        }
        write!(f, "{:9.3} ms  unload has returned", ms(&self.total))
    }
}

//! What a driver leaves behind when its last routine has returned (rules L31 and L32).

use std::time::{Duration, Instant};

use nt_abi::DRIVER_OBJECT;

use crate::ex::pool;
use crate::image::{self, Image};
use crate::io::{device, irp, workitem};
use crate::ke::{processor, timer};
use crate::{etw, mm, ob, ps, registry, thread, verifier};

/// How long references that keep the image may outlive the unload routine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks everything; answers how long references kept the image.
pub(crate) fn check(driver: *mut DRIVER_OBJECT, image: &Image) -> Duration {
    check_running(image);
    let lingered = wait_for_references(driver, image);
    check_devices(driver);
    check_leaks(image);
    let breakpoints = image::trap::take_breakpoints();
    if breakpoints > 0 {
        verifier::violation("breakpoint", format!("{} stopped for a debugger {breakpoints} times", image.name));
    }
    pool::check_all();
    lingered
}

fn report(rule: &'static str, image: &Image, what: &str) {
    verifier::violation(rule, format!("{} has been unloaded, but {what}", image.name));
}

/// What runs or would run in the image, and is kept by nothing.
fn check_running(image: &Image) {
    for routine in ps::running_in(&image.range) {
        report("L31", image, &format!("its system thread {routine} runs"));
    }
    for frame in thread::inside(&image.range).iter().filter(|frame| !frame.kept) {
        let name = image::describe(frame.routine);
        report("L31", image, &format!("thread {} is inside it ({:?}, {name})", frame.thread, frame.kind));
    }
    for queued in processor::queued() {
        check_dpc(image, queued.dpc as usize, "is queued");
    }
    for (_, dpc) in timer::armed().into_iter().filter(|(_, dpc)| *dpc != 0) {
        check_dpc(image, dpc, "waits for a timer");
    }
}

#[allow(unsafe_code)] // The driver's DPC is read.
fn check_dpc(image: &Image, dpc: usize, state: &str) {
    // SAFETY: a DPC that is queued or armed is valid.
    let routine = unsafe { (*(dpc as *const nt_abi::KDPC)).DeferredRoutine };
    if let Some(routine) = routine.filter(|routine| image.range.contains(&(*routine as usize))) {
        report("L31", image, &format!("its DPC {} {state}", image::describe(routine as usize)));
    }
}

/// Waits until no thread is on its way out of the image, and no reference keeps a device.
fn wait_for_references(driver: *mut DRIVER_OBJECT, image: &Image) -> Duration {
    let began = Instant::now();
    let mut pause = Duration::from_micros(20);
    loop {
        let leaving = thread::inside(&image.range).iter().filter(|frame| frame.kept).count();
        let kept = device::of_driver(driver).iter().any(|device| device.deleted);
        if leaving == 0 && !kept {
            return began.elapsed();
        }
        if began.elapsed() > PATIENCE {
            let text = format!("after {PATIENCE:?} {leaving} threads are on their way out of it, devices kept: {kept}");
            report("L31", image, &text);
            return began.elapsed();
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

fn check_devices(driver: *mut DRIVER_OBJECT) {
    let devices = device::of_driver(driver);
    for device in &devices {
        let name = device.name.as_deref().unwrap_or("without a name");
        let state = if device.deleted { "was deleted, but is referenced" } else { "was not deleted" };
        let count = ob::references(device.object as *mut _);
        verifier::violation("L32", format!("device {name} {state} ({count} references)"));
    }
    let links = device::links_to(&devices);
    for link in &links {
        verifier::violation("L32", format!("symbolic link {link} was not deleted"));
    }
    device::forget_links(&links);
}

fn check_leaks(image: &Image) {
    // The registrar's own blocks are made in the driver's calls, and freed by whichever thread leaves them last.
    let registrars = |block: &pool::Block| block.tag.to_le_bytes().starts_with(b"Nmr");
    for block in pool::leaks_of(&image.range).into_iter().filter(|block| !registrars(block)) {
        verifier::violation("L32", format!("a pool block was not freed: {}", block.describe()));
    }
    for (irp, story) in irp::leaks_of(&image.range) {
        verifier::violation_about("L32", format!("IRP {irp:#x} was not freed"), story);
    }
    let range = &image.range;
    let others = [
        mm::leaks_of(range),
        workitem::leaks_of(range),
        ob::leaks_of(range),
        registry::leaks_of(range),
        etw::leaks_of(range),
    ];
    for leak in others.into_iter().flatten() {
        verifier::violation("L32", format!("not given back: {leak}"));
    }
}

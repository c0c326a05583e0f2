//! WDFTIMER: a kernel timer whose DPC calls the driver.

#![allow(unsafe_code)] // Called by drivers through the function table, and by the kernel's DPCs.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use nt_abi::kernel::{KeCancelTimer, KeFlushQueuedDpcs, KeInitializeDpc, KeInitializeTimerEx, KeSetTimerEx};
use nt_abi::wdf::{EVT_WDF_TIMER, WDF_DRIVER_GLOBALS, WDF_OBJECT_ATTRIBUTES, WDF_TIMER_CONFIG, WDFOBJECT};
use nt_abi::{DISPATCH_LEVEL, KDPC, KTIMER, NOTIFICATION_EVENT, NtStatus, PASSIVE_LEVEL};

use crate::event::{enter, level, status, violation};
use crate::kernel::irql;
use crate::object::{Attributes, Body, Object, body, create, refuse};

/// STATUS_WDF_PARENT_NOT_SPECIFIED.
const PARENT_NOT_SPECIFIED: NtStatus = NtStatus(0xC020_0211_u32 as i32);

/// What a WDFTIMER has of its own.
pub(crate) struct TimerBody {
    timer: UnsafeCell<MaybeUninit<KTIMER>>,
    dpc: UnsafeCell<MaybeUninit<KDPC>>,
    callback: EVT_WDF_TIMER,
    period: i32,
}

// SAFETY: timer and DPC are for the kernel's functions alone, which any thread may call.
unsafe impl Sync for TimerBody {}

impl TimerBody {
    fn timer(&self) -> *mut KTIMER {
        self.timer.get().cast()
    }

    fn dpc(&self) -> *mut KDPC {
        self.dpc.get().cast()
    }

    /// Stops the timer, and waits for its callback where that is allowed.
    pub fn dispose(&self) {
        // SAFETY: initialized when the object was made.
        let was_set = unsafe { KeCancelTimer(self.timer()) } != 0;
        if irql() == PASSIVE_LEVEL {
            // SAFETY: at PASSIVE_LEVEL.
            unsafe { KeFlushQueuedDpcs() };
        } else if !was_set {
            violation("WdfObjectDelete", "a timer that may be running is deleted above PASSIVE_LEVEL", 0);
        }
    }
}

/// Makes a timer.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfTimerCreate(
    _globals: *mut WDF_DRIVER_GLOBALS,
    config: *const WDF_TIMER_CONFIG,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    timer: *mut WDFOBJECT,
) -> NtStatus {
    // SAFETY: the driver's pointers, as the page describes them.
    status(unsafe { make(config, attributes, timer) })
}

unsafe fn make(
    config: *const WDF_TIMER_CONFIG,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    timer: *mut WDFOBJECT,
) -> Result<(), NtStatus> {
    const NAME: &str = "WdfTimerCreate";
    enter(NAME, DISPATCH_LEVEL)?;
    let bad = |text, status| refuse(NAME, text, ptr::null_mut(), status);
    // SAFETY: null or the driver's structure and variable.
    let (Some(config), Some(timer)) = (unsafe { config.as_ref() }, unsafe { timer.as_mut() }) else {
        return bad("called with a null pointer", NtStatus::INVALID_PARAMETER);
    };
    if config.Size as usize != size_of::<WDF_TIMER_CONFIG>() {
        return bad("WDF_TIMER_CONFIG.Size is wrong", NtStatus::INFO_LENGTH_MISMATCH);
    }
    let Some(callback) = config.EvtTimerFunc else {
        return bad("the timer's callback is null", NtStatus::INVALID_PARAMETER);
    };
    if config.TolerableDelay != 0 || config.UseHighResolutionTimer.0 != 0 {
        return bad("tolerable delays and high-resolution timers are not in kmdf-lite", NtStatus::NOT_SUPPORTED);
    }
    // SAFETY: the driver's attributes.
    let attributes = unsafe { Attributes::read(NAME, attributes, true) }?;
    let Some(parent) = attributes.parent else { return bad("a timer needs a parent", PARENT_NOT_SPECIFIED) };
    if attributes.passive(parent) {
        return bad("timers at passive level are not in kmdf-lite", NtStatus::NOT_SUPPORTED);
    }
    let body = TimerBody {
        timer: UnsafeCell::new(MaybeUninit::zeroed()),
        dpc: UnsafeCell::new(MaybeUninit::zeroed()),
        callback,
        period: i32::try_from(config.Period).map_err(|_| NtStatus::INVALID_PARAMETER)?,
    };
    let made = create(parent.globals, Some(parent), &attributes, Body::Timer(body))?;
    initialize(made);
    *timer = made.handle();
    Ok(())
}

/// Makes timer and DPC ready, at their final addresses.
fn initialize(object: &Object) {
    let Body::Timer(body) = &object.body else { return };
    let context = ptr::from_ref(object).cast_mut().cast();
    // SAFETY: memory of the object's own, not yet in use.
    unsafe { KeInitializeDpc(body.dpc(), Some(fire), context) };
    // SAFETY: as above. A notification timer has the value of a notification event.
    unsafe { KeInitializeTimerEx(body.timer(), NOTIFICATION_EVENT) };
}

/// # IRQL
/// DISPATCH_LEVEL
unsafe extern "win64" fn fire(_dpc: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the object stays until its DPC has been flushed.
    let object = unsafe { &*context.cast::<Object>() };
    if let Body::Timer(body) = &object.body {
        // SAFETY: the driver's own callback with its own timer.
        unsafe { (body.callback)(object.handle()) };
    }
}

/// Sets a timer, in units of 100 ns: negative from now, positive in system time. True if it was set already.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfTimerStart(_globals: *mut WDF_DRIVER_GLOBALS, timer: WDFOBJECT, due: i64) -> u8 {
    const NAME: &str = "WdfTimerStart";
    let _ = level(NAME, DISPATCH_LEVEL);
    // SAFETY: initialized when the object was made, and the object exists.
    body!(NAME, timer, Timer).map_or(0, |(_, body)| unsafe { KeSetTimerEx(body.timer(), due, body.period, body.dpc()) })
}

/// Stops a timer, and if asked waits until its callback runs no more. True if it was set.
///
/// # IRQL
/// <= DISPATCH_LEVEL, PASSIVE_LEVEL if it is to wait
pub(crate) unsafe extern "win64" fn WdfTimerStop(_globals: *mut WDF_DRIVER_GLOBALS, timer: WDFOBJECT, wait: u8) -> u8 {
    const NAME: &str = "WdfTimerStop";
    let good = level(NAME, if wait != 0 { PASSIVE_LEVEL } else { DISPATCH_LEVEL }).is_ok();
    let Ok((_, body)) = body!(NAME, timer, Timer) else { return 0 };
    // SAFETY: initialized when the object was made, and the object exists.
    let was_set = unsafe { KeCancelTimer(body.timer()) };
    if wait != 0 && good {
        // SAFETY: at PASSIVE_LEVEL.
        unsafe { KeFlushQueuedDpcs() };
    }
    was_set
}

/// The object that the timer was made under.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfTimerGetParentObject(_globals: *mut WDF_DRIVER_GLOBALS, timer: WDFOBJECT) -> WDFOBJECT {
    const NAME: &str = "WdfTimerGetParentObject";
    let _ = level(NAME, DISPATCH_LEVEL);
    match body!(NAME, timer, Timer) {
        // SAFETY: parents go after their children.
        Ok((object, _)) => unsafe { object.parent.as_ref() }.map_or(ptr::null_mut(), Object::handle),
        Err(_) => ptr::null_mut(),
    }
}

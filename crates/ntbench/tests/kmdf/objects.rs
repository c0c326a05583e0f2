//! Contexts, parents, spin locks, timers.

use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nt_abi::wdf::*;
use nt_abi::{DISPATCH_LEVEL, NtStatus};

use crate::support::*;

/// A context type, which is its own unique type.
struct Type(WDF_OBJECT_CONTEXT_TYPE_INFO);

// SAFETY: constant.
unsafe impl Sync for Type {}

impl Type {
    const fn new(of: &'static Type, size: usize) -> Type {
        Type(WDF_OBJECT_CONTEXT_TYPE_INFO {
            Size: size_of::<WDF_OBJECT_CONTEXT_TYPE_INFO>() as u32,
            ContextName: c"Context".as_ptr(),
            ContextSize: size,
            UniqueType: &raw const of.0,
            EvtDriverGetUniqueContextType: None,
        })
    }
}

static LARGE: Type = Type::new(&LARGE, 1000);
static SMALL: Type = Type::new(&SMALL, 8);

fn context(driver: &Driver, object: WDFOBJECT, kind: &Type) -> *mut u8 {
    call!(driver, WdfObjectGetTypedContextWorker(
        object => WDFOBJECT, &kind.0 => *const WDF_OBJECT_CONTEXT_TYPE_INFO) -> *mut u8)
}

fn lock(driver: &Driver, attributes: &WDF_OBJECT_ATTRIBUTES) -> Result<WDFOBJECT, NtStatus> {
    let mut lock = ptr::null_mut();
    let status = call!(driver, WdfSpinLockCreate(
        attributes => *const WDF_OBJECT_ATTRIBUTES, &mut lock => *mut WDFOBJECT) -> NtStatus);
    if status == NtStatus::SUCCESS { Ok(lock) } else { Err(status) }
}

fn irql() -> u8 {
    // SAFETY: no precondition.
    unsafe { nt_abi::kernel::KeGetCurrentIrql() }
}

#[test]
fn an_object_has_the_context_of_its_type_zeroed() {
    let (driver, _) = Driver::created();
    let with = WDF_OBJECT_ATTRIBUTES { ContextTypeInfo: &LARGE.0, ..attributes() };
    let object = lock(&driver, &with).unwrap();
    let at = context(&driver, object, &LARGE);
    assert_eq!(at as usize % 16, 0);
    // SAFETY: the context has a thousand bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(at, 1000) };
    assert!(bytes.iter().all(|byte| *byte == 0));
    bytes.fill(7);
    assert_eq!(context(&driver, object, &LARGE), at);
    assert!(context(&driver, object, &SMALL).is_null(), "a context of another type");
    assert!(violations().is_empty());
}

static ENDS: Mutex<Vec<(char, usize)>> = Mutex::new(Vec::new());
static ENDING: AtomicUsize = AtomicUsize::new(0);

fn ended(what: char, object: WDFOBJECT) {
    // SAFETY: set by the test whose driver is being ended.
    let driver = unsafe { &*(ENDING.load(Ordering::SeqCst) as *const Driver) };
    let at = context(driver, object, &SMALL).cast::<usize>();
    // SAFETY: the context is there until the destroy callback has returned.
    ENDS.lock().unwrap().push((what, unsafe { *at }));
}

unsafe extern "win64" fn cleanup(object: WDFOBJECT) {
    ended('c', object);
}

unsafe extern "win64" fn destroy(object: WDFOBJECT) {
    ended('d', object);
}

#[test]
fn children_are_cleaned_up_before_their_parents() {
    let (driver, _) = Driver::created();
    ENDS.lock().unwrap().clear();
    ENDING.store(ptr::from_ref(&driver) as usize, Ordering::SeqCst);
    let below = |parent: WDFOBJECT, number: usize| {
        let with = WDF_OBJECT_ATTRIBUTES {
            EvtCleanupCallback: Some(cleanup),
            EvtDestroyCallback: Some(destroy),
            ParentObject: parent,
            ContextTypeInfo: &SMALL.0,
            ..attributes()
        };
        let object = lock(&driver, &with).unwrap();
        // SAFETY: eight bytes of context.
        unsafe { context(&driver, object, &SMALL).cast::<usize>().write(number) };
        object
    };
    let top = below(ptr::null_mut(), 1);
    let middle = below(top, 2);
    below(middle, 3);
    let other = below(ptr::null_mut(), 9);
    call!(driver, WdfObjectDelete(top => WDFOBJECT));
    assert_eq!(*ENDS.lock().unwrap(), [('c', 3), ('c', 2), ('c', 1), ('d', 3), ('d', 2), ('d', 1)]);
    call!(driver, WdfObjectDelete(other => WDFOBJECT));
}

#[test]
fn attributes_that_make_no_sense_are_refused() {
    static NAMELESS: Type = Type(WDF_OBJECT_CONTEXT_TYPE_INFO { ContextName: ptr::null(), ..base() });
    const fn base() -> WDF_OBJECT_CONTEXT_TYPE_INFO {
        WDF_OBJECT_CONTEXT_TYPE_INFO {
            Size: size_of::<WDF_OBJECT_CONTEXT_TYPE_INFO>() as u32,
            ContextName: c"Context".as_ptr(),
            ContextSize: 8,
            UniqueType: &raw const SMALL.0,
            EvtDriverGetUniqueContextType: None,
        }
    }
    static WRONG_SIZE: Type = Type(WDF_OBJECT_CONTEXT_TYPE_INFO { Size: 8, ..base() });
    let (driver, _) = Driver::created();
    let spoils: [fn(&mut WDF_OBJECT_ATTRIBUTES); 8] = [
        |a| a.Size = 0,
        |a| a.ExecutionLevel = 0,
        |a| a.SynchronizationScope = 0,
        |a| a.SynchronizationScope = 3,
        |a| a.ContextSizeOverride = 4,
        |a| a.ContextTypeInfo = &NAMELESS.0,
        |a| a.ContextTypeInfo = &WRONG_SIZE.0,
        |a| a.ParentObject = 0x1234 as WDFOBJECT,
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        let mut with = attributes();
        spoil(&mut with);
        assert!(lock(&driver, &with).is_err(), "spoil {at}");
        assert_eq!(violations().len(), 1, "spoil {at}");
    }
}

#[test]
fn a_spin_lock_raises_and_restores_the_irql() {
    let (driver, _) = Driver::created();
    let object = lock(&driver, &attributes()).unwrap();
    call!(driver, WdfSpinLockAcquire(object => WDFOBJECT));
    assert_eq!(irql(), DISPATCH_LEVEL);
    call!(driver, WdfSpinLockAcquire(object => WDFOBJECT));
    assert_eq!(violations(), ["the thread holds this lock already"]);
    call!(driver, WdfSpinLockRelease(object => WDFOBJECT));
    assert_eq!(irql(), 0);
    call!(driver, WdfSpinLockRelease(object => WDFOBJECT));
    assert_eq!(violations(), ["the thread does not hold this lock"]);
}

static FIRED: AtomicUsize = AtomicUsize::new(0);
static FIRED_AT: AtomicUsize = AtomicUsize::new(0);

unsafe extern "win64" fn fire(_: WDFOBJECT) {
    FIRED_AT.store(irql().into(), Ordering::SeqCst);
    FIRED.fetch_add(1, Ordering::SeqCst);
}

fn timer(driver: &Driver, parent: WDFOBJECT, period: u32) -> Result<WDFOBJECT, NtStatus> {
    let config = WDF_TIMER_CONFIG {
        Size: size_of::<WDF_TIMER_CONFIG>() as u32,
        EvtTimerFunc: Some(fire),
        Period: period,
        AutomaticSerialization: 1,
        TolerableDelay: 0,
        UseHighResolutionTimer: TimerResolution(0),
    };
    let with = WDF_OBJECT_ATTRIBUTES { ParentObject: parent, ..attributes() };
    let mut timer = ptr::null_mut();
    let status = call!(driver, WdfTimerCreate(
        &config => *const WDF_TIMER_CONFIG, &with => *const WDF_OBJECT_ATTRIBUTES,
        &mut timer => *mut WDFOBJECT) -> NtStatus);
    if status == NtStatus::SUCCESS { Ok(timer) } else { Err(status) }
}

fn start(driver: &Driver, timer: WDFOBJECT, milliseconds: i64) -> u8 {
    call!(driver, WdfTimerStart(timer => WDFOBJECT, -10_000 * milliseconds => i64) -> u8)
}

#[test]
fn a_timer_fires_at_dispatch_level_and_can_be_stopped() {
    let (driver, handle) = Driver::created();
    FIRED.store(0, Ordering::SeqCst);
    let object = timer(&driver, handle, 0).unwrap();
    assert_eq!(start(&driver, object, 5), 0);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while FIRED.load(Ordering::SeqCst) == 0 && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(FIRED.load(Ordering::SeqCst), 1);
    assert_eq!(FIRED_AT.load(Ordering::SeqCst), usize::from(DISPATCH_LEVEL));
    start(&driver, object, 60_000);
    assert_eq!(call!(driver, WdfTimerStop(object => WDFOBJECT, 1 => u8) -> u8), 1);
    assert_eq!(call!(driver, WdfTimerStop(object => WDFOBJECT, 1 => u8) -> u8), 0);
    assert_eq!(call!(driver, WdfTimerGetParentObject(object => WDFOBJECT) -> WDFOBJECT), handle);
}

static FIRED_MEANWHILE: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Runs when the timer below has been disposed of, and while its memory is still there.
unsafe extern "win64" fn count_firings(_: WDFOBJECT) {
    let before = FIRED.load(Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(20));
    FIRED_MEANWHILE.store(FIRED.load(Ordering::SeqCst) - before, Ordering::SeqCst);
}

#[test]
fn a_timer_that_runs_is_stopped_before_its_parent_is_cleaned_up() {
    let mut driver = Driver::bound();
    FIRED.store(0, Ordering::SeqCst);
    let with = WDF_OBJECT_ATTRIBUTES { EvtCleanupCallback: Some(count_firings), ..attributes() };
    let handle = driver.create_with(&driver_config(), &with).unwrap();
    let object = timer(&driver, handle, 1).unwrap();
    start(&driver, object, 1);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while FIRED.load(Ordering::SeqCst) < 2 && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(FIRED.load(Ordering::SeqCst) > 1);
    driver.unload();
    assert_eq!(FIRED_MEANWHILE.load(Ordering::SeqCst), 0);
    assert_eq!(driver.unbind(), NtStatus::SUCCESS);
}

#[test]
fn a_timer_needs_a_parent() {
    let (driver, _) = Driver::created();
    assert_eq!(timer(&driver, ptr::null_mut(), 0), Err(NtStatus(0xC020_0211_u32 as i32)));
    assert_eq!(violations(), ["a timer needs a parent"]);
}

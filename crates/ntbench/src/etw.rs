//! Event Tracing for Windows, as providers in the kernel see it, and one session that takes all their events.
//!
//! What a provider writes while the session is on is decoded (TraceLogging says itself what it is) and told to the trace. A
//! provider that writes without being registered, registers twice, or is registered when its image goes, is reported.
#![allow(unsafe_code)] // Exports with the kernel's ABI, and the provider's callback and data.
#![allow(non_snake_case)] // Exported names.

mod decode;

use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nt_abi::{
    APC_LEVEL, ETWENABLECALLBACK, EVENT_CONTROL_CODE_DISABLE_PROVIDER, EVENT_CONTROL_CODE_ENABLE_PROVIDER, EVENT_DATA_DESCRIPTOR,
    EVENT_DATA_DESCRIPTOR_TYPE_EVENT_METADATA, EVENT_DATA_DESCRIPTOR_TYPE_NONE, EVENT_DATA_DESCRIPTOR_TYPE_PROVIDER_METADATA,
    EVENT_DESCRIPTOR, EVENT_PROVIDER_SET_TRAITS, GUID, MAX_EVENT_DATA_DESCRIPTORS, NtStatus, PASSIVE_LEVEL, REGHANDLE,
    export_table,
};
use parking_lot::{Mutex, RwLock};

use crate::callout::{self, Kind};
use crate::ke::irql;
use crate::{fault, image, trace, verifier};

pub use decode::Fields;

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    EtwRegister, EtwUnregister, EtwSetInformation, EtwWriteTransfer, EtwProviderEnabled, EtwEventEnabled,
]);

/// What of providers' events a session takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Events of this level, or more severe ones; 5 is everything.
    pub level: u8,
    /// One of these categories, unless zero.
    pub any: u64,
    /// All of these categories.
    pub all: u64,
}

impl Session {
    /// Everything.
    pub const ALL: Session = Session { level: 5, any: u64::MAX, all: 0 };

    /// Events of category zero are taken whatever the session's are.
    fn takes(&self, level: u8, keyword: u64) -> bool {
        let category = keyword == 0 || ((self.any == 0 || keyword & self.any != 0) && keyword & self.all == self.all);
        level <= self.level && category
    }
}

/// A provider's registration.
struct Registration {
    provider: GUID,
    callback: Option<ETWENABLECALLBACK>,
    context: usize,
    /// Where in the driver it was made.
    site: usize,
    /// Held while the provider is told of the session, so that the callback is over when the registration is.
    telling: Mutex<()>,
    live: AtomicBool,
    session: RwLock<Option<Session>>,
    name: Mutex<Option<String>>,
}

#[derive(Default)]
struct Table {
    live: HashMap<REGHANDLE, Arc<Registration>>,
    last: REGHANDLE,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);
static SESSION: Mutex<Option<Session>> = Mutex::new(None);
/// Events that providers wrote while no session took them: they need not have been made.
static UNWANTED: AtomicU64 = AtomicU64::new(0);
/// Handles look like no address and no small number.
const FIRST: REGHANDLE = 0xe7_0000_0000;

/// Begins, changes or ends the session, and tells all providers.
pub(crate) fn set_session(session: Option<Session>) {
    let mut current = SESSION.lock();
    *current = session;
    let registrations: Vec<_> = TABLE.lock().iter().flat_map(|table| table.live.values().cloned()).collect();
    for registration in registrations {
        registration.tell(session);
    }
}

/// Events written that no session took.
pub(crate) fn unwanted() -> u64 {
    UNWANTED.load(Ordering::Relaxed)
}

/// Registrations of an image that is gone; they are forgotten.
pub(crate) fn leaks_of(range: &Range<usize>) -> Vec<String> {
    let mut table = TABLE.lock();
    let table = table.get_or_insert_default();
    let left = table.live.extract_if(|_, registration| range.contains(&registration.site));
    left.map(|(_, registration)| format!("ETW registration of {}", registration.describe())).collect()
}

impl Registration {
    fn describe(&self) -> String {
        let GUID { Data1, Data2, Data3, Data4: d } = self.provider;
        let [last @ ..] = [d[2], d[3], d[4], d[5], d[6], d[7]].map(|byte| format!("{byte:02x}"));
        let guid = format!("{Data1:08x}-{Data2:04x}-{Data3:04x}-{:02x}{:02x}-{}", d[0], d[1], last.concat());
        let name = self.name.lock().clone().unwrap_or_else(|| "a provider without a name".into());
        format!("{name} {{{guid}}}, made in {}", image::describe(self.site))
    }

    /// Tells the provider whether there is a session, unless it has gone meanwhile.
    fn tell(&self, session: Option<Session>) {
        let _telling = self.telling.lock();
        if !self.live.load(Ordering::Acquire) {
            return;
        }
        *self.session.write() = session;
        let Some(callback) = self.callback else { return };
        let code = if session.is_some() { EVENT_CONTROL_CODE_ENABLE_PROVIDER } else { EVENT_CONTROL_CODE_DISABLE_PROVIDER };
        let Session { level, any, all } = session.unwrap_or(Session { level: 0, any: 0, all: 0 });
        let (source, context) = (GUID { Data1: 0, Data2: 0, Data3: 0, Data4: [0; 8] }, self.context as *mut c_void);
        let call = || {
            // SAFETY: the provider's callback with the context that it gave; it is registered until this returns.
            unsafe { callback(&raw const source, code, level, any, all, std::ptr::null_mut(), context) }
        };
        callout::call(Kind::Other, "EtwEnableCallback", callback as usize, call);
    }
}

fn registration(handle: REGHANDLE) -> Option<Arc<Registration>> {
    TABLE.lock().as_ref()?.live.get(&handle).cloned()
}

/// A handle that is none: what it was is part of what is reported.
fn report(function: &str, handle: REGHANDLE) {
    let was = TABLE.lock().as_ref().is_some_and(|table| (FIRST..=table.last).contains(&handle));
    let state = if was { "whose registration is over" } else { "that EtwRegister never gave" };
    verifier::violation("etw", format!("{function} was called with the handle {handle:#x}, {state}"));
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn EtwRegister(
    provider: *const GUID,
    callback: Option<ETWENABLECALLBACK>,
    context: *mut c_void,
    handle: *mut REGHANDLE,
) -> NtStatus {
    irql::at_most("EtwRegister", PASSIVE_LEVEL);
    if provider.is_null() || handle.is_null() {
        return NtStatus::INVALID_PARAMETER;
    }
    if let Some(status) = fault::status("EtwRegister") {
        return status;
    }
    // SAFETY: the caller passes a GUID.
    let provider = unsafe { *provider };
    let registration = Arc::new(Registration {
        provider,
        callback,
        context: context as usize,
        site: image::caller(),
        telling: Mutex::new(()),
        live: AtomicBool::new(true),
        session: RwLock::new(None),
        name: Mutex::new(None),
    });
    // Held to the end, so that the provider hears of a session once.
    let session = SESSION.lock();
    let (twice, new) = enter(&registration);
    if twice {
        verifier::violation("etw", format!("registered twice: {}", registration.describe()));
    }
    // SAFETY: the caller passes a place for the handle.
    unsafe { handle.write(new) };
    if session.is_some() {
        registration.tell(*session);
    }
    NtStatus::SUCCESS
}

/// Enters a registration; whether its image has one of that provider already, and its handle.
fn enter(new: &Arc<Registration>) -> (bool, REGHANDLE) {
    let mut table = TABLE.lock();
    let table = table.get_or_insert_default();
    let image = image::index_of(new.site);
    let same = |other: &Arc<Registration>| other.provider == new.provider && image::index_of(other.site) == image;
    let twice = table.live.values().any(same);
    table.last = table.last.max(FIRST) + 1;
    table.live.insert(table.last, Arc::clone(new));
    (twice, table.last)
}

/// When it returns, the provider's callback is over.
///
/// # IRQL
/// PASSIVE_LEVEL
extern "win64" fn EtwUnregister(handle: REGHANDLE) -> NtStatus {
    irql::at_most("EtwUnregister", PASSIVE_LEVEL);
    let removed = TABLE.lock().as_mut().and_then(|table| table.live.remove(&handle));
    let Some(registration) = removed else {
        report("EtwUnregister", handle);
        return NtStatus::INVALID_HANDLE;
    };
    let _telling = registration.telling.lock();
    registration.live.store(false, Ordering::Release);
    NtStatus::SUCCESS
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn EtwSetInformation(handle: REGHANDLE, class: u32, information: *const u8, length: u32) -> NtStatus {
    irql::at_most("EtwSetInformation", PASSIVE_LEVEL);
    let Some(registration) = registration(handle) else {
        report("EtwSetInformation", handle);
        return NtStatus::INVALID_HANDLE;
    };
    if class != EVENT_PROVIDER_SET_TRAITS {
        return NtStatus::SUCCESS;
    }
    if information.is_null() {
        return NtStatus::INVALID_PARAMETER;
    }
    // SAFETY: the caller passes so many bytes.
    let traits = unsafe { std::slice::from_raw_parts(information, length as usize) };
    match decode::provider_name(traits) {
        Ok(name) => *registration.name.lock() = Some(name),
        Err(error) => {
            verifier::violation("etw", format!("EtwSetInformation: {error}"));
            return NtStatus::INVALID_PARAMETER;
        }
    }
    NtStatus::SUCCESS
}

/// # IRQL
/// Any
extern "win64" fn EtwProviderEnabled(handle: REGHANDLE, level: u8, keyword: u64) -> u8 {
    let session = registration(handle).and_then(|registration| *registration.session.read());
    session.is_some_and(|session| session.takes(level, keyword)).into()
}

/// # IRQL
/// Any
unsafe extern "win64" fn EtwEventEnabled(handle: REGHANDLE, descriptor: *const EVENT_DESCRIPTOR) -> u8 {
    // SAFETY: the caller passes a descriptor.
    let descriptor = unsafe { *descriptor };
    EtwProviderEnabled(handle, descriptor.Level, descriptor.Keyword)
}

/// # IRQL
/// Any; above APC_LEVEL the data is nonpaged
unsafe extern "win64" fn EtwWriteTransfer(
    handle: REGHANDLE,
    descriptor: *const EVENT_DESCRIPTOR,
    _activity: *const GUID,
    _related: *const GUID,
    count: u32,
    data: *const EVENT_DATA_DESCRIPTOR,
) -> NtStatus {
    let Some(registration) = registration(handle) else {
        report("EtwWriteTransfer", handle);
        return NtStatus::INVALID_HANDLE;
    };
    if descriptor.is_null() || count > MAX_EVENT_DATA_DESCRIPTORS || (data.is_null() && count > 0) {
        return NtStatus::INVALID_PARAMETER;
    }
    // SAFETY: the caller passes a descriptor.
    let descriptor = unsafe { *descriptor };
    let session = *registration.session.read();
    if !session.is_some_and(|session| session.takes(descriptor.Level, descriptor.Keyword)) {
        UNWANTED.fetch_add(1, Ordering::Relaxed);
        return NtStatus::SUCCESS;
    }
    // SAFETY: the caller passes so many of them.
    let parts = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, count as usize) } };
    match Written::gather(parts).and_then(|written| written.decode(&registration)) {
        Ok((provider, name, fields)) => {
            let EVENT_DESCRIPTOR { Level: level, Keyword: keyword, Id: id, .. } = descriptor;
            trace::emit(trace::Kind::Etw { provider, name, id, level, keyword, fields });
        }
        Err(error) => verifier::violation("etw", format!("an event of {}: {error}", registration.describe())),
    }
    NtStatus::SUCCESS
}

/// The parts of an event, copied as they are.
#[derive(Default)]
struct Written {
    provider: Vec<u8>,
    event: Vec<u8>,
    data: Vec<u8>,
}

impl Written {
    fn gather(parts: &[EVENT_DATA_DESCRIPTOR]) -> Result<Written, String> {
        let mut written = Written::default();
        for part in parts.iter().filter(|part| part.Size > 0) {
            if part.Ptr == 0 {
                return Err("data without an address".into());
            }
            if irql::current() > APC_LEVEL && crate::ex::pool::is_paged(part.Ptr as usize) {
                return Err(format!("paged pool at IRQL {}", irql::current()));
            }
            // SAFETY: the provider says that there are so many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(part.Ptr as *const u8, part.Size as usize) };
            match part.Type {
                EVENT_DATA_DESCRIPTOR_TYPE_PROVIDER_METADATA => written.provider.extend_from_slice(bytes),
                EVENT_DATA_DESCRIPTOR_TYPE_EVENT_METADATA => written.event.extend_from_slice(bytes),
                EVENT_DATA_DESCRIPTOR_TYPE_NONE => written.data.extend_from_slice(bytes),
                other => return Err(format!("data of type {other}, which is none")),
            }
        }
        Ok(written)
    }

    /// The provider's name, the event's, and its fields; an event that does not describe itself has none.
    fn decode(&self, registration: &Registration) -> Result<(String, String, Fields), String> {
        let name = registration.name.lock().clone();
        if self.event.is_empty() {
            return Ok((name.unwrap_or_default(), format!("{} bytes", self.data.len()), Fields::default()));
        }
        let named = decode::provider_name(&self.provider)?;
        if name.is_some_and(|name| name != named) {
            return Err(format!("it says that its provider is {named}"));
        }
        let (event, fields) = decode::event(&self.event, &self.data)?;
        Ok((named, event, fields))
    }
}

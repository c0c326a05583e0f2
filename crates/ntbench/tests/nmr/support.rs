//! Simulated modules: what each callback does is a closure, what happened is counted and recorded.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nmr::{Config, Event, Kind, Side};
use nt_abi::nmr::{
    MIT_GUID, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_PROVIDER_CHARACTERISTICS,
    NPI_REGISTRATION_INSTANCE,
};
use nt_abi::{GUID, NtStatus};

/// The interface that most tests speak.
pub const NPI: GUID = npi(1);

/// Interfaces that are told apart by a number.
pub const fn npi(number: u32) -> GUID {
    GUID { Data1: number, Data2: 2, Data3: 3, Data4: [4; 8] }
}

static SERIAL: Mutex<()> = Mutex::new(());
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());

/// One test at a time, with a calm registrar and an empty record. Ends with a check that nothing is left registered.
pub struct Running(#[allow(dead_code)] MutexGuard<'static, ()>);

pub fn start() -> Running {
    start_with(Config::default())
}

pub fn start_with(config: Config) -> Running {
    let guard = SERIAL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    assert!(!FAILED.load(Ordering::SeqCst), "an earlier test failed and left its modules registered");
    bench();
    crate::watchdog::begin();
    nmr::observe(record);
    nmr::faults(|_| None);
    nmr::configure(config);
    EVENTS.lock().unwrap().clear();
    Running(guard)
}

impl Drop for Running {
    fn drop(&mut self) {
        crate::watchdog::end();
        if std::thread::panicking() {
            FAILED.store(true, Ordering::SeqCst);
            return;
        }
        let mut left = Vec::new();
        nmr::census(&mut |registration| left.push(*registration));
        let complaints = std::mem::take(&mut *COMPLAINTS.lock().unwrap());
        let verdict = bench().verdict();
        let good = left.is_empty() && complaints.is_empty() && verdict.is_clean();
        FAILED.store(!good, Ordering::SeqCst);
        assert!(good, "left registered: {left:?}\ncomplaints of modules: {complaints:?}\nthe kernel says: {verdict}");
    }
}

static FAILED: AtomicBool = AtomicBool::new(false);
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What a callback finds wrong. It cannot panic: the registrar could not unwind.
pub fn check(good: bool, text: &str) {
    if !good {
        COMPLAINTS.lock().unwrap().push(text.into());
    }
}

/// The kernel below the registrar.
fn bench() -> &'static ntbench::Bench {
    static BENCH: std::sync::OnceLock<ntbench::Bench> = std::sync::OnceLock::new();
    let config = ntbench::Config { provider: false, on_violation: ntbench::OnViolation::Record, ..Default::default() };
    // The bench listens to the registrar too; these tests take its place, and leave it the kernel's own rules.
    BENCH.get_or_init(|| ntbench::Bench::new(config).expect("a bench"))
}

fn record(event: &Event) {
    EVENTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(*event);
}

pub fn events() -> Vec<Event> {
    EVENTS.lock().unwrap().clone()
}

/// The rules that were broken so far.
pub fn violations() -> Vec<&'static str> {
    let rule = |event: Event| match event.kind {
        Kind::Violation { rule, .. } => Some(rule),
        _ => None,
    };
    events().into_iter().filter_map(rule).collect()
}

/// What the violations say.
pub fn violation_texts() -> Vec<&'static str> {
    let text = |event: Event| match event.kind {
        Kind::Violation { text, .. } => Some(text),
        _ => None,
    };
    events().into_iter().filter_map(text).collect()
}

/// Something that threads wait for.
#[derive(Default)]
pub struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub fn new() -> Arc<Gate> {
        Arc::default()
    }

    pub fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    pub fn wait(&self) {
        let guard = self.0.lock().unwrap();
        let (guard, timeout) = self.1.wait_timeout_while(guard, Duration::from_secs(10), |open| !*open).unwrap();
        drop(guard);
        check(!timeout.timed_out(), "waited 10 s for something that did not come");
    }
}

/// Waits until something becomes true.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(Instant::now() < end, "waited 10 s for: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

type OnOffer = Box<dyn Fn(usize) -> Option<NtStatus> + Send + Sync>;
type OnBinding = Box<dyn Fn(&Bound) -> NtStatus + Send + Sync>;
type OnCleanup = Box<dyn Fn(&Bound) + Send + Sync>;

/// What a module does when it is called.
pub struct Behaviour {
    /// Before the client attaches, or instead: with a status it returns that and does not attach.
    pub on_offer: OnOffer,
    /// What the client returns after it has attached; what the provider answers.
    pub on_attach: OnBinding,
    pub on_detach: OnBinding,
    pub on_cleanup: OnCleanup,
    /// How often the client tries NmrClientAttachProvider.
    pub tries: usize,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            on_offer: Box::new(|_| None),
            on_attach: Box::new(|_| NtStatus::SUCCESS),
            on_detach: Box::new(|_| NtStatus::SUCCESS),
            on_cleanup: Box::new(|_| ()),
            tries: 1,
        }
    }
}

/// A binding as one side knows it: that side's context.
pub struct Bound {
    pub side: Side,
    pub binding: usize,
    module: *const Module,
    /// What the other side gave.
    pub other_context: AtomicUsize,
    pub other_dispatch: AtomicUsize,
    pub other_instance: usize,
    pub detached: AtomicUsize,
    pub cleaned: AtomicUsize,
}

// SAFETY: the module outlives its bindings, by the tests' own order.
unsafe impl Sync for Bound {}
// SAFETY: as above.
unsafe impl Send for Bound {}

impl Bound {
    fn module(&self) -> &Module {
        // SAFETY: a module is dropped only after it was deregistered and waited for.
        unsafe { &*self.module }
    }

    /// Reports this side's detach complete.
    pub fn complete(&self) {
        complete(self.side, self.binding);
    }
}

/// Reports a side's detach complete.
pub fn complete(side: Side, binding: usize) {
    let handle = binding as *mut c_void;
    // SAFETY: every handle is answered.
    unsafe {
        match side {
            Side::Client => nmr::NmrClientDetachProviderComplete(handle),
            Side::Provider => nmr::NmrProviderDetachClientComplete(handle),
        }
    }
}

/// A client or a provider.
pub struct Module {
    pub side: Side,
    npi: GUID,
    id: NPI_MODULEID,
    client: NPI_CLIENT_CHARACTERISTICS,
    provider: NPI_PROVIDER_CHARACTERISTICS,
    pub dispatch: u64,
    pub behaviour: Behaviour,
    pub handle: AtomicUsize,
    pub offers: AtomicUsize,
    pub attaches: AtomicUsize,
    pub detaches: AtomicUsize,
    pub cleanups: AtomicUsize,
    /// Bindings made and not yet cleaned up, oldest first.
    pub bound: Mutex<Vec<Arc<Bound>>>,
    /// Set once the wait has returned: no callback may come any more.
    over: AtomicUsize,
}

// SAFETY: the pointers inside the characteristics lead into the module itself.
unsafe impl Sync for Module {}
// SAFETY: as above.
unsafe impl Send for Module {}

pub fn client(behaviour: Behaviour) -> Arc<Module> {
    Module::new(Side::Client, NPI, behaviour)
}

pub fn provider(behaviour: Behaviour) -> Arc<Module> {
    Module::new(Side::Provider, NPI, behaviour)
}

impl Module {
    pub fn new(side: Side, npi: GUID, behaviour: Behaviour) -> Arc<Module> {
        let instance = NPI_REGISTRATION_INSTANCE {
            Version: 0,
            Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
            NpiId: ptr::null(),
            ModuleId: ptr::null(),
            Number: 7,
            NpiSpecificCharacteristics: ptr::null(),
        };
        let mut module = Arc::new(Module {
            side,
            npi,
            id: NPI_MODULEID {
                Length: size_of::<NPI_MODULEID>() as u16,
                Type: MIT_GUID,
                Value: NPI_MODULEID_VALUE { Guid: npi },
            },
            client: NPI_CLIENT_CHARACTERISTICS {
                Version: 0,
                Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
                ClientAttachProvider: Some(client_attach),
                ClientDetachProvider: Some(detach),
                ClientCleanupBindingContext: Some(cleanup),
                ClientRegistrationInstance: instance,
            },
            provider: NPI_PROVIDER_CHARACTERISTICS {
                Version: 0,
                Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
                ProviderAttachClient: Some(provider_attach),
                ProviderDetachClient: Some(detach),
                ProviderCleanupBindingContext: Some(cleanup),
                ProviderRegistrationInstance: instance,
            },
            dispatch: 0,
            behaviour,
            handle: AtomicUsize::new(0),
            offers: AtomicUsize::new(0),
            attaches: AtomicUsize::new(0),
            detaches: AtomicUsize::new(0),
            cleanups: AtomicUsize::new(0),
            bound: Mutex::new(Vec::new()),
            over: AtomicUsize::new(0),
        });
        let it = Arc::get_mut(&mut module).unwrap();
        it.client.ClientRegistrationInstance.NpiId = &raw const it.npi;
        it.client.ClientRegistrationInstance.ModuleId = &raw const it.id;
        it.provider.ProviderRegistrationInstance.NpiId = &raw const it.npi;
        it.provider.ProviderRegistrationInstance.ModuleId = &raw const it.id;
        module
    }

    /// Changes the characteristics before registration.
    pub fn spoil_client(this: &mut Arc<Module>, spoil: impl FnOnce(&mut NPI_CLIENT_CHARACTERISTICS)) {
        spoil(&mut Arc::get_mut(this).unwrap().client);
    }

    pub fn spoil_provider(this: &mut Arc<Module>, spoil: impl FnOnce(&mut NPI_PROVIDER_CHARACTERISTICS)) {
        spoil(&mut Arc::get_mut(this).unwrap().provider);
    }

    pub fn try_register(&self) -> NtStatus {
        let handle = self.handle.as_ptr().cast();
        let context = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the module stays where it is until it has been waited for.
        unsafe {
            match self.side {
                Side::Client => nmr::NmrRegisterClient(&self.client, context, handle),
                Side::Provider => nmr::NmrRegisterProvider(&self.provider, context, handle),
            }
        }
    }

    pub fn register(&self) {
        assert_eq!(self.try_register(), NtStatus::SUCCESS);
    }

    pub fn deregister(&self) -> NtStatus {
        deregister(self.side, self.handle.load(Ordering::SeqCst))
    }

    pub fn wait(&self) -> NtStatus {
        let status = wait(self.side, self.handle.load(Ordering::SeqCst));
        self.over.store(1, Ordering::SeqCst);
        status
    }

    /// Deregisters and waits.
    pub fn leave(&self) {
        assert_eq!(self.deregister(), NtStatus::PENDING);
        assert_eq!(self.wait(), NtStatus::SUCCESS);
    }

    /// Offers, attaches, detaches, cleanups so far.
    pub fn counts(&self) -> [usize; 4] {
        [&self.offers, &self.attaches, &self.detaches, &self.cleanups].map(|count| count.load(Ordering::SeqCst))
    }

    /// Its only binding.
    pub fn only(&self) -> Arc<Bound> {
        let bound = self.bound.lock().unwrap();
        assert_eq!(bound.len(), 1, "bindings");
        bound[0].clone()
    }

    fn called(&self, count: &AtomicUsize) {
        check(self.over.load(Ordering::SeqCst) == 0, "called after its deregistration was complete");
        count.fetch_add(1, Ordering::SeqCst);
    }

    fn bind(&self, binding: usize, other_instance: usize) -> Arc<Bound> {
        Arc::new(Bound {
            side: self.side,
            binding,
            module: self,
            other_context: AtomicUsize::new(0),
            other_dispatch: AtomicUsize::new(0),
            other_instance,
            detached: AtomicUsize::new(0),
            cleaned: AtomicUsize::new(0),
        })
    }

    fn attached(&self, bound: &Arc<Bound>, context: *mut c_void, dispatch: *const c_void) {
        bound.other_context.store(context as usize, Ordering::SeqCst);
        bound.other_dispatch.store(dispatch as usize, Ordering::SeqCst);
    }

    fn forget(&self, bound: &Bound) {
        self.bound.lock().unwrap().retain(|other| other.binding != bound.binding);
    }

    /// Address of the instance that the other side is shown.
    pub fn instance(&self) -> usize {
        match self.side {
            Side::Client => &raw const self.client.ClientRegistrationInstance as usize,
            Side::Provider => &raw const self.provider.ProviderRegistrationInstance as usize,
        }
    }
}

pub fn deregister(side: Side, handle: usize) -> NtStatus {
    let handle = handle as *mut c_void;
    // SAFETY: every handle is answered.
    unsafe {
        match side {
            Side::Client => nmr::NmrDeregisterClient(handle),
            Side::Provider => nmr::NmrDeregisterProvider(handle),
        }
    }
}

pub fn wait(side: Side, handle: usize) -> NtStatus {
    let handle = handle as *mut c_void;
    // SAFETY: every handle is answered.
    unsafe {
        match side {
            Side::Client => nmr::NmrWaitForClientDeregisterComplete(handle),
            Side::Provider => nmr::NmrWaitForProviderDeregisterComplete(handle),
        }
    }
}

/// Calls NmrClientAttachProvider with nothing in particular.
pub fn attach_provider(binding: usize) -> NtStatus {
    let (mut context, mut dispatch) = (ptr::null_mut(), ptr::null());
    // SAFETY: every handle is answered; the results are locals.
    unsafe { nmr::NmrClientAttachProvider(binding as *mut c_void, ptr::null_mut(), ptr::null(), &mut context, &mut dispatch) }
}

unsafe extern "win64" fn client_attach(
    binding: *mut c_void,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NtStatus {
    // SAFETY: the module registered with itself as context.
    let module = unsafe { &*context.cast::<Module>() };
    module.called(&module.offers);
    if let Some(status) = (module.behaviour.on_offer)(binding as usize) {
        return status;
    }
    let bound = module.bind(binding as usize, instance as usize);
    module.bound.lock().unwrap().push(bound.clone());
    let mut status = NtStatus::UNSUCCESSFUL;
    for _ in 0..module.behaviour.tries {
        let (mut context, mut dispatch) = (ptr::null_mut(), ptr::null());
        let own = Arc::as_ptr(&bound).cast_mut().cast();
        // SAFETY: the bound is kept by the module until it is cleaned up; the results are locals.
        status = unsafe {
            nmr::NmrClientAttachProvider(binding, own, (&raw const module.dispatch).cast(), &mut context, &mut dispatch)
        };
        if status == NtStatus::SUCCESS {
            module.called(&module.attaches);
            module.attached(&bound, context, dispatch);
            return (module.behaviour.on_attach)(&bound);
        }
    }
    module.forget(&bound);
    status
}

unsafe extern "win64" fn provider_attach(
    binding: *mut c_void,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NtStatus {
    // SAFETY: the module registered with itself as context.
    let module = unsafe { &*context.cast::<Module>() };
    module.called(&module.offers);
    let bound = module.bind(binding as usize, instance as usize);
    module.attached(&bound, client_context, client_dispatch);
    module.bound.lock().unwrap().push(bound.clone());
    let status = (module.behaviour.on_attach)(&bound);
    if status != NtStatus::SUCCESS {
        module.forget(&bound);
        return status;
    }
    module.called(&module.attaches);
    // SAFETY: the registrar's variables.
    unsafe { provider_context.write(Arc::as_ptr(&bound).cast_mut().cast()) };
    // SAFETY: as above.
    unsafe { provider_dispatch.write((&raw const module.dispatch).cast()) };
    NtStatus::SUCCESS
}

unsafe extern "win64" fn detach(context: *mut c_void) -> NtStatus {
    // SAFETY: the binding context of either side, which the module keeps until it is cleaned up.
    let bound = unsafe { &*context.cast::<Bound>() };
    let module = bound.module();
    module.called(&module.detaches);
    check(bound.detached.fetch_add(1, Ordering::SeqCst) == 0, "detached twice");
    (module.behaviour.on_detach)(bound)
}

unsafe extern "win64" fn cleanup(context: *mut c_void) {
    // SAFETY: as in `detach`.
    let bound = unsafe { &*context.cast::<Bound>() };
    let module = bound.module();
    module.called(&module.cleanups);
    check(bound.detached.load(Ordering::SeqCst) == 1, "cleaned up without a detach");
    check(bound.cleaned.fetch_add(1, Ordering::SeqCst) == 0, "cleaned up twice");
    (module.behaviour.on_cleanup)(bound);
    module.forget(bound);
}

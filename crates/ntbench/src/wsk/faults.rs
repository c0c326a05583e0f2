//! What makes the provider adverse, changeable while drivers run, and the steps at which a test can act.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::WSK_VERSION_1_0;

macro_rules! functions {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// A function of the provider's, or an event of the client's.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)] // Each is the function of its name.
        pub enum Function { $($name),* }

        impl Function {
            const ALL: &'static [Function] = &[$(Function::$name),*];

            /// The documented name.
            pub const fn name(self) -> &'static str {
                match self { $(Function::$name => $text),* }
            }
        }
    };
}

functions! {
    Socket = "WskSocket",
    SocketConnect = "WskSocketConnect",
    ControlClient = "WskControlClient",
    GetAddressInfo = "WskGetAddressInfo",
    FreeAddressInfo = "WskFreeAddressInfo",
    GetNameInfo = "WskGetNameInfo",
    ControlSocket = "WskControlSocket",
    Close = "WskCloseSocket",
    Bind = "WskBind",
    Listen = "WskListen",
    Accept = "WskAccept",
    InspectComplete = "WskInspectComplete",
    Connect = "WskConnect",
    ConnectEx = "WskConnectEx",
    Send = "WskSend",
    Receive = "WskReceive",
    Disconnect = "WskDisconnect",
    Release = "WskRelease",
    SendTo = "WskSendTo",
    ReceiveFrom = "WskReceiveFrom",
    SendMessages = "WskSendMessages",
    GetLocalAddress = "WskGetLocalAddress",
    GetRemoteAddress = "WskGetRemoteAddress",
    InspectEvent = "WskInspectEvent",
    AbortEvent = "WskAbortEvent",
    AcceptEvent = "WskAcceptEvent",
    ReceiveEvent = "WskReceiveEvent",
    DisconnectEvent = "WskDisconnectEvent",
    ReceiveFromEvent = "WskReceiveFromEvent",
    SendBacklogEvent = "WskSendBacklogEvent",
    Attach = "ProviderAttachClient",
    Detach = "ProviderDetachClient",
}

/// Where in a function the provider is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Entered, nothing done.
    Enter,
    /// About to complete the IRP.
    Complete,
    /// The completion routine has returned.
    Completed,
    /// About to return.
    Return,
}

/// A step that a test can act at; its text is such as `WskSend:Complete`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Which function.
    pub function: Function,
    /// Where in it.
    pub moment: Moment,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.function.name(), self.moment)
    }
}

/// What is done instead of the usual.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    /// Fail: the IRP is completed with the status before the function returns it.
    Fail(NtStatus),
    /// Return STATUS_PENDING and complete the IRP with the status later.
    FailLater(NtStatus),
    /// Return the status and never complete the IRP (lifecycle rule L35).
    Abandon(NtStatus),
    /// Do it, complete the IRP accordingly, and return the status all the same.
    CompleteAndReturn(NtStatus),
    /// Do it, but complete after a delay, from another thread.
    Late(Duration),
    /// Where it could be completed inline: complete inline, and return STATUS_PENDING.
    Pending,
    /// Where it could be completed inline: another thread completes before the call returns STATUS_PENDING.
    BeforeReturn,
    /// Do nothing; the IRP stays until it is cancelled or its socket closed.
    Never,
}

/// Which calls of a function a rule is for, counted from 1 since the faults were set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum When {
    /// All of them.
    Always,
    /// Only this one.
    Nth(u64),
    /// This one and all that follow.
    From(u64),
    /// Each with this probability, from the bench's seed.
    Chance(f64),
}

/// One rule: the first that fits a call applies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rule {
    /// The function.
    pub function: Function,
    /// Which calls.
    pub when: When,
    /// What happens then.
    pub action: Action,
}

/// All adverse modes. The default is none.
#[derive(Clone, PartialEq, Debug)]
pub struct Faults {
    /// Calls that go wrong.
    pub rules: Vec<Rule>,
    /// Receive at most so many bytes at a time.
    pub split_reads: Option<usize>,
    /// Indicated data comes in lists of several elements, of several MDLs, not all of them mapped.
    pub odd_lists: bool,
    /// SO_WSK_EVENT_CALLBACK is answered with this (STATUS_NOT_SUPPORTED is what Wine answers).
    pub refuse_events: Option<NtStatus>,
    /// Switching IPV6_V6ONLY off is answered with STATUS_NOT_SUPPORTED.
    pub refuse_dual_stack: bool,
    /// A datagram that its buffer cuts short completes with STATUS_SUCCESS; MSG_TRUNC alone tells.
    pub quiet_truncation: bool,
    /// A datagram socket is no longer functional from the next datagram on: its event is called with NULL, its
    /// requests end with STATUS_FILE_FORCED_CLOSED.
    pub break_datagrams: bool,
    /// So many datagrams find room to be sent; those after them wait until the faults are set anew.
    pub datagram_room: Option<u32>,
    /// WskDisconnect is answered with this.
    pub refuse_disconnect: Option<NtStatus>,
    /// Every close completes so much later.
    pub close_delay: Option<Duration>,
    /// Clients are refused with this status.
    pub refuse_attach: Option<NtStatus>,
    /// The WSK_CLIENT_DISPATCH version that clients must have.
    pub client_version: u16,
    /// The next so many binds find that their address is not there (yet).
    pub absent_address: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            split_reads: None,
            odd_lists: false,
            refuse_events: None,
            refuse_dual_stack: false,
            quiet_truncation: false,
            break_datagrams: false,
            datagram_room: None,
            refuse_disconnect: None,
            close_delay: None,
            refuse_attach: None,
            client_version: WSK_VERSION_1_0,
            absent_address: 0,
        }
    }
}

impl Faults {
    /// No faults, but this rule.
    pub fn rule(function: Function, when: When, action: Action) -> Self {
        Self { rules: vec![Rule { function, when, action }], ..Self::default() }
    }
}

type Hook = Arc<dyn Fn(Step) + Send + Sync>;

/// The faults in force. Cheap where there are none.
#[derive(Default)]
pub(super) struct Adversity {
    active: AtomicBool,
    set: RwLock<Arc<Faults>>,
    counts: [AtomicU64; Function::ALL.len()],
    absent: AtomicU32,
    room: AtomicU32,
    hooked: AtomicBool,
    hook: Mutex<Option<Hook>>,
}

impl Adversity {
    /// Puts faults in force and counts from anew.
    pub(super) fn set(&self, faults: Faults) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.absent.store(faults.absent_address, Ordering::Relaxed);
        self.room.store(faults.datagram_room.unwrap_or(0), Ordering::Relaxed);
        let active = faults != Faults::default();
        *self.set.write().unwrap() = Arc::new(faults);
        self.active.store(active, Ordering::Release);
    }

    /// The faults in force, if any.
    pub(super) fn current(&self) -> Option<Arc<Faults>> {
        self.active.load(Ordering::Acquire).then(|| Arc::clone(&self.set.read().unwrap()))
    }

    /// What to do with this call of a function instead of the usual.
    pub(super) fn plan(&self, function: Function) -> Option<Action> {
        let faults = self.current()?;
        let call = self.counts[function as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let fits = |rule: &&Rule| {
            rule.function == function
                && match rule.when {
                    When::Always => true,
                    When::Nth(n) => call == n,
                    When::From(n) => call >= n,
                    When::Chance(p) => crate::rng::chance(p),
                }
        };
        faults.rules.iter().find(fits).map(|rule| rule.action)
    }

    /// Whether this bind is to find no address.
    pub(super) fn address_absent(&self) -> bool {
        let take = |left: u32| left.checked_sub(1);
        self.absent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// How many of so many datagrams there is room for.
    pub(super) fn datagram_room(&self, wanted: usize) -> usize {
        if self.current().is_none_or(|faults| faults.datagram_room.is_none()) {
            return wanted;
        }
        let take = |left: u32| Some(left.saturating_sub(wanted as u32));
        let before = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or(0);
        wanted.min(before as usize)
    }

    /// How many bytes a read may bring.
    pub(super) fn read_limit(&self) -> usize {
        self.current().and_then(|faults| faults.split_reads).unwrap_or(usize::MAX).max(1)
    }

    /// Whom to tell of steps.
    pub(super) fn hook(&self, hook: Option<Hook>) {
        self.hooked.store(hook.is_some(), Ordering::Release);
        *self.hook.lock().unwrap() = hook;
    }

    /// Tells of a step.
    pub(super) fn step(&self, function: Function, moment: Moment) {
        if self.hooked.load(Ordering::Acquire) {
            let hook = self.hook.lock().unwrap().clone();
            if let Some(hook) = hook {
                hook(Step { function, moment });
            }
        }
    }
}

//! What of the registrar's freedom is used: the public pages leave open when an attach happens, at which IRQL a
//! detach callback runs, in which order the two sides are called. Each is a choice here, fixed or drawn from a seed.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// When a registration's attaches happen (rule N1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Attach {
    /// Before the registration returns.
    Inline,
    /// Later, on a thread of the registrar's.
    Late,
    /// One or the other.
    Random,
}

/// What deregistering answers when everything has finished before it returns (rule N5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Deregister {
    /// STATUS_PENDING always, as the pages say.
    Pending,
    /// STATUS_SUCCESS then; the handle is gone with it.
    AtOnce,
}

/// The IRQL of detach and cleanup callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// That of whoever deregisters or completes.
    Caller,
    /// DISPATCH_LEVEL.
    Dispatch,
    /// One or the other.
    Random,
}

/// A yes or no that may be left to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Choice {
    /// No.
    Never,
    /// Yes.
    Always,
    /// Sometimes.
    Random,
}

/// How the registrar behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// When attaches happen.
    pub attach: Attach,
    /// What deregistering answers.
    pub deregister: Deregister,
    /// At which IRQL detach and cleanup callbacks run.
    pub level: Level,
    /// Whether detach may be called while ClientAttachProvider, having attached, has not returned yet.
    pub early_detach: Choice,
    /// Whether the provider is called before the client.
    pub provider_first: Choice,
    /// Where the random choices begin.
    pub seed: u64,
}

impl Default for Config {
    /// The calmest registrar: attaches inline, client first, at the caller's IRQL.
    fn default() -> Config {
        Config {
            attach: Attach::Inline,
            deregister: Deregister::Pending,
            level: Level::Caller,
            early_detach: Choice::Never,
            provider_first: Choice::Never,
            seed: 0,
        }
    }
}

impl Config {
    /// Everything at random.
    pub fn random(seed: u64) -> Config {
        Config {
            attach: Attach::Random,
            deregister: Deregister::Pending,
            level: Level::Random,
            early_detach: Choice::Random,
            provider_first: Choice::Random,
            seed,
        }
    }
}

/// Sets how the registrar behaves from now on. Registrations that exist keep going.
pub fn configure(config: Config) {
    let fixed = |always: bool, never: bool| {
        if always {
            ALWAYS
        } else if never {
            NEVER
        } else {
            RANDOM
        }
    };
    let choice = |c: Choice| fixed(c == Choice::Always, c == Choice::Never);
    LATE.set(fixed(config.attach == Attach::Late, config.attach == Attach::Inline));
    AT_ONCE.set(fixed(config.deregister == Deregister::AtOnce, true));
    DISPATCH.set(fixed(config.level == Level::Dispatch, config.level == Level::Caller));
    EARLY.set(choice(config.early_detach));
    PROVIDER_FIRST.set(choice(config.provider_first));
    SEED.store(config.seed, Ordering::Relaxed);
}

pub(crate) static LATE: Knob = Knob::new();
pub(crate) static AT_ONCE: Knob = Knob::new();
pub(crate) static DISPATCH: Knob = Knob::new();
pub(crate) static EARLY: Knob = Knob::new();
pub(crate) static PROVIDER_FIRST: Knob = Knob::new();
static SEED: AtomicU64 = AtomicU64::new(0);

const NEVER: u8 = 0;
const ALWAYS: u8 = 1;
const RANDOM: u8 = 2;

/// One decision of the registrar's.
pub(crate) struct Knob(AtomicU8);

impl Knob {
    const fn new() -> Knob {
        Knob(AtomicU8::new(NEVER))
    }

    fn set(&self, value: u8) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Decides once.
    pub fn decide(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            NEVER => false,
            ALWAYS => true,
            _ => random() & 1 == 0,
        }
    }

    /// Whether it is left to chance.
    pub fn is_random(&self) -> bool {
        self.0.load(Ordering::Relaxed) == RANDOM
    }
}

/// The next number of the sequence that begins at the seed (SplitMix64).
pub(crate) fn random() -> u64 {
    let step = SEED.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    let mut z = step.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

//! [`Story`]: the trace as evidence; a question that it cannot answer fails with all of it.

use std::fmt;

use ntbench::trace::{Event, Kind, Side};
use ntbench::{Bench, NtStatus};

use super::Loaded;

/// What happened in some time.
pub struct Story(pub Vec<Event>);

impl Story {
    /// Since this driver's load began.
    pub fn of(loaded: &Loaded) -> Self {
        Self(loaded.events())
    }

    /// Since the position `first` of the trace.
    pub fn since(bench: &Bench, first: usize) -> Self {
        Self(bench.trace().split_off(first))
    }

    /// How often it happened.
    pub fn count(&self, what: impl Fn(&Kind) -> bool) -> usize {
        self.0.iter().filter(|event| what(&event.kind)).count()
    }

    /// Where it happened first, if it did.
    pub fn find(&self, what: impl Fn(&Kind) -> bool) -> Option<usize> {
        self.0.iter().position(|event| what(&event.kind))
    }

    /// Where it happened first; `name` is for the complaint that it did not.
    #[track_caller]
    pub fn first(&self, name: &str, what: impl Fn(&Kind) -> bool) -> usize {
        self.find(what).unwrap_or_else(|| panic!("{name} did not happen in\n{self}"))
    }

    /// Where it happened last; `name` is for the complaint that it did not.
    #[track_caller]
    pub fn last(&self, name: &str, what: impl Fn(&Kind) -> bool) -> usize {
        let last = self.0.iter().rposition(|event| what(&event.kind));
        last.unwrap_or_else(|| panic!("{name} did not happen in\n{self}"))
    }

    /// Fails unless it happened exactly so often.
    #[track_caller]
    pub fn expect_count(&self, name: &str, wanted: usize, what: impl Fn(&Kind) -> bool) {
        let count = self.count(what);
        assert_eq!(count, wanted, "{name} happened {count} times, not {wanted}, in\n{self}");
    }

    /// Fails unless each of these happened, the first time of each after that of the one before.
    #[track_caller]
    pub fn expect_order(&self, steps: &[(&str, &dyn Fn(&Kind) -> bool)]) {
        let places: Vec<_> = steps.iter().map(|(name, step)| (*name, self.first(name, step))).collect();
        for pair in places.windows(2) {
            assert!(pair[0].1 < pair[1].1, "{} did not come before {} in\n{self}", pair[0].0, pair[1].0);
        }
    }

    /// What the driver printed that contains `part`.
    pub fn printed(&self, part: &str) -> Vec<&str> {
        let text = |event: &'_ Event| matches!(&event.kind, Kind::DbgPrint { text, .. } if text.contains(part));
        let lines = self.0.iter().filter(|event| text(event));
        lines.filter_map(|event| if let Kind::DbgPrint { text, .. } = &event.kind { Some(text.trim()) } else { None }).collect()
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 400;
        writeln!(f, "this trace ({} events):", self.0.len())?;
        let skipped = self.0.len().saturating_sub(MOST);
        if skipped > 0 {
            writeln!(f, "  ... {skipped} earlier events")?;
        }
        self.0[skipped..].iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

/// The client's registration was made.
pub fn registered(kind: &Kind) -> bool {
    matches!(kind, Kind::NmrRegister { side: Side::Client, status, .. } if status.is_success())
}

/// The client's attach callback is called.
pub fn attach_call(kind: &Kind) -> bool {
    matches!(kind, Kind::AttachCall { side: Side::Client, .. })
}

/// The client's attach callback has answered so.
pub fn attach_answered(wanted: NtStatus) -> impl Fn(&Kind) -> bool {
    move |kind| matches!(kind, Kind::AttachReturn { side: Side::Client, status, .. } if *status == wanted)
}

/// The client's attach callback has succeeded.
pub fn attached(kind: &Kind) -> bool {
    attach_answered(NtStatus::SUCCESS)(kind)
}

/// The client's detach callback is called.
pub fn detach_call(kind: &Kind) -> bool {
    matches!(kind, Kind::DetachCall { side: Side::Client, .. })
}

/// The client's detach callback has answered so.
pub fn detach_answered(wanted: NtStatus) -> impl Fn(&Kind) -> bool {
    move |kind| matches!(kind, Kind::DetachReturn { side: Side::Client, status, .. } if *status == wanted)
}

/// The client's detach callback has returned.
pub fn detach_return(kind: &Kind) -> bool {
    matches!(kind, Kind::DetachReturn { side: Side::Client, .. })
}

/// The client has completed its detaching.
pub fn detach_complete(kind: &Kind) -> bool {
    matches!(kind, Kind::DetachComplete { side: Side::Client, .. })
}

/// The client's cleanup callback is called.
pub fn cleanup(kind: &Kind) -> bool {
    matches!(kind, Kind::Cleanup { side: Side::Client, .. })
}

/// The client's deregistration has begun.
pub fn deregister_call(kind: &Kind) -> bool {
    matches!(kind, Kind::DeregisterCall { side: Side::Client, .. })
}

/// The client's deregistration has returned.
pub fn deregister_return(kind: &Kind) -> bool {
    matches!(kind, Kind::Deregister { side: Side::Client, .. })
}

/// The client's wait for its deregistration begins.
pub fn wait_begin(kind: &Kind) -> bool {
    matches!(kind, Kind::WaitBegin { side: Side::Client, .. })
}

/// The client's wait for its deregistration has ended.
pub fn wait_return(kind: &Kind) -> bool {
    matches!(kind, Kind::WaitReturn { side: Side::Client, .. })
}

/// The driver's entry point is called.
pub fn load_begin(kind: &Kind) -> bool {
    matches!(kind, Kind::LoadBegin { .. })
}

/// The driver's entry point has returned.
pub fn load_return(kind: &Kind) -> bool {
    matches!(kind, Kind::LoadReturn { .. })
}

/// The driver's unload routine is called.
pub fn unload_begin(kind: &Kind) -> bool {
    matches!(kind, Kind::UnloadBegin { .. })
}

/// The driver's unload routine has returned.
pub fn unload_return(kind: &Kind) -> bool {
    matches!(kind, Kind::UnloadReturn { .. })
}

/// A socket was made.
pub fn socket_created(kind: &Kind) -> bool {
    matches!(kind, Kind::SocketCreated { .. })
}

/// A socket is gone.
pub fn socket_closed(kind: &Kind) -> bool {
    matches!(kind, Kind::SocketClosed { .. })
}

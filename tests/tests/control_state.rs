//! The state of the driver: every figure is what it says.

mod support;

use control_abi::{Gate, PoolUse, Registration, State};
use support::peers::idle;
use support::{isolated, listening, load, rig, state_when, unload_clean};

/// The pool under one tag.
fn under(state: &State, tag: &[u8; 4]) -> PoolUse {
    *state.pool().iter().find(|entry| entry.tag == *tag).unwrap_or_else(|| panic!("nothing under {tag:?} in {state:?}"))
}

isolated! {
    #[test]
    fn control_the_state_knows_the_most_that_there_was() {
        let (loaded, address) = listening();
        let before = loaded.state().expect("the state");
        let streams = idle(address, 20);
        let busy = state_when(&loaded, |state| state.sockets == 21 && state.totals.sent == 2000);
        assert!(under(&busy, b"WskS").allocations >= 21, "{busy:?}");
        assert!(under(&busy, b"WskS").bytes > under(&before, b"WskS").bytes, "{busy:?}");
        drop(streams);
        let after = state_when(&loaded, |state| state.sockets == 1 && state.totals.connections == 0);
        assert_eq!(after.peaks.sockets, 21);
        let (sockets, before) = (under(&after, b"WskS"), under(&before, b"WskS"));
        assert_eq!((sockets.bytes, sockets.allocations), (before.bytes, before.allocations), "what connections took has come back");
        assert!(sockets.peak >= under(&busy, b"WskS").bytes, "{after:?}");
        assert_eq!(after.peaks.pool, after.pool().iter().map(|entry| entry.peak).sum::<u64>());
        assert!(after.pool().iter().all(|entry| entry.tag.starts_with(b"Wsk") && entry.peak >= entry.bytes), "{after:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn control_the_state_counts_since_load_and_since_the_attachment() {
        let (loaded, address) = listening();
        drop(idle(address, 2));
        let first = state_when(&loaded, |state| state.totals.sent == 200 && state.totals.connections == 0);
        assert_eq!((first.since_attach.received, first.since_attach.accepted), (200, 2));
        assert!(first.loaded_us >= first.attached_us && first.attached_us > 0, "{first:?}");
        loaded.set_active(false).expect("deactivated");
        let out = loaded.state().expect("the state");
        assert_eq!((out.registration, out.gate, out.generation), (Registration::Out as u32, Gate::None as u32, 0));
        assert_eq!((out.wsk_version, out.attached_us, out.sockets), (0, 0, 0));
        loaded.set_active(true).expect("activated");
        let again = state_when(&loaded, |state| state.sockets == 1);
        assert_eq!((again.generation, again.totals.received, again.totals.accepted), (2, 200, 2));
        assert_eq!((again.since_attach.received, again.since_attach.accepted), (0, 0));
        unload_clean(&loaded);
    }

    #[test]
    fn control_the_state_has_the_versions_of_wsk() {
        let rig = rig();
        support::depart(rig.bench());
        let loaded = load(&rig);
        let none = loaded.state().expect("the state");
        assert_eq!((none.wsk_version, none.provider_versions), (0, 0), "nobody has offered any");
        support::arrive(rig.bench());
        let there = state_when(&loaded, |state| state.gate == Gate::Open as u32);
        assert_eq!(there.wsk_version, 0x0100);
        let (lowest, highest) = (there.provider_versions as u16, (there.provider_versions >> 16) as u16);
        assert!((lowest..=highest).contains(&0x0100), "{there:?}");
        unload_clean(&loaded);
    }
}

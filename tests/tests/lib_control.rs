//! Client control of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/control.rs`).

mod support;

use support::exercise::{NO_TARGET, exercise};
use support::{depart, isolated};

isolated! {
    #[test]
    fn lib_control_transports_are_listed() {
        exercise("control_transports", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_control_a_change_of_the_transports_is_seen() {
        let run = exercise("control_change", NO_TARGET);
        run.said("waiting");
        let provider = run.bench().provider();
        let mut all = provider.transports();
        all.pop();
        provider.change_transports(all);
        run.expect_ok_and_unload();
    }

    #[test]
    fn l22_waits_for_a_change_end_when_the_provider_goes() {
        let run = exercise("control_change_at_detach", NO_TARGET);
        run.said("waiting");
        depart(run.bench());
        run.expect_ok_and_unload();
    }

    #[test]
    fn l22_waits_for_a_change_end_at_unload() {
        let run = exercise("control_change_at_detach", NO_TARGET);
        run.said("waiting");
        run.unload_clean();
        run.expect_ok();
    }

    #[test]
    fn lib_control_local_addresses_are_listed_and_their_change_is_seen() {
        let run = exercise("control_addresses", NO_TARGET);
        run.said("waiting");
        run.bench().provider().change_addresses();
        run.expect_ok_and_unload();
    }

    #[test]
    fn l22_a_wait_for_an_address_ends_with_the_provider() {
        let run = exercise("control_addresses", NO_TARGET);
        run.said("waiting");
        depart(run.bench());
        assert!(run.verdict().contains("Detached"), "{}", run.verdict());
        run.unload_clean();
    }

    #[test]
    fn lib_control_descriptors_are_put_on_sockets_and_checked() {
        exercise("control_descriptors", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn l21_a_descriptor_that_is_held_goes_back_when_the_provider_goes() {
        let run = exercise("control_descriptor_at_detach", NO_TARGET);
        run.said("held");
        depart(run.bench());
        run.expect_ok_and_unload();
    }

    #[test]
    fn l21_a_descriptor_that_is_held_goes_back_at_unload() {
        let run = exercise("control_descriptor_at_detach", NO_TARGET);
        run.said("held");
        run.unload_clean();
        run.expect_ok();
    }
}

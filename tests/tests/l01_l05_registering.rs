//! L01 to L05: registering with the NMR, and a load that fails.

mod support;

use support::story::*;
use support::{Story, address, assert_nothing_left, isolated, load, rig, unload_clean};

isolated! {
    #[test]
    fn l01_driver_entry_registers_as_a_client_of_wsk() {
        let loaded = load(&rig());
        address(&loaded);
        let story = Story::of(&loaded);
        story.expect_count("registration of the client", 1, registered);
        story.expect_order(&[("DriverEntry's call", &load_begin), ("registration", &registered), ("DriverEntry's return", &load_return)]);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }
}

//! Names, resolved by the provider at a tool's request.

mod support;

use std::time::{Duration, Instant};

use control_abi::resolve::{Outcome, ResolveRequest, Resolved};
use control_abi::{Ask, Text};
use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{Handle, NtStatus};
use support::{Loaded, isolated, listening, unload_clean};
use zerocopy::IntoBytes;

fn device(loaded: &Loaded) -> Handle {
    loaded.bench().open(r"\\.\WskClient").expect("the device")
}

fn resolved(device: &Handle, asked: &ResolveRequest) -> Resolved {
    let answer = device.ioctl(ResolveRequest::REQUEST.code(), asked.as_bytes(), size_of::<Resolved>()).expect("an answer");
    Resolved::read(&answer).expect("its size")
}

fn host(name: &str) -> ResolveRequest {
    ResolveRequest::new(name).expect("a host")
}

/// The provider does this with each question.
fn with(loaded: &Loaded, action: Action) {
    let rule = Rule { function: Function::GetAddressInfo, when: When::Always, action };
    loaded.bench().provider().set_faults(Faults { rules: vec![rule], ..Faults::default() });
}

isolated! {
    #[test]
    fn control_names_are_resolved_in_the_kernel() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        let answer = resolved(&device, &ResolveRequest { family: 4, service: Text::new("80").expect("it fits"), ..host("localhost") });
        assert_eq!((answer.outcome, answer.total), (Outcome::Found.to_wire(), answer.count));
        let addresses: Vec<_> = answer.addresses().iter().filter_map(|address| address.address()).collect();
        assert_eq!(addresses, [std::net::SocketAddr::from(([127, 0, 0, 1], 80))]);
        let answer = resolved(&device, &ResolveRequest { family: 6, ..host("::1") });
        assert_eq!(answer.addresses()[0].address().map(|address| address.ip()), "::1".parse().ok());
        let answer = resolved(&device, &ResolveRequest { family: 6, ..host("127.0.0.1") });
        assert_eq!(answer.count, 0, "it has no address of that family");
        assert_ne!(answer.outcome, Outcome::Found.to_wire());
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_what_the_provider_answers_is_told() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        with(&loaded, Action::Fail(NtStatus(0xc000_0001_u32 as i32)));
        let answer = resolved(&device, &host("localhost"));
        assert_eq!((answer.outcome, answer.status), (Outcome::Failed.to_wire(), 0xc000_0001_u32 as i32));
        with(&loaded, Action::Fail(NtStatus(0xc000_0272_u32 as i32)));
        assert_eq!(resolved(&device, &host("localhost")).outcome, Outcome::NotFound.to_wire());
        loaded.set_active(false).expect("deactivated");
        assert_eq!(resolved(&device, &host("localhost")).outcome, Outcome::Detached.to_wire());
        drop(device);
        unload_clean(&loaded);
    }

    /// A provider that does not answer holds neither the tool nor, after it, the driver.
    #[test]
    fn control_a_question_ends_in_time() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        with(&loaded, Action::Never);
        let began = Instant::now();
        let answer = resolved(&device, &ResolveRequest { timeout_ms: 50, ..host("localhost") });
        assert_eq!((answer.outcome, answer.count), (Outcome::TimedOut.to_wire(), 0));
        assert!(began.elapsed() >= Duration::from_millis(50));
        loaded.bench().provider().set_faults(Faults::default());
        drop(device);
        unload_clean(&loaded);
    }
}

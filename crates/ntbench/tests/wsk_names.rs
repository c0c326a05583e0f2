//! Name resolution both ways. Nothing here needs a DNS server: `localhost`, numeric addresses, well-known services, and names
//! under `.invalid`, which are known not to exist.

#![allow(unsafe_code)] // Calls of the provider's.

#[macro_use]
mod wsk_client;

use std::net::SocketAddr;
use std::ptr::{null, null_mut};
use std::time::Duration;

use nt_abi::wsk::*;
use nt_abi::{NtStatus, UNICODE_STRING};
use ntbench::verifier::OnViolation;
use ntbench::wsk::{Action, Faults, Function, When};
use ntbench::{Bench, Config};
use wsk_client::*;

/// A name to be asked for; leaked, as a request may outlive the asker.
fn name(text: &str) -> *const UNICODE_STRING {
    let units: &'static mut [u16] = text.encode_utf16().collect::<Vec<_>>().leak();
    let size = size_of_val(units) as u16;
    Box::leak(Box::new(UNICODE_STRING { Length: size, MaximumLength: size, Buffer: units.as_mut_ptr() }))
}

fn hints(flags: u32, family: u16, kind: u16, protocol: u32) -> ADDRINFOEXW {
    ADDRINFOEXW {
        ai_flags: flags as i32,
        ai_family: i32::from(family),
        ai_socktype: i32::from(kind),
        ai_protocol: protocol as i32,
        ai_addrlen: 0,
        ai_canonname: null_mut(),
        ai_addr: null_mut(),
        ai_blob: null_mut(),
        ai_bloblen: 0,
        ai_provider: null_mut(),
        ai_next: null_mut(),
    }
}

struct Asked {
    pending: Pending,
    result: &'static mut *mut ADDRINFOEXW,
}

fn ask(node: *const UNICODE_STRING, service: *const UNICODE_STRING, hints: Option<ADDRINFOEXW>) -> Asked {
    let result: &'static mut *mut ADDRINFOEXW = Box::leak(Box::new(null_mut()));
    let hints = hints.map_or(null(), |hints| &raw const *Box::leak(Box::new(hints)));
    let (at, none) = (&raw mut *result, null_mut());
    let get = table().WskGetAddressInfo;
    // SAFETY: as the page has it.
    let pending = request(|irp| unsafe { get(client(), node, service, NS_ALL, null(), hints, at, none, none, irp) });
    Asked { pending, result }
}

#[derive(Debug, PartialEq)]
struct Entry {
    address: SocketAddr,
    kind: i32,
    protocol: i32,
    canonical: Option<String>,
}

fn free(list: *mut ADDRINFOEXW) {
    // SAFETY: as the page has it.
    unsafe { (table().WskFreeAddressInfo)(client(), list) };
}

/// Reads a list.
fn read(mut at: *const ADDRINFOEXW) -> Vec<Entry> {
    let mut all = Vec::new();
    // SAFETY: a list of the provider's, which ends with NULL.
    while let Some(one) = unsafe { at.as_ref() } {
        // SAFETY: the address of an entry, in the form of its family.
        let form = unsafe { one.ai_addr.cast::<Address>().read_unaligned() };
        // SAFETY: all members are plain numbers.
        assert_eq!(i32::from(unsafe { form.any.sa_family }), one.ai_family);
        let size = if one.ai_family == i32::from(AF_INET) { size_of::<SOCKADDR_IN>() } else { size_of::<SOCKADDR_IN6>() };
        assert_eq!(one.ai_addrlen, size);
        let canonical = (!one.ai_canonname.is_null()).then(|| {
            // SAFETY: it ends with NUL.
            let length = (0..).take_while(|at| unsafe { *one.ai_canonname.add(*at) } != 0).count();
            // SAFETY: just counted.
            String::from_utf16(unsafe { std::slice::from_raw_parts(one.ai_canonname, length) }).unwrap()
        });
        all.push(Entry { address: form.read(), kind: one.ai_socktype, protocol: one.ai_protocol, canonical });
        at = one.ai_next;
    }
    all
}

impl Asked {
    /// The list, freed.
    fn list(self) -> Vec<Entry> {
        let ended = self.pending.end();
        assert_eq!((ended.returned, ended.status, ended.information), (NtStatus::PENDING, NtStatus::SUCCESS, 0));
        let all = read(*self.result);
        free(*self.result);
        all
    }

    fn fails(self) -> NtStatus {
        let ended = self.pending.end();
        assert!(self.result.is_null());
        assert!(ended.status.is_failure());
        assert_eq!(ended.information, ended.status.0 as u32 as usize);
        ended.status
    }
}

fn addresses(list: &[Entry]) -> Vec<SocketAddr> {
    list.iter().map(|one| one.address).collect()
}

isolated! {
    fn names_and_services_become_addresses() {
        with_bench(|bench| {
            let v4 = |kind, protocol| Some(hints(0, AF_INET, kind, protocol));
            let list = ask(name("localhost"), name("http"), v4(SOCK_STREAM, IPPROTO_TCP)).list();
            let expected = Entry { address: any("127.0.0.1:80"), kind: 1, protocol: 6, canonical: None };
            assert_eq!(list, [expected]);
            // A number says nothing of the kind of socket, a name does.
            let list = ask(name("127.0.0.1"), name("4711"), None).list();
            assert_eq!(list, [Entry { address: any("127.0.0.1:4711"), kind: 0, protocol: 0, canonical: None }]);
            let list = ask(name("127.0.0.1"), name("domain"), None).list();
            assert_eq!(list.iter().map(|one| one.kind).collect::<Vec<_>>(), [1, 2]);
            let list = ask(name("::1"), null(), Some(hints(AI_NUMERICHOST, AF_UNSPEC, SOCK_DGRAM, 0))).list();
            assert_eq!((addresses(&list), list[0].protocol), (vec![any("[::1]:0")], 17));
            // No host: the wildcard for those who bind, loopback for those who connect.
            let passive = Some(hints(AI_PASSIVE, AF_INET6, SOCK_STREAM, 0));
            assert_eq!(addresses(&ask(null(), name("7"), passive).list()), [any("[::]:7")]);
            assert_eq!(addresses(&ask(null(), name("7"), v4(SOCK_STREAM, 0)).list()), [any("127.0.0.1:7")]);
            let canonical = ask(name("localhost"), null(), Some(hints(AI_CANONNAME, AF_INET, 0, 0))).list();
            assert_eq!(canonical[0].canonical.as_deref(), Some("localhost"));
            assert!(canonical[1..].iter().all(|one| one.canonical.is_none()));
            assert_eq!(bench.provider().stats().look_ups, 7);
        });
    }
}

isolated! {
    fn what_cannot_be_resolved_says_why() {
        with_bench(|_| {
            let stream = || Some(hints(0, 0, SOCK_STREAM, 0));
            assert_eq!(ask(name("no.such.host.invalid"), null(), None).fails(), NtStatus::NO_MATCH);
            assert_eq!(ask(name("localhost"), name("no-such-service"), stream()).fails(), NtStatus::NOT_FOUND);
            let numeric = Some(hints(AI_NUMERICHOST, 0, 0, 0));
            assert_eq!(ask(name("localhost"), null(), numeric).fails(), NtStatus::NO_MATCH);
            // Nothing is asked.
            assert_eq!(ask(null(), null(), None).fails(), NtStatus::INVALID_PARAMETER);
            let nameless = Some(hints(AI_CANONNAME, 0, 0, 0));
            assert_eq!(ask(null(), name("80"), nameless).fails(), NtStatus::INVALID_PARAMETER);
            let unknown = Some(hints(0x40, 0, 0, 0));
            assert_eq!(ask(name("::1"), null(), unknown).fails(), NtStatus::INVALID_PARAMETER);
            assert_eq!(ask(name("::1"), null(), Some(hints(0, 99, 0, 0))).fails(), NtStatus::NOT_SUPPORTED);
            let mut wrong = hints(0, 0, 0, 0);
            wrong.ai_addrlen = 16;
            assert_eq!(ask(name("::1"), null(), Some(wrong)).fails(), NtStatus::INVALID_PARAMETER);
            let (node, mut result) = (name("::1"), null_mut());
            let (none, thread, at) = (null_mut(), 8 as *mut _, &raw mut result);
            let get = table().WskGetAddressInfo;
            // SAFETY: as the page has it, but for the thread without its process.
            let status = request(|irp| unsafe { get(client(), node, null(), 0, null(), null(), at, none, thread, irp) }).end().status;
            assert_eq!(status, NtStatus::INVALID_PARAMETER);
            // SAFETY: as the page has it, but for the result.
            let status = request(|irp| unsafe { get(client(), node, null(), 0, null(), null(), null_mut(), none, none, irp) });
            assert_eq!(status.end().status, NtStatus::INVALID_PARAMETER);
            // SAFETY: as the page has it; nobody has such a name space.
            let status = request(|irp| unsafe { get(client(), node, null(), 15, null(), null(), at, none, none, irp) });
            assert_eq!(status.end().status, NtStatus::NO_MATCH);
        });
    }
}

/// Room for a name, as a client gives it.
struct Text {
    string: UNICODE_STRING,
    _units: Box<[u16]>,
}

impl Text {
    fn with_room(units: usize) -> Self {
        let mut room = vec![0x5555u16; units].into_boxed_slice();
        let string = UNICODE_STRING { Length: 0, MaximumLength: 2 * units as u16, Buffer: room.as_mut_ptr() };
        Self { string, _units: room }
    }

    fn read(&self) -> String {
        let units = usize::from(self.string.Length / 2);
        // SAFETY: what the provider said, and one more for the NUL.
        let all = unsafe { std::slice::from_raw_parts(self.string.Buffer, units + 1) };
        assert_eq!(all[units], 0, "a NUL ends it");
        String::from_utf16(&all[..units]).unwrap()
    }
}

fn tell(of: &str, node: Option<&mut Text>, service: Option<&mut Text>, flags: u32) -> Ended {
    let mut of = address(any(of));
    let at = |text: Option<&mut Text>| text.map_or(null_mut(), |text| &raw mut text.string);
    let (node, service, none) = (at(node), at(service), null_mut());
    let size = size_of::<Address>() as u32;
    let get = table().WskGetNameInfo;
    // SAFETY: as the page has it.
    request(|irp| unsafe { get(client(), of.at(), size, node, service, flags, none, none, irp) }).end()
}

isolated! {
    fn addresses_become_names() {
        with_bench(|_| {
            let (mut node, mut service) = (Text::with_room(64), Text::with_room(32));
            let mut both = |of: &str, flags| {
                let ended = tell(of, Some(&mut node), Some(&mut service), flags);
                assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 0));
                (node.read(), service.read())
            };
            let pair = |node: &str, service: &str| (node.to_owned(), service.to_owned());
            assert_eq!(both("127.0.0.1:80", 0), pair("localhost", "http"));
            assert_eq!(both("127.0.0.1:80", NI_NUMERICSERV | NI_NAMEREQD), pair("localhost", "80"));
            assert_eq!(both("127.0.0.1:80", NI_NUMERICHOST), pair("127.0.0.1", "http"));
            assert_eq!(both("[::1]:514", NI_NUMERICHOST | NI_DGRAM), pair("::1", "syslog"));
            let ended = tell("192.0.2.1:80", None, Some(&mut service), 0);
            assert_eq!((ended.status, service.read().as_str()), (NtStatus::SUCCESS, "http"));
            let required = tell("192.0.2.1:80", Some(&mut node), None, NI_NUMERICHOST | NI_NAMEREQD).status;
            assert_eq!(required, NtStatus::NO_MATCH);
        });
    }
}

isolated! {
    fn room_for_names_is_checked() {
        with_bench(|_| {
            // "127.0.0.1" and its NUL.
            let mut fits = Text::with_room(10);
            assert_eq!(tell("127.0.0.1:80", Some(&mut fits), None, NI_NUMERICHOST).status, NtStatus::SUCCESS);
            assert_eq!(fits.read(), "127.0.0.1");
            let mut short = Text::with_room(9);
            assert_eq!(tell("127.0.0.1:80", Some(&mut short), None, NI_NUMERICHOST).status, NtStatus::BUFFER_TOO_SMALL);
            assert_eq!(tell("127.0.0.1:80", None, None, 0).status, NtStatus::INVALID_PARAMETER);
            assert_eq!(tell("127.0.0.1:80", Some(&mut fits), None, 0x100).status, NtStatus::INVALID_PARAMETER);
            let get = table().WskGetNameInfo;
            let mut of = address(any("[::1]:1"));
            let (node, nothing) = (&raw mut fits.string, null_mut());
            for size in [0, 2, 16, 27, 129] {
                // SAFETY: as the page has it, but for the size.
                let told = request(|irp| unsafe { get(client(), of.at(), size, node, null_mut(), 2, nothing, nothing, irp) });
                assert_eq!(told.end().status, NtStatus::INVALID_PARAMETER, "{size}");
            }
        });
    }
}

isolated! {
    fn a_look_up_can_be_cancelled_at_any_time() {
        with_bench(|bench| {
            let provider = bench.provider();
            provider.set_faults(Faults::rule(Function::GetAddressInfo, When::Always, Action::Never));
            let asked = ask(name("localhost"), null(), None);
            assert!(!asked.pending.is_done());
            assert!(asked.pending.cancel());
            assert_eq!(asked.pending.end().status, NtStatus::CANCELLED);
            provider.set_faults(Faults::default());
            let mut cancelled = 0;
            for round in 0..300 {
                let asked = ask(name("localhost"), null(), None);
                std::thread::sleep(Duration::from_micros(round));
                asked.pending.cancel();
                let status = asked.pending.end().status;
                cancelled += usize::from(status == NtStatus::CANCELLED);
                assert!(matches!(status, NtStatus::CANCELLED | NtStatus::SUCCESS));
                assert_eq!(asked.result.is_null(), status == NtStatus::CANCELLED);
                if !asked.result.is_null() {
                    free(*asked.result);
                }
            }
            assert!(cancelled > 0);
        });
    }
}

isolated! {
    fn faults_apply_to_look_ups() {
        with_bench(|bench| {
            let fault = |function, action| bench.provider().set_faults(Faults::rule(function, When::Nth(1), action));
            let late = Duration::from_millis(30);
            fault(Function::GetAddressInfo, Action::Late(late));
            let start = std::time::Instant::now();
            assert_eq!(ask(name("::1"), null(), None).list().len(), 1);
            assert!(start.elapsed() >= late);
            fault(Function::GetAddressInfo, Action::Fail(NtStatus::INSUFFICIENT_RESOURCES));
            let ended = ask(name("::1"), null(), None).pending.end();
            assert_eq!((ended.returned, ended.status), (NtStatus::INSUFFICIENT_RESOURCES, NtStatus::INSUFFICIENT_RESOURCES));
            fault(Function::GetNameInfo, Action::FailLater(NtStatus::IO_TIMEOUT));
            let ended = tell("127.0.0.1:80", Some(&mut Text::with_room(64)), None, 0);
            assert_eq!((ended.returned, ended.status), (NtStatus::PENDING, NtStatus::IO_TIMEOUT));
        });
    }
}

isolated! {
    fn l21_lists_are_freed_once_and_before_the_detach_ends() {
        let config = Config { on_violation: OnViolation::Record, ..Config::default() };
        let bench = Bench::new(config).unwrap();
        let rules = || bench.verdict().violations.iter().map(|one| one.rule).collect::<Vec<_>>();
        let registration = attached();
        let asked = ask(name("::1"), null(), None);
        assert_eq!(asked.pending.end().status, NtStatus::SUCCESS);
        free(*asked.result);
        assert!(rules().is_empty());
        free(*asked.result);
        assert_eq!(rules(), ["WSK-ARG"]);
        let kept = ask(name("::1"), null(), None);
        assert_eq!(kept.pending.end().status, NtStatus::SUCCESS);
        registration.end();
        assert_eq!(rules(), ["WSK-ARG", "L21"]);
    }
}

isolated! {
    fn a_list_may_be_freed_while_the_client_detaches() {
        with_bench(|bench| {
            let asked = ask(name("::1"), null(), None);
            assert_eq!(asked.pending.end().status, NtStatus::SUCCESS);
            let departure = bench.provider().depart();
            until("the detach", detaching);
            free(*asked.result);
            complete_detach();
            assert_eq!(departure.wait().0, NtStatus::SUCCESS);
        });
    }
}

isolated! {
    fn names_are_asked_for_at_passive_level_only() {
        let config = Config { on_violation: OnViolation::Record, ..Config::default() };
        let bench = Bench::new(config).unwrap();
        let registration = attached();
        // SAFETY: raised and lowered by the same thread.
        let old = unsafe { nt_abi::kernel::KfRaiseIrql(nt_abi::DISPATCH_LEVEL) };
        let asked = ask(name("::1"), null(), None);
        // SAFETY: as above.
        unsafe { nt_abi::kernel::KeLowerIrql(old) };
        assert_eq!(asked.pending.end().status, NtStatus::SUCCESS);
        free(*asked.result);
        assert_eq!(bench.verdict().violations.len(), 1);
        registration.end();
    }
}

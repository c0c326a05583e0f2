//! Controls of clients and sockets: transports, security descriptors, options, lists of addresses, silent mode, extensions.

#![allow(unsafe_code)] // Calls of the provider's.

#[macro_use]
mod wsk_client;

use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ptr::{null, null_mut};
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use ntbench::verifier::OnViolation;
use ntbench::wsk::transport::Family;
use ntbench::{Bench, Config};
use wsk_client::*;

fn recording() -> (Bench, Registration) {
    let config = Config { on_violation: OnViolation::Record, ..Config::default() };
    (Bench::new(config).unwrap(), attached())
}

fn rules(bench: &Bench) -> Vec<&'static str> {
    bench.verdict().violations.iter().map(|one| one.rule).collect()
}

fn client_control<I, O>(code: u32, input: Option<&I>, output: Option<&mut O>) -> NtStatus {
    let (from, taken) = input.map_or((null_mut(), 0), |input| (std::ptr::from_ref(input).cast_mut().cast(), size_of::<I>()));
    let (to, room) = output.map_or((null_mut(), 0), |output| (std::ptr::from_mut(output).cast(), size_of::<O>()));
    let control = table().WskControlClient;
    // SAFETY: as the pages of the controls have it.
    unsafe { control(client(), code, taken, from, room, to, null_mut(), null_mut()) }
}

fn control(socket: Socket, kind: i32, level: u32, code: u32, input: &[u8], output: &mut [u8]) -> Ended {
    let (from, to) = (input.as_ptr().cast_mut().cast(), output.as_mut_ptr().cast());
    let (taken, room, none) = (input.len(), output.len(), null_mut());
    let call = socket.table().Basic.WskControlSocket;
    // SAFETY: as the pages of the controls have it.
    request(|irp| unsafe { call(socket.0, kind, code, level, taken, from, room, to, none, irp) }).end()
}

fn without_irp(socket: Socket, code: u32, output: &mut [u64]) -> (NtStatus, usize) {
    let (to, room, mut size) = (output.as_mut_ptr().cast(), size_of_val(output), 0);
    let (call, none, returned) = (socket.table().Basic.WskControlSocket, null_mut(), &raw mut size);
    // SAFETY: as the pages of the controls have it.
    let status = unsafe { call(socket.0, WskIoctl, code, 0, 0, none, room, to, returned, none.cast()) };
    (status, size)
}

fn option(socket: Socket, level: u32, code: u32) -> Result<u32, NtStatus> {
    let mut value = [0; 4];
    let ended = control(socket, WskGetOption, level, code, &[], &mut value);
    if ended.status != NtStatus::SUCCESS {
        return Err(ended.status);
    }
    assert_eq!(ended.information, 4);
    Ok(u32::from_le_bytes(value))
}

fn list() -> Vec<(u16, u16, u32)> {
    let (mut size, none) = (0, null_mut());
    let (call, code, returned) = (table().WskControlClient, WSK_TRANSPORT_LIST_QUERY, &raw mut size);
    // SAFETY: as the page has it.
    let status = unsafe { call(client(), code, 0, none, 0, none, returned, null_mut()) };
    if status == NtStatus::SUCCESS {
        return Vec::new();
    }
    assert_eq!(status, NtStatus::BUFFER_OVERFLOW);
    let mut room = vec![0u8; size];
    // SAFETY: as the page has it.
    let status = unsafe { call(client(), code, 0, none, size, room.as_mut_ptr().cast(), returned, null_mut()) };
    assert_eq!((status, size), (NtStatus::SUCCESS, room.len()));
    // SAFETY: the provider wrote so many of them.
    let each =
        room.chunks(size_of::<WSK_TRANSPORT>()).map(|one| unsafe { one.as_ptr().cast::<WSK_TRANSPORT>().read_unaligned() });
    each.map(|one| (one.AddressFamily, one.SocketType, one.Protocol)).collect()
}

fn await_transports() -> Pending {
    let (call, none) = (table().WskControlClient, null_mut());
    // SAFETY: as the page has it.
    request(|irp| unsafe { call(client(), WSK_TRANSPORT_LIST_CHANGE, 0, none, 0, none, null_mut(), irp) })
}

isolated! {
    fn transports_are_listed_and_changes_told() {
        with_bench(|bench| {
            let kinds = [(SOCK_STREAM, IPPROTO_TCP), (SOCK_DGRAM, IPPROTO_UDP), (SOCK_RAW, IPPROTO_IP)];
            let of = |family: u16| kinds.map(|(kind, protocol)| (family, kind, protocol));
            assert_eq!(list(), [of(AF_INET), of(AF_INET6)].concat());
            let (first, second) = (await_transports(), await_transports());
            let cancelled = await_transports();
            cancelled.cancel();
            assert_eq!(cancelled.end().status, NtStatus::CANCELLED);
            assert!(!first.is_done());
            let all = bench.provider().transports();
            bench.provider().change_transports(all.iter().copied().filter(|one| one.family == Family::V4).collect());
            for waiting in [first, second] {
                assert_eq!((waiting.returned, waiting.end().status), (NtStatus::PENDING, NtStatus::SUCCESS));
            }
            assert_eq!(list(), of(AF_INET));
            let refused = make(AF_INET6, WSK_FLAG_LISTEN_SOCKET, null_mut(), null()).end().status;
            assert_eq!(refused, NtStatus::PROTOCOL_NOT_SUPPORTED);
            let next = await_transports();
            bench.provider().change_transports(all);
            assert_eq!(next.end().status, NtStatus::SUCCESS);
            assert_eq!(list().len(), 6);
        });
    }
}

/// A self-relative descriptor with an owner and a discretionary list, as a client may have it in a buffer of its own.
fn descriptor() -> Vec<u8> {
    let owner = [1u8, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    let mut acl = vec![2u8, 0, 28, 0, 1, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0x10];
    acl.extend(owner);
    let mut bytes = vec![1u8, 0, 0x04, 0x80];
    [64u32, 0, 0, 20].iter().for_each(|offset| bytes.extend(offset.to_le_bytes()));
    bytes.extend(&acl);
    bytes.resize(64, 0xaa);
    bytes.extend(owner);
    bytes
}

/// The owner and the discretionary list.
fn parts(handle: usize) -> (Vec<u8>, Vec<u8>) {
    // SAFETY: a self-relative descriptor with both.
    unsafe {
        let at = handle as *const u8;
        assert_eq!(at.cast::<u16>().add(1).read_unaligned() & 0x8004, 0x8004);
        let offset = |index: usize| at.add(at.cast::<u32>().add(1 + index).read_unaligned() as usize);
        let (owner, acl) = (offset(0), offset(3));
        (std::slice::from_raw_parts(owner, 12).to_vec(), std::slice::from_raw_parts(acl, 28).to_vec())
    }
}

fn cache(bytes: &[u8]) -> usize {
    let (given, mut cached) = (bytes.as_ptr() as usize, 0usize);
    assert_eq!(client_control(WSK_CACHE_SD, Some(&given), Some(&mut cached)), NtStatus::SUCCESS);
    cached
}

fn uncache(handle: usize) -> NtStatus {
    client_control::<usize, ()>(WSK_RELEASE_SD, Some(&handle), None)
}

fn with_descriptor(descriptor: usize) -> Ended {
    let (none, nobody) = (null_mut(), null_mut());
    let (kind, protocol, flags) = (SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_LISTEN_SOCKET);
    let (call, given) = (table().WskSocket, descriptor as *mut c_void);
    // SAFETY: as the page has it.
    request(|irp| unsafe { call(client(), AF_INET, kind, protocol, flags, none, null(), nobody, nobody, given, irp) }).end()
}

fn security(socket: Socket, descriptor: usize) -> NtStatus {
    control(socket, WskSetOption, SOL_SOCKET, SO_WSK_SECURITY, &descriptor.to_le_bytes(), &mut []).status
}

fn applied(socket: Socket) -> usize {
    let mut handle = [0; 8];
    let ended = control(socket, WskGetOption, SOL_SOCKET, SO_WSK_SECURITY, &[], &mut handle);
    assert_eq!(ended.status, NtStatus::SUCCESS);
    usize::from_le_bytes(handle)
}

isolated! {
    fn descriptors_are_copied_applied_and_released() {
        with_bench(|_| {
            let mut mine = descriptor();
            let expected = (mine[64..76].to_vec(), mine[20..48].to_vec());
            let (first, second) = (cache(&mine), cache(&mine));
            assert!(first != second && first != mine.as_ptr() as usize);
            mine.fill(0xff);
            assert_eq!(parts(first), expected);
            let ended = with_descriptor(first);
            assert_eq!(ended.status, NtStatus::SUCCESS);
            let socket = Socket(ended.information as *mut WSK_SOCKET, true);
            // The socket has a copy of its own, and gives out others.
            assert_eq!(uncache(first), NtStatus::SUCCESS);
            let own = applied(socket);
            assert_eq!(parts(own), expected);
            assert_eq!(security(socket, second), NtStatus::SUCCESS);
            assert_eq!(security(socket, 0), NtStatus::SUCCESS);
            let default = applied(socket);
            assert_eq!(socket.bind("127.0.0.1:0").end().status, NtStatus::SUCCESS);
            assert_eq!(security(socket, second), NtStatus::INVALID_DEVICE_STATE);
            let basic = Socket(make(AF_INET, WSK_FLAG_BASIC_SOCKET, null_mut(), null()).end().information as *mut _, false);
            assert_eq!(security(basic, second), NtStatus::INVALID_DEVICE_REQUEST);
            for handle in [own, default, second] {
                assert_eq!(uncache(handle), NtStatus::SUCCESS);
            }
            let old = [0u8; 20];
            let (given, mut cached) = (old.as_ptr() as usize, 0usize);
            assert_eq!(client_control(WSK_CACHE_SD, Some(&given), Some(&mut cached)), NtStatus::UNKNOWN_REVISION);
            assert_eq!(cached, 0);
            basic.close();
            socket.close();
        });
    }
}

isolated! {
    fn an_absolute_descriptor_becomes_a_self_relative_one() {
        with_bench(|_| {
            let relative = descriptor();
            let mut absolute = vec![1u8, 0, 0x04, 0, 0, 0, 0, 0];
            let at = |offset: usize| (relative[offset..].as_ptr() as usize).to_le_bytes();
            absolute.extend([at(64), [0; 8], [0; 8], at(20)].concat());
            let handle = cache(&absolute);
            assert_eq!(parts(handle), (relative[64..76].to_vec(), relative[20..48].to_vec()));
            assert_eq!(uncache(handle), NtStatus::SUCCESS);
        });
    }
}

isolated! {
    fn l21_only_cached_descriptors_count_and_all_are_released() {
        let (bench, registration) = recording();
        let mine = descriptor();
        assert_eq!(with_descriptor(mine.as_ptr() as usize).status, NtStatus::INVALID_PARAMETER);
        assert_eq!(rules(&bench), ["WSK-SD"]);
        let socket = socket(AF_INET, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
        assert_eq!(security(socket, mine.as_ptr() as usize), NtStatus::INVALID_PARAMETER);
        socket.close();
        let handle = cache(&mine);
        assert_eq!(uncache(handle), NtStatus::SUCCESS);
        assert_eq!(uncache(handle), NtStatus::INVALID_PARAMETER);
        assert_eq!(rules(&bench), ["WSK-SD"; 3]);
        let kept = cache(&mine);
        assert_ne!(kept, 0);
        registration.end();
        assert_eq!(rules(&bench), ["WSK-SD", "WSK-SD", "WSK-SD", "L21"]);
    }
}

isolated! {
    fn a_descriptor_may_be_released_while_the_client_detaches() {
        with_bench(|bench| {
            let handle = cache(&descriptor());
            let departure = bench.provider().depart();
            until("the detach", detaching);
            assert_eq!(uncache(handle), NtStatus::SUCCESS);
            complete_detach();
            assert_eq!(departure.wait().0, NtStatus::SUCCESS);
        });
    }
}

isolated! {
    fn options_are_set_and_asked_for() {
        with_bench(|_| {
            let socket = socket(AF_INET6, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
            let choices = [
                (SOL_SOCKET, SO_KEEPALIVE, 0, 1),
                (SOL_SOCKET, SO_SNDBUF, 0x1_0000, 50_000),
                (SOL_SOCKET, SO_RCVBUF, 0x1_0000, 40_000),
                (SOL_SOCKET, SO_REUSEADDR, 0, 1),
                (IPPROTO_TCP, TCP_NODELAY, 0, 1),
                (IPPROTO_TCP, TCP_KEEPALIVE, 7_200, 60),
                (IPPROTO_TCP, TCP_KEEPINTVL, 1, 5),
                (IPPROTO_TCP, TCP_KEEPCNT, 10, 3),
                (IPPROTO_IPV6, IPV6_V6ONLY, 1, 0),
            ];
            for (level, code, before, value) in choices {
                assert_eq!(option(socket, level, code), Ok(before), "{code:#x}");
                assert_eq!(socket.set(level, code, value).status, NtStatus::SUCCESS, "{code:#x}");
                assert_eq!(option(socket, level, code), Ok(value), "{code:#x}");
            }
            // The one excludes the other.
            assert_eq!(socket.set(SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1).status, NtStatus::INVALID_PARAMETER);
            assert_eq!(socket.set(SOL_SOCKET, SO_REUSEADDR, 0).status, NtStatus::SUCCESS);
            assert_eq!(socket.set(SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1).status, NtStatus::SUCCESS);
            assert_eq!(option(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE), Ok(1));
            assert_eq!(option(socket, SOL_SOCKET, SO_TYPE), Ok(1));
            assert_eq!(option(socket, SOL_SOCKET, SO_ERROR), Ok(0));
            assert_eq!(option(socket, SOL_SOCKET, SO_CONDITIONAL_ACCEPT), Ok(0));
            assert_eq!(option(socket, SOL_SOCKET, 0x7777), Err(NtStatus::NOT_SUPPORTED));
            let short = control(socket, WskGetOption, SOL_SOCKET, SO_KEEPALIVE, &[], &mut [0; 2]);
            assert_eq!(short.status, NtStatus::BUFFER_TOO_SMALL);
            let short = control(socket, WskSetOption, SOL_SOCKET, SO_KEEPALIVE, &[0; 2], &mut []);
            assert_eq!(short.status, NtStatus::INVALID_PARAMETER);
            assert_eq!(socket.bind("[::]:0").end().status, NtStatus::SUCCESS);
            for (level, code) in [(SOL_SOCKET, SO_REUSEADDR), (SOL_SOCKET, SO_EXCLUSIVEADDRUSE), (IPPROTO_IPV6, IPV6_V6ONLY)] {
                assert_eq!(socket.set(level, code, 1).status, NtStatus::INVALID_DEVICE_STATE);
            }
            // Dual-stack, and the connection has what its listener was given.
            let at = socket.local();
            let _peer = TcpStream::connect(("127.0.0.1", at.port())).unwrap();
            let connection = accepted(socket.accept(null_mut(), null()).end().information);
            assert_eq!(option(connection, SOL_SOCKET, SO_KEEPALIVE), Ok(1));
            assert_eq!(option(connection, IPPROTO_TCP, TCP_KEEPALIVE), Ok(60));
            connection.close();
            socket.close();
        });
    }
}

isolated! {
    fn basic_sockets_have_the_transports_options_only() {
        with_bench(|bench| {
            let nobody = null_mut();
            let call = table().WskSocket;
            // SAFETY: as the page has it.
            let ended = request(|irp| unsafe {
                let (family, kind, protocol) = (AF_INET6, SOCK_DGRAM, IPPROTO_UDP);
                call(client(), family, kind, protocol, WSK_FLAG_BASIC_SOCKET, nobody, null(), nobody, nobody, nobody, irp)
            });
            let basic = Socket(ended.end().information as *mut WSK_SOCKET, false);
            assert_eq!(option(basic, SOL_SOCKET, SO_TYPE), Ok(2));
            assert_eq!(basic.set(IPPROTO_IPV6, IPV6_V6ONLY, 0).status, NtStatus::SUCCESS);
            assert_eq!(option(basic, IPPROTO_IPV6, IPV6_V6ONLY), Ok(0));
            assert_eq!(basic.set(SOL_SOCKET, SO_KEEPALIVE, 1).status, NtStatus::INVALID_DEVICE_REQUEST);
            assert_eq!(option(basic, SOL_SOCKET, SO_REUSEADDR), Err(NtStatus::INVALID_DEVICE_REQUEST));
            assert_eq!(basic.set(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, 1).status, NtStatus::INVALID_DEVICE_REQUEST);
            let backlog = control(basic, WskIoctl, 0, SIO_WSK_QUERY_RECEIVE_BACKLOG, &[], &mut [0; 8]);
            assert_eq!(backlog.status, NtStatus::INVALID_DEVICE_REQUEST);
            let change = await_addresses(basic);
            bench.provider().change_addresses();
            assert_eq!(change.end().status, NtStatus::SUCCESS);
            basic.close();
        });
    }
}

fn await_addresses(socket: Socket) -> Pending {
    let (call, none) = (socket.table().Basic.WskControlSocket, null_mut());
    let code = SIO_ADDRESS_LIST_CHANGE;
    // SAFETY: as the page has it.
    request(|irp| unsafe { call(socket.0, WskIoctl, code, 0, 0, none, 0, none, null_mut(), irp) })
}

/// Reads a SOCKET_ADDRESS_LIST.
fn addresses(list: &[u64]) -> Vec<SocketAddr> {
    let count = list[0] as u32 as usize;
    let entries = list[1..].chunks(2).take(count);
    // SAFETY: the provider's entries point to addresses behind them.
    entries.map(|entry| unsafe { (entry[0] as *const Address).read_unaligned() }.read()).collect()
}

isolated! {
    fn addresses_are_listed_and_changes_told() {
        with_bench(|bench| {
            for (family, loopback) in [(AF_INET, "127.0.0.1:0"), (AF_INET6, "[::1]:0")] {
                let socket = socket(family, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
                let (status, size) = without_irp(socket, SIO_ADDRESS_LIST_QUERY, &mut []);
                assert_eq!(status, NtStatus::BUFFER_OVERFLOW);
                let mut room = vec![0; size / 8];
                assert_eq!(without_irp(socket, SIO_ADDRESS_LIST_QUERY, &mut room), (NtStatus::SUCCESS, size));
                let all = addresses(&room);
                if family == AF_INET || std::net::TcpListener::bind("[::1]:0").is_ok() {
                    assert!(all.contains(&any(loopback)), "{all:?}");
                }
                let (first, second) = (await_addresses(socket), await_addresses(socket));
                assert_eq!(first.returned, NtStatus::PENDING);
                assert!(second.cancel());
                assert_eq!(second.end().status, NtStatus::CANCELLED);
                bench.provider().change_addresses();
                assert_eq!(first.end().status, NtStatus::SUCCESS);
                let last = await_addresses(socket);
                socket.close();
                assert_eq!(last.end().status, NtStatus::CANCELLED);
            }
        });
    }
}

isolated! {
    fn addresses_are_sorted_by_preference() {
        with_bench(|_| {
            let socket = socket(AF_INET6, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
            let given = ["[fd00::1]:0", "[2002::1]:0", "[2a00::1]:0", "[::ffff:10.0.0.1]:0", "[::1]:0"].map(|one| address(any(one)));
            let mut list = vec![given.len() as u64];
            given.iter().for_each(|one| list.extend([std::ptr::from_ref(one) as u64, size_of::<SOCKADDR_IN6>() as u64]));
            let input: Vec<u8> = list.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut room = [0u64; 64];
            // SAFETY: plain numbers.
            let output = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), 512) };
            let ended = control(socket, WskIoctl, 0, SIO_ADDRESS_LIST_SORT, &input, output);
            assert_eq!(ended.status, NtStatus::SUCCESS);
            let sorted = ["[::1]:0", "[2a00::1]:0", "[::ffff:10.0.0.1]:0", "[2002::1]:0", "[fd00::1]:0"].map(any);
            assert_eq!(addresses(&room), sorted);
            let ended = control(socket, WskIoctl, 0, SIO_ADDRESS_LIST_SORT, &input[..20], output);
            assert_eq!(ended.status, NtStatus::INVALID_PARAMETER);
            socket.close();
        });
    }
}

isolated! {
    fn lists_of_addresses_are_for_passive_level_and_some_controls_take_no_irp() {
        let (bench, registration) = recording();
        let socket = socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
        // SAFETY: raised and lowered by the same thread.
        let old = unsafe { nt_abi::kernel::KfRaiseIrql(nt_abi::DISPATCH_LEVEL) };
        let _ = without_irp(socket, SIO_ADDRESS_LIST_QUERY, &mut []);
        let change = await_addresses(socket);
        // SAFETY: as above.
        unsafe { nt_abi::kernel::KeLowerIrql(old) };
        assert_eq!(bench.verdict().violations.len(), 2);
        bench.provider().change_addresses();
        assert_eq!(change.end().status, NtStatus::SUCCESS);
        let extension = without_irp(socket, SIO_WSK_REGISTER_EXTENSION, &mut [0; 2]).0;
        assert_eq!(extension, NtStatus::NOT_SUPPORTED);
        assert!(bench.trace().iter().any(|event| format!("{:?}", event.kind).contains("is not there")));
        assert_eq!(bench.verdict().violations.len(), 2);
        let ended = control(socket, WskIoctl, 0, SIO_WSK_QUERY_INSPECT_ID, &[], &mut [0; 16]);
        assert!(ended.status.is_failure());
        assert_eq!(rules(&bench)[2], "WSK-IRP");
        socket.close();
        registration.end();
    }
}

isolated! {
    fn a_silent_connection_can_only_be_closed() {
        let (bench, registration) = recording();
        let (listener, at) = listener(null_mut(), null());
        let mut peer = TcpStream::connect(at).unwrap();
        let socket = accepted(listener.accept(null_mut(), null()).end().information);
        let memory = Memory::new(8 << 20);
        let silence = || control(socket, WskIoctl, 0, SIO_WSK_SET_TCP_SILENT_MODE, &[], &mut []).status;
        // Not while a send is pending.
        let send = socket.send(memory.all(), 0);
        assert!(!send.is_done());
        assert_eq!(silence(), NtStatus::INVALID_DEVICE_STATE);
        assert_eq!(rules(&bench), ["WSK-ARG"]);
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 8 << 20];
            peer.read_exact(&mut all).unwrap();
            peer
        });
        assert_eq!(send.end().status, NtStatus::SUCCESS);
        let mut peer = reader.join().unwrap();
        let receive = socket.receive(memory.buf(0, 8), 0);
        assert_eq!(silence(), NtStatus::SUCCESS);
        peer.write_all(b"unheard").unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert!(!receive.is_done());
        assert_eq!(socket.send(memory.buf(0, 8), 0).end().status, NtStatus::INVALID_DEVICE_STATE);
        assert_eq!(socket.disconnect(None, 0).end().status, NtStatus::INVALID_DEVICE_STATE);
        assert_eq!(socket.disconnect(None, WSK_FLAG_ABORTIVE).end().status, NtStatus::INVALID_DEVICE_STATE);
        assert_eq!(option(socket, SOL_SOCKET, SO_TYPE), Err(NtStatus::INVALID_DEVICE_STATE));
        socket.close();
        assert_eq!(receive.end().status, NtStatus::CANCELLED);
        listener.close();
        registration.end();
    }
}

isolated! {
    fn behaviour_and_static_events_are_set_before_the_first_socket() {
        with_bench(|_| {
            let set = |mask| {
                let wish = WSK_EVENT_CALLBACK_CONTROL { NpiId: &raw const ID, EventMask: mask };
                client_control::<_, ()>(WSK_SET_STATIC_EVENT_CALLBACKS, Some(&wish), None)
            };
            let other = nt_abi::GUID { Data1: 1, Data2: 2, Data3: 3, Data4: [4; 8] };
            let wish = WSK_EVENT_CALLBACK_CONTROL { NpiId: &raw const other, EventMask: WSK_EVENT_RECEIVE };
            let foreign = client_control::<_, ()>(WSK_SET_STATIC_EVENT_CALLBACKS, Some(&wish), None);
            assert_eq!(foreign, NtStatus::NOT_SUPPORTED);
            assert_eq!(set(0), NtStatus::INVALID_PARAMETER);
            assert_eq!(set(WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE), NtStatus::INVALID_PARAMETER);
            assert_eq!(client_control::<_, ()>(WSK_TDI_BEHAVIOR, Some(&1u32), None), NtStatus::SUCCESS);
            assert_eq!(set(WSK_EVENT_RECEIVE | WSK_EVENT_ACCEPT), NtStatus::SUCCESS);
            let socket = socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
            assert_eq!(client_control::<_, ()>(WSK_TDI_BEHAVIOR, Some(&1u32), None), NtStatus::INVALID_DEVICE_STATE);
            assert_eq!(set(WSK_EVENT_RECEIVE), NtStatus::INVALID_DEVICE_STATE);
            socket.close();
        });
    }
}

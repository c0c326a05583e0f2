//! Datagram sockets: sending and receiving, with a socket of the host's as the peer.

#![allow(unsafe_code)] // Calls of the provider's.

#[macro_use]
mod wsk_client;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use wsk_client::*;

isolated! {
    fn a_datagram_goes_there_and_back() {
        with_bench(|bench| {
            let (socket, at) = quiet(AF_INET, "127.0.0.1:0");
            let peer = peer("127.0.0.1:0");
            let memory = Memory::with(b"there");
            let ended = socket.send_to(memory.all(), Some(peer.local_addr().unwrap()), &[]).end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 5));
            assert_eq!(heard(&peer), (b"there".to_vec(), at));
            let pending = {
                let memory = Memory::new(64);
                let mut report = Box::new(Report::default());
                let pending = socket.receive_from(memory.all(), &mut report);
                assert_eq!(pending.returned, NtStatus::PENDING);
                peer.send_to(b"and back", at).unwrap();
                let ended = pending.end();
                assert_eq!(&memory.bytes()[..8], b"and back");
                assert_eq!((report.from(), report.length, report.flags), (peer.local_addr().unwrap(), 0, 0));
                ended
            };
            assert_eq!((pending.status, pending.information, pending.pending), (NtStatus::SUCCESS, 8, true));
            let stats = bench.provider().stats();
            assert_eq!((stats.datagram_sockets, stats.datagrams_in, stats.datagrams_out), (1, 1, 1));
            assert_eq!((stats.bytes_in, stats.bytes_out), (8, 5));
            socket.close();
            assert_eq!(bench.provider().stats().datagram_sockets, 0);
        });
    }
}

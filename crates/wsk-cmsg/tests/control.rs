//! Control messages, written and parsed, whole and broken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wsk_cmsg::{Control, Ecn, Family, HEADER, Messages, PacketInfo, Writer};

const MAPPED: IpAddr = IpAddr::V6(Ipv4Addr::new(127, 0, 0, 1).to_ipv6_mapped());

fn everything(address: IpAddr) -> Control {
    Control {
        packet_info: Some(PacketInfo { address, interface: 7 }),
        ecn: Some(Ecn::Ce),
        traffic_class: Some(0xb9),
        hop_limit: Some(64),
        segment_size: Some(1400),
        coalesced_size: Some(1200),
    }
}

fn written(control: &Control, family: Family) -> Vec<u8> {
    let mut room = [0xee; Control::ROOM];
    let length = control.write(family, &mut room).expect("there is room");
    room[..length].to_vec()
}

#[test]
fn what_is_written_is_parsed() {
    for (family, address) in [(Family::V4, Ipv4Addr::LOCALHOST.into()), (Family::V6, Ipv6Addr::LOCALHOST.into())] {
        let control = everything(address);
        assert_eq!(Control::parse(&written(&control, family)), control);
    }
    assert_eq!(written(&Control::NONE, Family::V4), []);
    assert!(Control::parse(&[]).is_none());
}

#[test]
fn an_address_is_of_the_datagrams_family() {
    let info = |address| Control { packet_info: Some(PacketInfo { address, interface: 0 }), ..Control::NONE };
    let mut room = [0; Control::ROOM];
    assert_eq!(info(Ipv4Addr::LOCALHOST.into()).write(Family::V6, &mut room), None);
    assert_eq!(info(Ipv6Addr::LOCALHOST.into()).write(Family::V4, &mut room), None);
    let unmapped = Control::parse(&written(&info(MAPPED), Family::V4)).packet_info;
    assert_eq!(unmapped.map(|info| info.address), Some(Ipv4Addr::LOCALHOST.into()));
    let mapped = Control::parse(&written(&info(MAPPED), Family::V6)).packet_info;
    assert_eq!(mapped.map(|info| info.address), Some(MAPPED));
}

#[test]
fn the_layout_is_that_of_64_bit_windows() {
    let control =
        Control { packet_info: Some(PacketInfo { address: Ipv6Addr::LOCALHOST.into(), interface: 3 }), ..Control::NONE };
    let bytes = written(&Control { ecn: Some(Ecn::Ect0), ..control }, Family::V6);
    // 16 and 20 bytes, padded to 40; then 16 and 4, padded to 24.
    assert_eq!(bytes.len(), 64);
    assert_eq!(bytes[..16], [36, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 19, 0, 0, 0]);
    assert_eq!(bytes[32..40], [3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[40..], [20, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 50, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn too_little_room_is_an_answer() {
    let control = everything(Ipv6Addr::LOCALHOST.into());
    let needed = written(&control, Family::V6).len();
    let mut room = vec![0; needed];
    assert_eq!(control.write(Family::V6, &mut room), Some(needed));
    for short in 0..needed {
        assert_eq!(control.write(Family::V6, &mut room[..short]), None);
    }
}

#[test]
fn a_list_cut_off_anywhere_says_what_was_whole() {
    let bytes = written(&everything(Ipv4Addr::LOCALHOST.into()), Family::V4);
    let whole = Messages::new(&bytes).count();
    assert_eq!(whole, 6);
    let mut before = 0;
    for end in 0..=bytes.len() {
        let count = Messages::new(&bytes[..end]).count();
        assert!(count == before || count == before + 1, "{count} messages in {end} bytes after {before}");
        before = count;
    }
    assert_eq!(before, whole);
}

#[test]
fn lengths_that_lie_end_the_walk() {
    for length in [0, 1, HEADER as u64 - 1, 25, 4096, u64::from(u32::MAX), u64::MAX - 7, u64::MAX] {
        let mut bytes = [0_u8; 24];
        bytes[..8].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(Messages::new(&bytes).count(), 0, "a length of {length}");
    }
    // A message without data is one.
    let mut bytes = [0_u8; 24];
    bytes[0] = 16;
    assert_eq!(Messages::new(&bytes).map(|message| message.data.len()).collect::<Vec<_>>(), [0]);
}

#[test]
fn values_out_of_range_are_passed_over() {
    let mut room = [0; Control::ROOM];
    let mut writer = Writer::new(&mut room);
    writer.push_number(0, 50, 4).unwrap();
    writer.push_number(0, 3, 256).unwrap();
    writer.push_number(41, 21, u32::MAX).unwrap();
    writer.push(0, 19, &[1; 7]).unwrap();
    writer.push(41, 19, &[1; 19]).unwrap();
    writer.push(17, 3, &[1; 3]).unwrap();
    writer.push_number(99, 99, 1).unwrap();
    let length = writer.length();
    assert_eq!(Messages::new(&room[..length]).count(), 7);
    assert!(Control::parse(&room[..length]).is_none());
}

/// Noise, and noise that looks like control messages, in every length.
#[test]
fn noise_neither_panics_nor_reads_outside() {
    let mut random = fastrand::Rng::with_seed(17);
    for round in 0..200_000_u32 {
        let mut bytes = vec![0; random.usize(..96)];
        random.fill(&mut bytes);
        if round % 2 == 0 {
            for header in bytes.chunks_mut(24).filter(|header| header.len() >= HEADER) {
                header[..8].copy_from_slice(&random.u64(..48).to_ne_bytes());
                header[8..12].copy_from_slice(&[*random.choice(&[0, 17, 41]).unwrap_or(&0), 0, 0, 0]);
                header[12..16].copy_from_slice(&[random.u8(..60), 0, 0, 0]);
            }
        }
        let data: usize = Messages::new(&bytes).map(|message| message.data.len() + HEADER).sum();
        assert!(data <= bytes.len(), "messages of {data} bytes in {}", bytes.len());
        let _ = Control::parse(&bytes);
    }
}

//! The request for events: in order, with those that are lost counted, and with a wait that ends.

mod support;

use std::time::{Duration, Instant};

use control_abi::events::{Event, EventKind, EventsRequest, MOST_WAIT_MS, REMEMBERED};
use control_abi::page::room;
use control_abi::{Ask, Page, PageHeader};
use ntbench::Handle;
use support::{Loaded, isolated, listening, unload_clean};
use zerocopy::IntoBytes;

fn device(loaded: &Loaded) -> Handle {
    loaded.bench().open(r"\\.\WskClient").expect("the device")
}

/// The events after this one, as many as one page with room for `most` has.
fn events(device: &Handle, after: u64, wait_ms: u32, most: usize) -> (PageHeader, Vec<Event>) {
    let asked = EventsRequest::after(after, wait_ms);
    let answer = device.ioctl(EventsRequest::REQUEST.code(), asked.as_bytes(), room::<Event>(most)).expect("events");
    let page = Page::<Event>::read(&answer).expect("a page");
    (page.header, page.entries().collect())
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| EventKind::from_wire(event.kind).expect("a known kind")).collect()
}

isolated! {
    #[test]
    fn control_events_tell_the_lifecycle_in_order() {
        let (loaded, address) = listening();
        loaded.set_active(false).expect("deactivated");
        loaded.set_active(true).expect("activated");
        let device = device(&loaded);
        let (page, all) = events(&device, 0, 0, 64);
        assert_eq!((page.mark, page.next, page.total), (0, all.len() as u64, all.len() as u64));
        assert!(all.iter().zip(1..).all(|(event, number)| event.number == number), "{all:?}");
        assert!(all.windows(2).all(|two| two[0].time <= two[1].time), "{all:?}");
        let mut life: Vec<_> = kinds(&all).into_iter().filter(|kind| kind.to_wire() < 16).collect();
        use EventKind::{Activated, Attached, Attaching, CleanedUp, Deactivated, DetachBegun, DetachCompleted};
        let expected = [Attaching, Attached, Deactivated, DetachBegun, DetachCompleted, CleanedUp, Activated, Attaching, Attached];
        // Whoever completes the detach tells it, perhaps before the callback has told that it has begun.
        if let Some(at) = life.windows(2).position(|two| two == [DetachCompleted, DetachBegun]) {
            life.swap(at, at + 1);
        }
        assert_eq!(life, expected);
        let bindings: Vec<_> = all.iter().filter(|event| event.kind == Attached.to_wire()).map(|event| event.binding).collect();
        assert_eq!(bindings, [1, 2]);
        let listening = all.iter().find(|event| event.kind == EventKind::ServiceListening.to_wire()).expect("it listened");
        assert_eq!((listening.address.address(), listening.name.as_str()), (Some(address), Some("echo")));
        assert_ne!(listening.subject, 0);
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_events_come_in_pages_that_go_on_where_the_last_one_ended() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        let (_, all) = events(&device, 0, 0, 64);
        assert!(all.len() >= 3, "{all:?}");
        let (mut after, mut collected) = (0, Vec::new());
        while collected.len() < all.len() {
            let (page, one) = events(&device, after, 0, 1);
            assert_eq!((page.count, page.total), (1, all.len() as u64));
            after = page.next;
            collected.extend(one);
        }
        assert_eq!(collected, all);
        let (page, none) = events(&device, after, 0, 1);
        assert_eq!((page.next, none), (after, vec![]));
        // A number that this load never gave: everything comes.
        assert_eq!(events(&device, u64::MAX, 0, 64).1, all);
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_a_slow_reader_loses_the_oldest_and_is_told_how_many() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        // Ten events a round.
        while events(&device, 0, 0, 1).0.total < u64::from(REMEMBERED) + 100 {
            loaded.set_active(false).expect("deactivated");
            loaded.set_active(true).expect("activated");
        }
        let (page, first) = events(&device, 0, 0, 8);
        assert!(page.mark >= 100 && page.mark == page.total - u64::from(REMEMBERED), "{page:?}");
        assert_eq!((first[0].number, page.next), (page.mark + 1, page.mark + 8));
        let (page, _) = events(&device, page.next, 0, 8);
        assert_eq!(page.mark, 0, "nothing was lost since");
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_a_wait_for_events_ends_with_one_or_in_time() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        let newest = events(&device, 0, 0, 1).0.total;
        let began = Instant::now();
        let (page, none) = events(&device, newest, 60, 8);
        assert!(none.is_empty() && began.elapsed() >= Duration::from_millis(60), "{page:?} after {:?}", began.elapsed());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut after = newest;
                loop {
                    let (page, found) = events(&device, after, MOST_WAIT_MS, 8);
                    if let Some(event) = found.first() {
                        return *event;
                    }
                    after = page.next;
                }
            });
            loaded.set_active(false).expect("deactivated");
            let event = waiting.join().expect("no panic");
            assert_eq!((event.kind, event.number), (EventKind::Deactivated.to_wire(), newest + 1));
        });
        drop(device);
        unload_clean(&loaded);
    }
}

//! The table of what a driver holds, against a map that is simple.

use std::collections::HashMap;

use wine_shim::ledger::{Entry, KINDS, Kind, Ledger};

fn block(address: usize, size: usize) -> Entry {
    Entry { address, kind: Kind::Pool, tag: 1, size }
}

/// A sequence of numbers that look random, and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn what_is_taken_and_given_back_is_known() {
    let mut ledger = Ledger::<64>::new();
    ledger.add(block(0x1000, 100));
    ledger.add(Entry { address: 0x1000, kind: Kind::Irp, tag: 0, size: 0 });
    assert_eq!((ledger.count(Kind::Pool), ledger.count(Kind::Irp), ledger.peak()), (1, 1, 100));
    assert_eq!(ledger.remove(Kind::Mdl, 0x1000), None);
    assert_eq!(ledger.remove(Kind::Pool, 0x1008), None);
    assert_eq!(ledger.remove(Kind::Pool, 0x1000), Some(block(0x1000, 100)));
    assert_eq!(ledger.remove(Kind::Pool, 0x1000), None, "given back twice");
    assert_eq!(ledger.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [Kind::Irp]);
    ledger.add(block(0x2000, 10));
    assert_eq!(ledger.peak(), 100, "the peak stays");
    ledger.clear();
    assert_eq!((ledger.iter().count(), ledger.count(Kind::Irp), ledger.peak()), (0, 0, 0));
}

#[test]
fn a_table_that_is_full_says_how_much_it_has_lost() {
    let mut ledger = Ledger::<8>::new();
    (0..10).for_each(|number| ledger.add(block(number << 4, 1)));
    assert_eq!((ledger.count(Kind::Pool), ledger.lost()), (7, 3));
    (0..7).for_each(|number| assert!(ledger.remove(Kind::Pool, number << 4).is_some()));
    assert_eq!(ledger.iter().count(), 0);
}

#[test]
fn an_entry_can_be_changed() {
    let mut ledger = Ledger::<8>::new();
    ledger.add(Entry { address: 0x10, kind: Kind::Object, tag: 1, size: 0 });
    ledger.get_mut(Kind::Object, 0x10).expect("entered").tag += 1;
    assert_eq!(ledger.remove(Kind::Object, 0x10).map(|entry| entry.tag), Some(2));
}

/// A small table, nearly full all the time: chains that collide, run round the end, and have gaps closed in them.
#[test]
fn whatever_comes_and_goes_it_agrees_with_a_map() {
    for seed in 0..8 {
        let (mut ledger, mut map, mut numbers) = (Ledger::<32>::new(), HashMap::new(), Numbers(seed));
        for _ in 0..2_000 {
            let (address, kind) = (numbers.below(40) << 3, KINDS[numbers.below(2)]);
            if map.contains_key(&(address, kind as u8)) || map.len() == 31 {
                let wanted = map.remove(&(address, kind as u8));
                assert_eq!(ledger.remove(kind, address), wanted, "seed {seed}");
            } else {
                let entry = Entry { address, kind, tag: 0, size: numbers.below(100) };
                map.insert((address, kind as u8), entry);
                ledger.add(entry);
            }
            assert_eq!(ledger.iter().count(), map.len(), "seed {seed}");
            assert!(KINDS.iter().all(|kind| ledger.count(*kind) == map.keys().filter(|(_, of)| *of == *kind as u8).count()));
        }
        assert_eq!(ledger.lost(), 0);
        assert!(map.iter().all(|(_, entry)| ledger.remove(entry.kind, entry.address).as_ref() == Some(entry)), "seed {seed}");
    }
}

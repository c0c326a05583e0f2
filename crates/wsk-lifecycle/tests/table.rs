//! The socket table against a naive model, with seeded random operations.
#![cfg(not(loom))]

use allocator_api2::alloc::Global;
use wsk_lifecycle::table::{CHUNK_SLOTS, Chunk, SlotId, Table};

/// Enough to use every slot again many times; the long run is `prove`'s.
const OPERATIONS: u32 = 200_000;

enum Known {
    Reserved(SlotId),
    Full(SlotId, u32),
}

#[test]
fn table_behaves_as_a_list_of_pairs() {
    let mut rng = fastrand::Rng::with_seed(0x5eed);
    let mut table = Table::<u32, Global>::new(Global).unwrap();
    let mut model: Vec<Known> = Vec::new();
    let mut gone: Vec<SlotId> = Vec::new();
    for step in 0..OPERATIONS {
        match rng.u32(0..4) {
            0 => reserve(&mut table, &mut model),
            1 => fill_one(&mut table, &mut model, &mut rng, step),
            2 => remove_one(&mut table, &mut model, &mut gone, &mut rng),
            _ => check_one(&table, &model, &gone, &mut rng),
        }
        assert_eq!(table.len(), model.iter().filter(|known| matches!(known, Known::Full(..))).count());
        if step % 1000 == 0 {
            check_walk(&table, &model);
        }
        if model.len() > 3 * CHUNK_SLOTS {
            model.drain(..).for_each(|known| {
                table.remove(known.id());
            });
        }
    }
}

impl Known {
    fn id(&self) -> SlotId {
        match self {
            Known::Reserved(id) | Known::Full(id, _) => *id,
        }
    }
}

fn reserve(table: &mut Table<u32, Global>, model: &mut Vec<Known>) {
    let id = table.reserve().unwrap_or_else(|| {
        assert!(table.grow(Chunk::new(Global).unwrap()).is_ok());
        table.reserve().expect("a new chunk has room")
    });
    assert!(model.iter().all(|known| known.id() != id), "{id:?} handed out twice");
    model.push(Known::Reserved(id));
}

fn fill_one(table: &mut Table<u32, Global>, model: &mut [Known], rng: &mut fastrand::Rng, value: u32) {
    let Some(known) = pick(model, rng) else { return };
    match known {
        Known::Reserved(id) => {
            let id = *id;
            assert_eq!(table.fill(id, value), Ok(()));
            *known = Known::Full(id, value);
        }
        Known::Full(id, _) => assert_eq!(table.fill(*id, value), Err(value), "filled twice"),
    }
}

fn remove_one(table: &mut Table<u32, Global>, model: &mut Vec<Known>, gone: &mut Vec<SlotId>, rng: &mut fastrand::Rng) {
    if model.is_empty() {
        return;
    }
    let known = model.swap_remove(rng.usize(0..model.len()));
    let content = table.remove(known.id());
    gone.push(known.id());
    match known {
        Known::Reserved(_) => assert_eq!(content, None),
        Known::Full(_, value) => assert_eq!(content, Some(value)),
    }
}

fn check_one(table: &Table<u32, Global>, model: &[Known], gone: &[SlotId], rng: &mut fastrand::Rng) {
    if !gone.is_empty() {
        assert_eq!(table.content(gone[rng.usize(0..gone.len())]), None, "an old id finds a new socket");
    }
    if let Some(Known::Full(id, value)) = model.get(rng.usize(0..model.len().max(1))) {
        assert_eq!(table.content(*id), Some(value));
    }
}

fn check_walk(table: &Table<u32, Global>, model: &[Known]) {
    let (mut cursor, mut seen) = (0, Vec::new());
    while !table.at_end(cursor) {
        seen.extend(table.next_full(&mut cursor, 7).copied());
    }
    let mut expected: Vec<u32> =
        model.iter().filter_map(|known| if let Known::Full(_, value) = known { Some(*value) } else { None }).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

fn pick<'a>(model: &'a mut [Known], rng: &mut fastrand::Rng) -> Option<&'a mut Known> {
    let len = model.len();
    if len == 0 { None } else { model.get_mut(rng.usize(0..len)) }
}

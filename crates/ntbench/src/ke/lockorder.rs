//! Deadlock detection: locks that are taken in one order here and in the other there.
//!
//! Each time a lock is taken while another is held, the pair is noted with where it happened; a cycle among the pairs
//! is a deadlock that waits for its schedule. Locks are told apart by address, so those in freed memory are forgotten.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::{image, verifier};

/// For each lock, those that were taken while it was held, with the callers' addresses.
type Graph = HashMap<usize, HashMap<usize, usize>>;

static GRAPH: Mutex<Option<Graph>> = Mutex::new(None);
/// Changes when locks are forgotten: what threads remember is void then.
static EPOCH: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SEEN: RefCell<(u64, HashSet<(usize, usize)>)> = RefCell::new((0, HashSet::new()));
}

/// Notes that `second` was taken by this thread, which holds `first`.
pub(super) fn taken(first: usize, second: usize) {
    let epoch = EPOCH.load(Ordering::Acquire);
    let new = SEEN.with_borrow_mut(|(known, seen)| {
        if *known != epoch {
            *known = epoch;
            seen.clear();
        }
        seen.insert((first, second))
    });
    if new && first != 0 {
        note(first, second);
    }
}

#[cold]
fn note(first: usize, second: usize) {
    let mut graph = GRAPH.lock();
    let graph_now = graph.get_or_insert_default();
    graph_now.entry(first).or_default().entry(second).or_insert_with(image::caller);
    let Some(back) = path(graph_now, second, first) else { return };
    let steps = back.windows(2).map(|pair| {
        let site = graph_now[&pair[0]][&pair[1]];
        format!("{:#x} is held while {:#x} is taken in {}", pair[0], pair[1], place(site))
    });
    let history = steps.collect();
    drop(graph);
    let text = format!("spin lock {second:#x} is taken while {first:#x} is held, and elsewhere in the other order");
    verifier::violation_about("lock-order", text, history);
}

fn place(site: usize) -> String {
    if site == 0 { "the bench".to_owned() } else { image::describe(site - 1) }
}

/// A way from one lock to another along the pairs.
fn path(graph: &Graph, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut open = vec![vec![from]];
    let mut seen = HashSet::from([from]);
    while let Some(way) = open.pop() {
        let last = *way.last()?;
        if last == to {
            return Some(way);
        }
        for next in graph.get(&last).into_iter().flat_map(HashMap::keys).filter(|next| seen.insert(**next)) {
            open.push([way.as_slice(), &[*next]].concat());
        }
    }
    None
}

/// Forgets a lock that is initialized anew.
pub(super) fn forget(lock: usize) {
    forget_range(&(lock..lock + 1));
}

/// Forgets the locks in memory that is freed.
pub(crate) fn forget_range(range: &Range<usize>) {
    let mut graph = GRAPH.lock();
    let Some(graph) = graph.as_mut() else { return };
    let before: usize = graph.values().map(HashMap::len).sum();
    graph.retain(|lock, _| !range.contains(lock));
    graph.values_mut().for_each(|next| next.retain(|lock, _| !range.contains(lock)));
    if graph.values().map(HashMap::len).sum::<usize>() != before {
        EPOCH.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, path};

    #[test]
    fn a_cycle_is_a_path_back() {
        let mut graph = Graph::new();
        for (first, second) in [(1, 2), (2, 3), (4, 1)] {
            graph.entry(first).or_default().insert(second, 0);
        }
        assert_eq!(path(&graph, 1, 3), Some(vec![1, 2, 3]));
        assert_eq!(path(&graph, 3, 1), None);
        graph.entry(3).or_default().insert(1, 0);
        assert_eq!(path(&graph, 2, 1), Some(vec![2, 3, 1]));
    }
}

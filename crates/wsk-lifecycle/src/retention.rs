//! The lists of received data that a client keeps: how many, in which order, and who gives each one back.
//!
//! ```text
//!              offer                     take                       lose
//!   (1) Free ---------> (2) Queued --------------> (3) Out --------------------> (4) Lost
//!    ^                      |                       |                             |
//!    |                      | abandoned (closed)    | give                        | give, or abandoned (closed)
//!    +----------------------+-----------------------+-----------------------------+
//! ```
//!
//! A list is given back by whoever takes it out of (2), (3) or (4), which happens once. *Lost* is a list that went with an operation
//! whose call failed and whose IRP never came (L35): nobody can be waited for then, so the end of its socket takes it back.
//! After [`close`](Retention::close) a place that became free stays so: whoever comes late finds nothing.
//!
//! It locks nothing: its owner has it behind a lock, so that each of these steps is one.
//!
//! # IRQL
//! Any: it calls nothing.

use core::marker::PhantomData;

/// Where one list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Queued,
    Out,
    Lost,
}

/// Names a list as long as it is kept: a later one in the same place has another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceId {
    index: u32,
    generation: u32,
}

impl PlaceId {
    /// The number of the place.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Room for one list.
#[derive(Clone, Copy, Debug)]
pub struct Place<T> {
    state: State,
    generation: u32,
    list: Option<T>,
    bytes: usize,
    /// The next free or queued place.
    next: u32,
}

impl<T> Place<T> {
    /// An empty one.
    pub const EMPTY: Self = Self { state: State::Free, generation: 0, list: None, bytes: 0, next: END };
}

const END: u32 = u32::MAX;

/// The lists of one socket. `S` holds its places.
///
/// # Invariants
/// Free places form a list from `free`, queued ones from `first` to `last`. `bytes` and `out` are the sums over the places that
/// are not free, and those that are out or lost.
pub struct Retention<T, S> {
    places: S,
    kind: PhantomData<T>,
    free: u32,
    first: u32,
    last: u32,
    bytes: usize,
    limit: usize,
    out: u32,
    /// What was refused last, while nothing asked for it again.
    refused: Option<usize>,
    /// Bytes that were refused, and not offered again since.
    owed: usize,
    closed: bool,
}

/// A list that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Given<T> {
    /// It goes back to where it came from.
    pub list: T,
    /// The reader waits for room: it is to be woken.
    pub wake: bool,
}

/// A list that was taken out of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken<T> {
    /// Names it.
    pub place: PlaceId,
    /// The list.
    pub list: T,
    /// Its bytes.
    pub bytes: usize,
}

impl<T: Copy, S> Retention<T, S>
where
    S: AsRef<[Place<T>]> + AsMut<[Place<T>]>,
{
    /// With room for as many lists as there are places, and for `limit` bytes.
    ///
    /// It begins as if something had been refused: what its socket was told of before is asked for again.
    pub fn new(mut places: S, limit: usize) -> Self {
        let mut free = END;
        for (index, place) in places.as_mut().iter_mut().enumerate().rev() {
            *place = Place { next: free, ..Place::EMPTY };
            free = index as u32;
        }
        // INVARIANT: all are free, and linked.
        Self {
            places,
            kind: PhantomData,
            free,
            first: END,
            last: END,
            bytes: 0,
            limit,
            out: 0,
            refused: Some(0),
            owed: 0,
            closed: false,
        }
    }

    /// Whether a list of so many bytes can be kept. A list that is larger than the bound is kept when it is the only one:
    /// a stream would stand still else.
    fn fits(&self, bytes: usize) -> bool {
        let room = self.bytes == 0 || self.bytes.saturating_add(bytes) <= self.limit;
        !self.closed && self.free != END && room
    }

    /// Puts a list at the end of the queue. `false` says that it is not kept, which is remembered.
    pub fn offer(&mut self, list: T, bytes: usize) -> bool {
        if !self.fits(bytes) {
            self.refused = Some(bytes);
            self.owed = self.owed.max(bytes);
            return false;
        }
        let (index, last) = (self.free, self.last);
        let Some(place) = self.place(index) else { return false };
        let generation = place.generation;
        let queued = Place { state: State::Queued, generation, list: Some(list), bytes, next: END };
        let next_free = core::mem::replace(place, queued).next;
        self.free = next_free;
        match self.place(last) {
            Some(before) => before.next = index,
            None => self.first = index,
        }
        self.last = index;
        self.bytes = self.bytes.saturating_add(bytes);
        self.owed = self.owed.saturating_sub(bytes);
        true
    }

    /// Takes the first list of the queue, which is out from now on.
    pub fn take(&mut self) -> Option<Taken<T>> {
        let index = self.first;
        let place = self.place(index)?;
        place.state = State::Out;
        let (list, bytes, next) = (place.list?, place.bytes, core::mem::replace(&mut place.next, END));
        let place = PlaceId { index, generation: place.generation };
        self.first = next;
        if next == END {
            self.last = END;
        }
        self.out += 1;
        Some(Taken { place, list, bytes })
    }

    /// Takes a list back that is out. `None` if the end of the socket was faster.
    pub fn give(&mut self, place: PlaceId) -> Option<Given<T>> {
        if !matches!(self.named(place)?.state, State::Out | State::Lost) {
            return None;
        }
        self.out = self.out.saturating_sub(1);
        let list = self.vacate(place.index)?;
        Some(Given { list, wake: self.refused.is_some() })
    }

    /// The operation that a list went with will not come back. After the close the list comes back with this.
    pub fn lose(&mut self, place: PlaceId) -> Option<Given<T>> {
        let lost = self.named(place).filter(|place| place.state == State::Out)?;
        lost.state = State::Lost;
        if self.closed { self.give(place) } else { None }
    }

    /// Keeps nothing from now on.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// After the close: the next list that nobody else will give back.
    pub fn abandoned(&mut self) -> Option<T> {
        if let Some(taken) = self.take() {
            return self.give(taken.place).map(|given| given.list);
        }
        let lost = |(index, place): (usize, &Place<T>)| {
            let id = PlaceId { index: index as u32, generation: place.generation };
            (place.state == State::Lost).then_some(id)
        };
        let lost = self.places.as_ref().iter().enumerate().find_map(lost)?;
        self.give(lost).map(|given| given.list)
    }

    /// Lists that somebody holds, or has lost.
    pub fn out(&self) -> u32 {
        self.out
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether bytes are to come that were offered once already.
    pub fn is_owed(&self) -> bool {
        self.owed != 0
    }

    /// `true`, once per refusal, when there is room for what was refused: it is to be asked for again.
    #[must_use]
    pub fn resumes(&mut self) -> bool {
        let fits = self.refused.is_some_and(|bytes| self.fits(bytes));
        if fits {
            self.refused = None;
        }
        fits
    }

    /// Asking for it again did not work: it is to be tried again.
    pub fn not_resumed(&mut self) {
        self.refused.get_or_insert(0);
    }

    fn vacate(&mut self, index: u32) -> Option<T> {
        let next = if self.closed { END } else { self.free };
        let closed = self.closed;
        let place = self.place(index)?;
        let generation = place.generation.wrapping_add(1);
        let before = core::mem::replace(place, Place { next, generation, ..Place::EMPTY });
        if !closed {
            self.free = index;
        }
        self.bytes = self.bytes.saturating_sub(before.bytes);
        before.list
    }

    fn named(&mut self, id: PlaceId) -> Option<&mut Place<T>> {
        self.place(id.index).filter(|place| place.generation == id.generation)
    }

    fn place(&mut self, index: u32) -> Option<&mut Place<T>> {
        self.places.as_mut().get_mut(index as usize)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn room(lists: usize, bytes: usize) -> Retention<char, Vec<Place<char>>> {
        let mut retention = Retention::new(vec![Place::EMPTY; lists], bytes);
        assert!(retention.resumes(), "what was there before is asked for");
        assert!(!retention.resumes());
        retention
    }

    fn taken(retention: &mut Retention<char, Vec<Place<char>>>) -> Option<(PlaceId, char)> {
        retention.take().map(|taken| (taken.place, taken.list))
    }

    #[test]
    fn lists_come_in_the_order_in_which_they_were_offered() {
        let mut all = room(3, 100);
        for round in 0..5 {
            assert!(all.offer('a', 10) && all.offer('b', 10));
            let (a, first) = taken(&mut all).unwrap();
            assert!(all.offer('c', 10));
            let (b, second) = taken(&mut all).unwrap();
            let (c, third) = taken(&mut all).unwrap();
            assert_eq!(([first, second, third], all.bytes(), all.out()), (['a', 'b', 'c'], 30, 3), "round {round}");
            assert!(taken(&mut all).is_none());
            // In any order.
            assert_eq!(all.give(b).map(|given| given.list), Some('b'));
            assert_eq!(all.give(a).map(|given| given.list), Some('a'));
            assert_eq!(all.give(c), Some(Given { list: 'c', wake: false }));
            assert_eq!((all.bytes(), all.out()), (0, 0));
        }
    }

    #[test]
    fn the_bound_of_lists_refuses_and_what_was_refused_is_asked_for_once_there_is_room() {
        let mut all = room(1, 100);
        assert!(all.offer('a', 10));
        assert!(!all.offer('b', 20));
        assert!(all.is_owed());
        assert!(!all.resumes(), "there is no room");
        let (a, _) = taken(&mut all).unwrap();
        assert!(!all.resumes(), "what is out takes room");
        assert_eq!(all.give(a), Some(Given { list: 'a', wake: true }));
        assert!(all.resumes());
        assert!(!all.resumes());
        assert!(all.offer('b', 15));
        assert!(all.is_owed(), "five bytes are to come");
        let (b, _) = taken(&mut all).unwrap();
        assert!(all.give(b).is_some());
        assert!(all.offer('c', 5) && !all.is_owed());
    }

    #[test]
    fn the_bound_of_bytes_lets_one_large_list_through_when_it_is_alone() {
        let mut all = room(8, 100);
        assert!(all.offer('a', 60));
        assert!(!all.offer('b', 41));
        let (a, _) = taken(&mut all).unwrap();
        assert!(all.give(a).is_some_and(|given| given.wake));
        assert!(all.resumes());
        assert!(all.offer('b', 1_000) && !all.offer('c', 1));
    }

    #[test]
    fn after_the_close_everything_is_given_back_once_and_nothing_is_kept() {
        let mut all = room(4, 100);
        for list in ['a', 'b', 'c', 'd'] {
            assert!(all.offer(list, 1));
        }
        let (a, _) = taken(&mut all).unwrap();
        let (b, _) = taken(&mut all).unwrap();
        assert_eq!(all.lose(a), None, "the close takes it");
        all.close();
        let mut back = vec![all.abandoned().unwrap(), all.abandoned().unwrap(), all.abandoned().unwrap()];
        back.sort_unstable();
        assert_eq!((back, all.abandoned(), all.out()), (vec!['a', 'c', 'd'], None, 1));
        assert_eq!(all.give(a), None, "it is back already");
        assert!(!all.offer('e', 1));
        assert_eq!(all.lose(b).map(|given| given.list), Some('b'), "lost after the close: it comes back at once");
        assert_eq!((all.give(b), all.out(), all.bytes()), (None, 0, 0));
        assert!(!all.resumes());
    }

    #[test]
    fn what_was_lost_may_come_back_all_the_same() {
        let mut all = room(1, 100);
        assert!(all.offer('a', 1));
        let (a, _) = taken(&mut all).unwrap();
        assert_eq!(all.lose(a), None);
        assert_eq!(all.give(a).map(|given| given.list), Some('a'));
        assert_eq!(all.lose(a), None);
        assert!(all.offer('b', 1));
        assert_eq!((all.lose(a), all.give(a)), (None, None), "that is another list");
        let (b, _) = taken(&mut all).unwrap();
        assert_eq!((all.lose(a), all.give(a)), (None, None), "that is another list still");
        assert_eq!(all.lose(b), None);
        all.close();
        assert_eq!(all.abandoned(), Some('b'));
    }
}

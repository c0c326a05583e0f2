//! What the driver has taken and not given back: a table of addresses, of fixed size, with sums by kind.
//!
//! # Invariants
//! An entry is in the table at the place that its address hashes to, or at the first after it with none free in between.

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A block of pool.
    Pool,
    /// An IRP.
    Irp,
    /// An MDL.
    Mdl,
    /// A work item.
    WorkItem,
    /// A reference to an object, by the handle of it or by name.
    Object,
    /// A handle.
    Handle,
    /// A completion routine that keeps a device.
    Armed,
}

/// Each kind, in the order of their numbers.
pub const KINDS: [Kind; 7] =
    [Kind::Pool, Kind::Irp, Kind::Mdl, Kind::WorkItem, Kind::Object, Kind::Handle, Kind::Armed];

impl Kind {
    /// Its name in the verdict.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pool => "pool",
            Kind::Irp => "irps",
            Kind::Mdl => "mdls",
            Kind::WorkItem => "work items",
            Kind::Object => "objects",
            Kind::Handle => "handles",
            Kind::Armed => "armed completions",
        }
    }
}

/// One thing that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, or its number.
    pub address: usize,
    /// What it is.
    pub kind: Kind,
    /// Its pool tag, or how many references there are.
    pub tag: u32,
    /// Its bytes.
    pub size: usize,
}

/// The table.
pub struct Ledger<const N: usize> {
    entries: [Option<Entry>; N],
    counts: [usize; KINDS.len()],
    bytes: usize,
    peak: usize,
    lost: usize,
}

impl<const N: usize> Ledger<N> {
    /// An empty one.
    pub const fn new() -> Ledger<N> {
        Ledger { entries: [None; N], counts: [0; KINDS.len()], bytes: 0, peak: 0, lost: 0 }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.fill(None);
        (self.counts, self.bytes, self.peak, self.lost) = ([0; KINDS.len()], 0, 0, 0);
    }

    /// Enters something that was taken. A table that is full counts it as lost.
    pub fn add(&mut self, entry: Entry) {
        let used: usize = self.counts.iter().sum();
        let free = (0..N).map(|step| (home::<N>(entry.address) + step) % N).find(|at| self.entries[*at].is_none());
        let Some(at) = free.filter(|_| used + 1 < N) else {
            self.lost += 1;
            return;
        };
        self.entries[at] = Some(entry);
        self.counts[entry.kind as usize] += 1;
        if entry.kind == Kind::Pool {
            self.bytes += entry.size;
            self.peak = self.peak.max(self.bytes);
        }
    }

    /// Strikes out what was given back. None if it is not known.
    pub fn remove(&mut self, kind: Kind, address: usize) -> Option<Entry> {
        let at = self.find(kind, address)?;
        let entry = self.entries[at].take()?;
        self.counts[kind as usize] -= 1;
        if kind == Kind::Pool {
            self.bytes -= entry.size;
        }
        self.close_gap(at);
        Some(entry)
    }

    /// The entry of something.
    pub fn get_mut(&mut self, kind: Kind, address: usize) -> Option<&mut Entry> {
        let at = self.find(kind, address)?;
        self.entries[at].as_mut()
    }

    /// How many of a kind are held.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize]
    }

    /// Bytes of pool that were held at most.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// How many entries the table had no room for.
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// Everything that is held.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    fn find(&self, kind: Kind, address: usize) -> Option<usize> {
        let places = (0..N).map(|step| (home::<N>(address) + step) % N);
        let mut taken = places.map_while(|at| self.entries[at].map(|entry| (at, entry)));
        taken.find(|(_, entry)| entry.kind == kind && entry.address == address).map(|(at, _)| at)
    }

    /// Moves up what stands behind a gap and belongs before it.
    fn close_gap(&mut self, mut gap: usize) {
        let mut at = (gap + 1) % N;
        while let Some(entry) = self.entries[at] {
            let belongs = home::<N>(entry.address);
            if distance::<N>(belongs, at) >= distance::<N>(gap, at) {
                self.entries[gap] = self.entries[at].take();
                gap = at;
            }
            at = (at + 1) % N;
        }
    }
}

impl<const N: usize> Default for Ledger<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The place where an address would like to be.
fn home<const N: usize>(address: usize) -> usize {
    ((address >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % N
}

/// How far it is from one place on to another, round the end.
fn distance<const N: usize>(from: usize, to: usize) -> usize {
    (to + N - from) % N
}

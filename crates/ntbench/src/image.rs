//! Driver images: which are mapped where, what an address in one is called, and who of them is on this thread's stack.
//!
//! Parsing is in [`parse`], mapping in [`map`], names in [`symbols`], faults in [`trap`].
#![allow(unsafe_code)] // Stacks and code bytes are read as memory.

pub mod map;
pub mod parse;
pub mod symbols;
pub mod trap;

use std::cell::Cell;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use symbols::Symbols;

/// A mapped image, or one that was.
#[derive(Debug)]
pub struct Image {
    /// Name of the file.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    /// Its addresses.
    pub range: Range<usize>,
    /// Those of its code.
    pub(crate) code: Vec<Range<usize>>,
    /// Address of its entry point.
    pub(crate) entry: usize,
    pub(crate) gone: AtomicBool,
    symbols: OnceLock<Option<Symbols>>,
}

const MAX_IMAGES: usize = 64;

/// Ranges of all images, readable in a signal handler.
static RANGES: [[AtomicUsize; 2]; MAX_IMAGES] = [const { [const { AtomicUsize::new(0) }; 2] }; MAX_IMAGES];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static IMAGES: RwLock<Vec<Arc<Image>>> = RwLock::new(Vec::new());

impl Image {
    /// The name of `address`: `driver.sys!function (file:line)`.
    pub fn describe(&self, address: usize) -> String {
        let offset = address - self.range.start;
        let symbols = self.symbols.get_or_init(|| Symbols::beside(&self.path));
        match symbols.as_ref().and_then(|symbols| symbols.name(offset as u32)) {
            Some(name) => format!("{}!{name}", self.name),
            None => format!("{}+{offset:#x}", self.name),
        }
    }

    /// Whether its pages have been made inaccessible.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// Enters a mapped image; none if there are too many.
pub(crate) fn register(path: PathBuf, range: Range<usize>, code: Vec<Range<usize>>, entry: usize) -> Option<Arc<Image>> {
    let mut images = IMAGES.write();
    let id = images.len();
    let slot = RANGES.get(id)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    slot[0].store(range.start, Ordering::Relaxed);
    slot[1].store(range.end, Ordering::Relaxed);
    COUNT.store(id + 1, Ordering::Release);
    let image = Image { name, path, range, code, entry, gone: AtomicBool::new(false), symbols: OnceLock::new() };
    let image = Arc::new(image);
    images.push(Arc::clone(&image));
    Some(image)
}

/// The index of the image that `address` lies in.
#[inline]
pub(crate) fn index_of(address: usize) -> Option<usize> {
    let count = COUNT.load(Ordering::Acquire);
    let within = |r: &[AtomicUsize; 2]| (r[0].load(Ordering::Relaxed)..r[1].load(Ordering::Relaxed)).contains(&address);
    RANGES[..count].iter().position(within)
}

/// The image that `address` lies in.
pub(crate) fn of(address: usize) -> Option<Arc<Image>> {
    index_of(address).and_then(|index| IMAGES.read().get(index).cloned())
}

/// What `address` is called, in an image or not.
pub fn describe(address: usize) -> String {
    of(address).map_or_else(|| format!("{address:#x}"), |image| image.describe(address))
}

/// Return addresses into images that lie on this thread's stack, described; innermost first, at most `limit`.
pub(crate) fn stack_places(limit: usize) -> Vec<String> {
    stack_places_from(stack_pointer(), limit)
}

/// As [`stack_places`], from another stack pointer of this thread's.
pub(crate) fn stack_places_from(pointer: usize, limit: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    scan(pointer, 1 << 14, |address| {
        let place = describe(address - 1);
        if found.last() != Some(&place) {
            found.push(place);
        }
        found.len() < limit
    });
    found
}

/// The innermost return address into an image on this thread's stack, zero if there is none near.
#[inline(never)]
pub(crate) fn caller() -> usize {
    let mut caller = 0;
    if COUNT.load(Ordering::Relaxed) > 0 {
        scan(stack_pointer(), 512, |address| {
            caller = address;
            false
        });
    }
    caller
}

fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Calls `f` with each return address into an image among the next `words` words of the stack, until it says no more.
fn scan(pointer: usize, words: usize, mut f: impl FnMut(usize) -> bool) {
    let end = stack_end().min(pointer.saturating_add(words * 8));
    let mut at = pointer & !7;
    while at < end {
        // SAFETY: between the stack pointer and the stack's end.
        let word = unsafe { (at as *const usize).read_volatile() };
        if index_of(word).is_some() && is_return_address(word) && !f(word) {
            return;
        }
        at += 8;
    }
}

/// Whether the code before `address`, which lies in an image, is a call.
fn is_return_address(address: usize) -> bool {
    let Some(image) = of(address) else { return false };
    let Some(code) = image.code.iter().find(|code| code.contains(&address)) else { return false };
    if image.is_gone() {
        return true;
    }
    if address < code.start + 7 {
        return false;
    }
    let mut before = [0u8; 7];
    // SAFETY: the seven bytes before lie in mapped code of the image.
    unsafe { std::ptr::copy_nonoverlapping((address - 7) as *const u8, before.as_mut_ptr(), 7) };
    // call rel32, or call r/m (FF /2) of each length.
    let indirect = |length: usize| before[7 - length] == 0xff && before[8 - length] & 0x38 == 0x10;
    before[2] == 0xe8 || [2, 3, 4, 6, 7].into_iter().any(indirect)
}

/// Where this thread's stack ends.
fn stack_end() -> usize {
    thread_local!(static END: Cell<usize> = const { Cell::new(0) });
    END.with(|end| {
        if end.get() == 0 {
            end.set(find_stack_end());
        }
        end.get()
    })
}

fn find_stack_end() -> usize {
    let mut base = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: plain calls on this thread's attributes, which are destroyed again.
    unsafe {
        let mut attributes = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return 0;
        }
        libc::pthread_attr_getstack(&raw const attributes, &raw mut base, &raw mut size);
        libc::pthread_attr_destroy(&raw mut attributes);
    }
    base as usize + size
}

//! No token gets under a spin lock, where the IRQL is DISPATCH_LEVEL: neither in the closure nor in the value; and no guard
//! leaves the library.

use wsk::Passive;
use wsk::sync::{Event, SpinLock};

pub fn before_and_after(lock: &SpinLock<u32>, event: &Event, passive: Passive) {
    event.wait(passive);
    lock.with(|value| *value += 1);
    event.wait(passive);
}

#[cfg(wrong)]
pub fn in_the_closure(lock: &SpinLock<u32>, event: &Event, passive: Passive) {
    lock.with(|_| event.wait(passive)); //~ `*const ()` cannot be shared between threads safely
}

#[cfg(wrong)]
pub fn in_the_value(lock: &SpinLock<Passive>, event: &'static Event) {
    lock.with(|passive| event.wait(*passive)); //~ `*const ()` cannot be sent between threads safely
}

#[cfg(wrong)]
pub fn beside_a_guard(lock: &SpinLock<u32>, event: &Event, passive: Passive) {
    let guard = lock.lock(); //~ method `lock` is private
    event.wait(passive);
}

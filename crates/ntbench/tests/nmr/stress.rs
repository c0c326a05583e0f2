//! All rules at once: many clients and providers come and go in several threads, with everything left to chance.
//!
//! What must hold is checked where it happens (see `support`): no callback after a wait has returned, one detach and one
//! cleanup per attach, cleanup never without detach. Here it is added up, and no violation may have been reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nmr::{Config, Deregister, Side};
use nt_abi::NtStatus;

use crate::support::*;

/// Numbers from a seed (xorshift).
struct Dice(AtomicU64);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        let mut x = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        x ^= x >> 31;
        x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        x ^= x >> 32;
        x % sides
    }
}

fn behaviour(dice: &Arc<Dice>, completer: &Sender<(Side, usize)>) -> Behaviour {
    let (offer, attach, detach) = (dice.clone(), dice.clone(), dice.clone());
    let completer = completer.clone();
    Behaviour {
        on_offer: Box::new(move |_| (offer.roll(5) == 0).then_some(NtStatus::NOINTERFACE)),
        on_attach: Box::new(move |bound| match (bound.side, attach.roll(6)) {
            (Side::Provider, 0) => NtStatus::NOINTERFACE,
            (_, 1) => {
                thread::yield_now();
                NtStatus::SUCCESS
            }
            _ => NtStatus::SUCCESS,
        }),
        on_detach: Box::new(move |bound| match detach.roll(4) {
            0 => NtStatus::SUCCESS,
            1 => {
                bound.complete();
                NtStatus::PENDING
            }
            _ => {
                completer.send((bound.side, bound.binding)).unwrap();
                NtStatus::PENDING
            }
        }),
        tries: 1 + dice.roll(2) as usize,
        ..Behaviour::default()
    }
}

fn leave(module: &Module) {
    match module.deregister() {
        NtStatus::SUCCESS => {}
        status => {
            assert_eq!(status, NtStatus::PENDING);
            assert_eq!(module.wait(), NtStatus::SUCCESS);
        }
    }
}

fn run(seed: u64, at_once: bool) {
    let deregister = if at_once { Deregister::AtOnce } else { Deregister::Pending };
    let _running = start_with(Config { deregister, ..Config::random(seed) });
    let dice = Arc::new(Dice(AtomicU64::new(seed)));
    let (send, receive) = channel::<(Side, usize)>();
    let completer = thread::spawn(move || {
        receive.into_iter().for_each(|(side, binding)| complete(side, binding));
    });
    let attached = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (dice, send, attached) = (dice.clone(), send.clone(), attached.clone());
            thread::spawn(move || {
                for round in 0..60 {
                    let side = if (number + round) % 2 == 0 { Side::Client } else { Side::Provider };
                    let interface = npi(1 + dice.roll(2) as u32);
                    let module = Module::new(side, interface, behaviour(&dice, &send));
                    module.register();
                    if dice.roll(3) == 0 {
                        thread::sleep(std::time::Duration::from_micros(dice.roll(800)));
                    }
                    leave(&module);
                    let [_, attaches, detaches, cleanups] = module.counts();
                    assert_eq!([detaches, cleanups], [attaches; 2], "seed {seed}, {side:?}");
                    assert!(module.bound.lock().unwrap().is_empty());
                    attached.fetch_add(attaches, Ordering::Relaxed);
                }
            })
        })
        .collect();
    drop(send);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    completer.join().unwrap();
    assert!(violations().is_empty(), "seed {seed}: {:?}", violation_texts());
    assert!(attached.load(Ordering::Relaxed) > 0, "seed {seed}: nobody ever met anybody");
}

#[test]
fn n4_n6_n7_hold_when_many_come_and_go_at_once() {
    (1..=6).for_each(|seed| run(seed, false));
}

#[test]
fn n5_success_at_once_holds_when_many_come_and_go() {
    (7..=9).for_each(|seed| run(seed, true));
}

//! How often one source is answered: a table of fixed size, with no allocation and no way to make it forget.
//!
//! A source has a bucket of `rate` answers, which fills at `rate` answers per second; an answer takes one out. Of a bucket the
//! table keeps the time at which it will be full again. Once that has passed the bucket is like a new one, and only
//! then its place is given to another source: what is forgotten makes no difference. So nobody can, by sending in the names
//! of very many, have the table forget the one whom they are after. A source for which there is no place is not answered.
//!
//! Places are in sets, chosen by a hash whose key peers do not know: nobody can choose whose places to take.
//!
//! # IRQL
//! Any.

use core::net::IpAddr;

/// Places that a source may take: those of one set.
const WAYS: usize = 8;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// One place of the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    source: Source,
    /// When the bucket is full again, in nanoseconds.
    full_at: u64,
}

/// What an address counts as: an IPv4 address, or the 64 bits of an IPv6 address that are a network's. Whoever has one address
/// of an IPv6 network has all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Source {
    bits: u64,
    v6: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The source has had as many as it may have.
    TooMany,
    /// Too many sources at once.
    NoPlace,
}

/// The rate of every source.
#[derive(Debug)]
pub struct Limiter<T> {
    places: T,
    key: [u64; 2],
    /// Nanoseconds in which one answer comes back.
    interval: u64,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self { bits: u64::from(v4.to_bits()), v6: false },
            IpAddr::V6(v6) => Self { bits: (v6.to_bits() >> 64) as u64, v6: true },
        }
    }
}

impl Source {
    /// A keyed hash: two rounds of multiplication and folding.
    fn hash(self, key: [u64; 2]) -> u64 {
        let [first, second] = key;
        let fold = |value: u64, by: u64| {
            let product = u128::from(value) * u128::from(by | 1);
            (product >> 64) as u64 ^ product as u64
        };
        fold(fold(self.bits ^ first, second) ^ u64::from(self.v6), first.rotate_left(32))
    }
}

impl<T: AsMut<[Place]>> Limiter<T> {
    /// A limiter to `rate` answers per second and source (at least 1), with these places, and a `key` that peers do not know.
    pub fn new(places: T, rate: u32, key: [u64; 2]) -> Self {
        Self { places, key, interval: (SECOND / u64::from(rate.max(1))).max(1) }
    }

    /// Asks for one answer to `source`. `now` is a time in nanoseconds that never goes back.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn admit(&mut self, source: IpAddr, now: u64) -> Result<(), Refused> {
        let source = Source::from(source);
        let interval = self.interval;
        let hash = source.hash(self.key);
        let place = self.place(source, hash, now).ok_or(Refused::NoPlace)?;
        let full_at = place.full_at.max(now).saturating_add(interval);
        if full_at - now > SECOND.max(interval) {
            return Err(Refused::TooMany);
        }
        *place = Place { source, full_at };
        Ok(())
    }

    /// The source's place, or one that may be forgotten.
    fn place(&mut self, source: Source, hash: u64, now: u64) -> Option<&mut Place> {
        let places = self.places.as_mut();
        let sets = (places.len() / WAYS).max(1) as u64;
        let set = places.chunks_mut(WAYS).nth((hash % sets) as usize)?;
        let known = set.iter().position(|place| place.source == source && place.full_at > now);
        let chosen = known.or_else(|| set.iter().position(|place| place.full_at <= now))?;
        set.get_mut(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::vec;
    use std::vec::Vec;

    const KEY: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];

    fn limiter(places: usize, rate: u32) -> Limiter<Vec<Place>> {
        Limiter::new(vec![Place::default(); places], rate, KEY)
    }

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_source_gets_a_second_s_worth_at_once_and_then_the_rate() {
        let mut limiter = limiter(64, 10);
        let start = 5 * SECOND;
        for number in 0..10 {
            assert_eq!(limiter.admit(v4(1), start + number), Ok(()), "{number}");
        }
        assert_eq!(limiter.admit(v4(1), start + 11), Err(Refused::TooMany));
        assert_eq!(limiter.admit(v4(2), start + 11), Ok(()), "another source pays for this one");
        assert_eq!(limiter.admit(v4(1), start + SECOND / 10 + 11), Ok(()));
        assert_eq!(limiter.admit(v4(1), start + SECOND / 10 + 12), Err(Refused::TooMany));
    }

    #[test]
    fn refused_questions_cost_the_source_nothing() {
        let mut limiter = limiter(64, 1);
        assert_eq!(limiter.admit(v4(1), SECOND), Ok(()));
        for number in 1..1000 {
            assert_eq!(limiter.admit(v4(1), SECOND + number * 1_000_000), Err(Refused::TooMany), "{number}");
        }
        assert_eq!(limiter.admit(v4(1), 2 * SECOND), Ok(()));
    }

    /// However many other names are used, the one source gets what the rate allows, and not one answer more.
    #[test]
    fn nobody_can_have_the_table_forget_a_source() {
        for rate in [1, 7, 100] {
            let mut limiter = limiter(256, rate);
            let mut random = fastrand::Rng::with_seed(u64::from(rate));
            let (victim, mut answered, mut now) = (v4(0x0a00_0001), 0_u64, SECOND);
            for _ in 0..200_000 {
                now += random.u64(0..20_000);
                let _ = limiter.admit(v4(random.u32(0x0b00_0000..)), now);
                answered += u64::from(limiter.admit(victim, now).is_ok());
            }
            let seconds = (now - SECOND) / SECOND + 1;
            assert!(answered <= u64::from(rate) * (seconds + 1), "{answered} answers in {seconds} s at {rate} per second");
            assert!(answered > 0, "the source was kept out");
        }
    }

    #[test]
    fn all_sources_together_get_no_more_than_the_places_allow() {
        let mut limiter = limiter(64, 5);
        let answered = (0..100_000).filter(|number| limiter.admit(v4(*number), SECOND).is_ok()).count();
        assert_eq!(answered, 64, "a place was taken twice in one instant");
        assert_eq!(limiter.admit(v4(1_000_000), SECOND), Err(Refused::NoPlace));
        assert_eq!(limiter.admit(v4(1_000_000), 2 * SECOND), Ok(()), "places are free again");
    }

    #[test]
    fn a_v6_network_and_the_v4_form_of_v6_are_one_source_each() {
        let mut limiter = limiter(64, 1);
        let (one, other): (Ipv6Addr, Ipv6Addr) = ("2001:db8::1".parse().expect("one"), "2001:db8::2".parse().expect("two"));
        assert_eq!(limiter.admit(one.into(), SECOND), Ok(()));
        assert_eq!(limiter.admit(other.into(), SECOND), Err(Refused::TooMany));
        assert_eq!(limiter.admit(v4(0xc000_0201), SECOND), Ok(()));
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().expect("mapped");
        assert_eq!(limiter.admit(mapped.into(), SECOND), Err(Refused::TooMany));
        let other: Ipv6Addr = "::ffff:192.0.2.2".parse().expect("mapped");
        assert_eq!(limiter.admit(other.into(), SECOND), Ok(()));
        // The low bits of an IPv6 network are no IPv4 address.
        assert_eq!(limiter.admit(Ipv6Addr::from_bits(0xc000_0202_u128 << 64).into(), SECOND), Ok(()));
    }

    #[test]
    fn the_ends_of_the_range_hold() {
        let mut fast = limiter(64, 10_000_000);
        let answered = (0..100).filter(|now| fast.admit(v4(1), SECOND + now * 100).is_ok()).count();
        assert_eq!(answered, 100);
        let mut none = limiter(0, 1);
        assert_eq!(none.admit(v4(1), SECOND), Err(Refused::NoPlace));
        let mut zero = limiter(8, 0);
        assert_eq!(zero.admit(v4(1), SECOND), Ok(()));
        assert_eq!(zero.admit(v4(1), SECOND), Err(Refused::TooMany));
    }

    /// Sources that follow one another are spread over the sets.
    #[test]
    fn neighbours_do_not_share_a_set() {
        let mut limiter = limiter(1024, 1);
        let answered = (0..256).filter(|number| limiter.admit(v4(0x0a00_0000 + number), SECOND).is_ok()).count();
        assert!(answered >= 250, "{answered} of 256 neighbours found a place among 1024");
    }
}

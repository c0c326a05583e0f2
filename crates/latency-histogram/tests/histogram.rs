//! The histogram against a list of all values, and against the `hdrhistogram` crate.

use std::sync::atomic::AtomicU64;

use hdrhistogram::Histogram as Reference;
use latency_histogram::{COUNTERS, Histogram, LARGEST, Summary};

type Ours = Histogram<Vec<AtomicU64>>;

const QUANTILES: [u32; 6] = [0, 500_000, 900_000, 990_000, 999_000, 1_000_000];

fn empty() -> Ours {
    Histogram::new((0..COUNTERS).map(|_| AtomicU64::new(0)).collect())
}

fn reference() -> Reference<u64> {
    Reference::new_with_bounds(1, LARGEST, 2).expect("bounds that it takes")
}

/// Values of every magnitude alike, most of them close together as latencies are.
fn values(random: &mut fastrand::Rng) -> Vec<u64> {
    let bits = random.u32(1..=36);
    let count = random.usize(1..3000);
    (0..count).map(|_| if random.u8(..) < 20 { random.u64(..) >> random.u32(28..64) } else { random.u64(..1 << bits) }).collect()
}

fn told(values: &[u64]) -> Summary<6> {
    let ours = empty();
    values.iter().for_each(|value| ours.record(*value));
    Summary::of(std::iter::once(&ours), QUANTILES)
}

#[test]
fn an_empty_histogram_tells_nothing() {
    assert_eq!(told(&[]), Summary::EMPTY);
}

#[test]
fn every_figure_is_that_of_the_values_within_the_promised_error() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..500 {
        let mut values = values(&mut random);
        let told = told(&values);
        values.sort_unstable();
        let (count, sum) = (values.len(), values.iter().sum::<u64>());
        assert_eq!((told.count, told.least, told.most), (count as u64, values[0], values[count - 1]));
        assert_eq!(told.mean, sum / count as u64);
        for (millionths, told) in QUANTILES.into_iter().zip(told.quantiles) {
            let rank = (count as u64 * u64::from(millionths)).div_ceil(1_000_000).max(1) as usize;
            let exact = values[rank - 1];
            assert!((exact..=exact + exact / 128).contains(&told), "quantile {millionths}: {told}, where it is {exact}");
        }
    }
}

#[test]
fn every_quantile_is_what_the_hdrhistogram_crate_says() {
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..500 {
        let values = values(&mut random);
        let mut reference = reference();
        values.iter().for_each(|value| reference.record(*value).expect("within its bounds"));
        let told = told(&values);
        // Of quantile 0 they tell the beginning of its counter, not the end.
        for (millionths, told_at) in QUANTILES.into_iter().zip(told.quantiles).skip(1) {
            // Theirs may lie beyond the largest value that there was.
            let theirs = reference.value_at_quantile(f64::from(millionths) / 1e6).clamp(told.least, told.most);
            assert_eq!(told_at, theirs, "quantile {millionths} of {} values", values.len());
        }
    }
}

#[test]
fn values_beyond_the_largest_are_counted_as_that() {
    let told = told(&[1, LARGEST, LARGEST + 1, 1 << 50]);
    assert_eq!((told.count, told.most), (4, 1 << 50));
    assert_eq!(told.quantiles[1], LARGEST);
}

#[test]
fn the_values_of_several_are_told_as_those_of_one() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..100 {
        let values = values(&mut random);
        let parts = [empty(), empty(), empty()];
        values.iter().for_each(|value| parts[random.usize(..3)].record(*value));
        assert_eq!(Summary::of(parts.iter(), QUANTILES), told(&values));
    }
}

#[test]
fn a_histogram_without_counters_counts_nothing_and_stays_whole() {
    let none = Histogram::new(Vec::<AtomicU64>::new());
    none.record(5);
    assert_eq!(Summary::of(std::iter::once(&none), QUANTILES), Summary::EMPTY);
}

#[test]
fn what_is_read_while_others_record_is_never_out_of_bounds() {
    let ours = empty();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let ours = &ours;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                (0..200_000).for_each(|_| ours.record(random.u64(100..10_000)));
            });
        }
        let mut before = 0;
        for _ in 0..50 {
            let told = Summary::of(std::iter::once(&ours), QUANTILES);
            assert!(told.count >= before);
            before = told.count;
            assert!(told.count == 0 || told.quantiles.iter().all(|value| (100..10_000).contains(value)), "{told:?}");
            assert!(told.quantiles.is_sorted());
        }
    });
    assert_eq!(Summary::of(std::iter::once(&ours), QUANTILES).count, 400_000);
}

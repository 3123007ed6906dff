//! What the rounds prove: intervals for the ratio of two strategies, all of which hold at once.
//!
//! Within a round the order of the strategies is drawn by lot, and each starts anew. If two of them
//! are alike, what one gave in a round could as well have come from the other: every way of
//! swapping the two, round by round, is equally likely. So the signs of the differences are flipped
//! in all ways (or in many ways, by lot), and what was seen is compared with what that brings. The
//! statistic is Wilcoxon's signed rank sum (1945), on which one bad round has little hold. Of all
//! quantities that are compared, the greatest sum of each flip counts (Westfall and Young 1993), so
//! that looking at many quantities does not make a find more likely. The interval is the set of
//! ratios that would not be rejected (Hodges and Lehmann 1963).

/// Up to this many rounds all flips are tried: 2^15 with the mirrored half left out.
const ALL_FLIPS: usize = 16;

/// How many flips are drawn where all are too many.
const DRAWN_FLIPS: usize = 20_000;

/// What a logarithm of a ratio is between, and its most likely value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) low: f64,
    pub(super) estimate: f64,
    pub(super) high: f64,
}

/// The intervals of several quantities, each given by its differences in the rounds. If there is no
/// difference in any of them, the probability that an interval leaves out zero is at most `alpha`
/// for all of them together.
///
/// Too few rounds give intervals without ends.
pub(super) fn intervals(
    differences: &[Vec<f64>],
    alpha: f64,
    random: &mut Random,
) -> Vec<Interval> {
    let Some(rounds) = differences.first().map(Vec::len) else { return Vec::new() };
    debug_assert!(differences.iter().all(|d| d.len() == rounds), "each has a value for each round");
    let ranks: Vec<Vec<f64>> = differences.iter().map(|d| signed_ranks(d)).collect();
    let critical = critical_sum(&ranks, rounds, alpha, random);
    differences.iter().map(|d| interval(d, critical)).collect()
}

/// How many rounds it takes before a difference of `quantities` can be told at all.
pub(super) fn least_rounds(quantities: usize, alpha: f64) -> usize {
    // In the worst case each quantity has two flips of its own that bring the greatest sum.
    let share = |rounds: i32| 2.0 * quantities as f64 / 2f64.powi(rounds);
    (2..60).find(|rounds| share(*rounds) <= alpha).unwrap_or(60) as usize
}

/// The sum from which on a difference counts. `None` if there are too few rounds for any.
fn critical_sum(ranks: &[Vec<f64>], rounds: usize, alpha: f64, random: &mut Random) -> Option<f64> {
    let (mut greatest, allowed) = if rounds <= ALL_FLIPS {
        let greatest = all_flips(ranks, rounds);
        let allowed = (alpha * greatest.len() as f64) as usize;
        (greatest, allowed)
    } else {
        let greatest = drawn_flips(ranks, random);
        // What was seen counts as one flip more, or the level would not be held.
        let allowed = (alpha * (greatest.len() + 1) as f64) as usize;
        (greatest, allowed.saturating_sub(1))
    };
    greatest.sort_by(|a, b| b.total_cmp(a));
    // The smallest sum that at most `allowed` flips reach.
    let beyond = greatest.get(allowed).copied().unwrap_or(0.0);
    greatest[..allowed.min(greatest.len())].iter().rev().copied().find(|sum| *sum > beyond)
}

/// The greatest sum of each flip. Half of the flips mirror the others, and are left out.
fn all_flips(ranks: &[Vec<f64>], rounds: usize) -> Vec<f64> {
    let mut sums: Vec<f64> = ranks.iter().map(|r| r.iter().sum()).collect();
    let mut signs = vec![1.0; rounds];
    let n: usize = 1 << (rounds - 1);
    let mut greatest = Vec::with_capacity(n);
    // A Gray code: each step flips one sign.
    for step in 1..=n {
        greatest.push(sums.iter().fold(0.0, |most: f64, sum| most.max(sum.abs())));
        let at = (step.trailing_zeros() as usize).min(rounds - 1);
        signs[at] = -signs[at];
        for (sum, ranks) in sums.iter_mut().zip(ranks) {
            *sum += 2.0 * signs[at] * ranks[at];
        }
    }
    greatest
}

fn drawn_flips(ranks: &[Vec<f64>], random: &mut Random) -> Vec<f64> {
    let rounds = ranks.first().map_or(0, Vec::len);
    let one = |random: &mut Random| {
        // A sign for each round, the same for all quantities.
        let signs: Vec<u64> = (0..rounds.div_ceil(64)).map(|_| random.next()).collect();
        let is_flipped = |round: usize| signs[round / 64] >> (round % 64) & 1 == 1;
        let sum = |ranks: &Vec<f64>| -> f64 {
            let flipped = |(round, rank): (usize, &f64)| match is_flipped(round) {
                true => -rank,
                false => *rank,
            };
            ranks.iter().enumerate().map(flipped).sum()
        };
        ranks.iter().map(sum).fold(0.0, |most: f64, sum| most.max(sum.abs()))
    };
    (0..DRAWN_FLIPS).map(|_| one(random)).collect()
}

/// The rank of each difference by its size, with its sign; equal ones share their ranks, and none
/// at all has no sign (Pratt 1959).
fn signed_ranks(differences: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..differences.len()).collect();
    order.sort_by(|a, b| differences[*a].abs().total_cmp(&differences[*b].abs()));
    let mut ranks = vec![0.0; differences.len()];
    let same_size = |a: &usize, b: &usize| differences[*a].abs() == differences[*b].abs();
    let mut before = 0;
    for equal in order.chunk_by(same_size) {
        let shared = before as f64 + (equal.len() + 1) as f64 / 2.0;
        for at in equal.iter().filter(|at| differences[**at] != 0.0) {
            ranks[*at] = shared.copysign(differences[*at]);
        }
        before += equal.len();
    }
    ranks
}

/// The differences that the critical sum would not reject, by the means of all pairs of rounds.
fn interval(differences: &[f64], critical: Option<f64>) -> Interval {
    let mut means: Vec<f64> = Vec::new();
    for (at, a) in differences.iter().enumerate() {
        means.extend(differences[at..].iter().map(|b| (a + b) / 2.0));
    }
    means.sort_by(f64::total_cmp);
    let n = means.len();
    let estimate = (means[(n - 1) / 2] + means[n / 2]) / 2.0;
    let none = Interval { low: f64::NEG_INFINITY, estimate, high: f64::INFINITY };
    let Some(critical) = critical else { return none };
    // A sum below the critical one: fewer than so many means on one side.
    let most = (((n as f64 + critical) / 2.0).ceil() as usize).saturating_sub(1);
    if most >= n {
        return none;
    }
    Interval { low: means[n - most - 1], estimate, high: means[most] }
}

/// A stream of numbers from a seed: splitmix64 (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Puts a list into an order drawn by lot.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            // The bias of the remainder is below 2^-50 for any list that fits here.
            list.swap(end, (self.next() % (end as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(differences: &[f64], alpha: f64) -> Interval {
        intervals(&[differences.to_vec()], alpha, &mut Random::new(1))[0]
    }

    #[test]
    fn ranks_are_shared_by_equals_and_zeros_have_none() {
        assert_eq!(signed_ranks(&[0.3, -0.1, 0.1, 0.0]), [4.0, -2.5, 2.5, 0.0]);
    }

    /// The critical values of the tables: for 8 pairs at 0.05 the lesser sum must be at most 3, for
    /// 10 at most 8, for 15 at most 25 (Wilcoxon 1945; Lehmann 1975, table H).
    #[test]
    fn the_critical_values_are_those_of_the_tables() {
        for (rounds, lesser) in [(8, 3.0), (10, 8.0), (15, 25.0)] {
            let ranks = vec![(1..=rounds).map(|n| n as f64).collect::<Vec<_>>()];
            let total = (rounds * (rounds + 1) / 2) as f64;
            let critical = critical_sum(&ranks, rounds, 0.05, &mut Random::new(1));
            assert_eq!(critical, Some(total - 2.0 * lesser), "{rounds} rounds");
        }
    }

    #[test]
    fn drawn_flips_come_near_to_all_of_them() {
        let ranks = vec![(1..=25).map(f64::from).collect::<Vec<_>>()];
        // For 25 pairs at 0.05 the lesser sum must be at most 89.
        let critical = critical_sum(&ranks, 25, 0.05, &mut Random::new(7)).unwrap();
        assert!((critical - (325.0 - 2.0 * 89.0)).abs() <= 6.0, "{critical}");
    }

    #[test]
    fn the_interval_leaves_out_zero_exactly_if_the_sum_is_critical() {
        let mut random = Random::new(3);
        for _ in 0..300 {
            let rounds = 9;
            let shift = (random.next() % 100) as f64 / 50.0;
            let differences: Vec<f64> = (0..rounds)
                .map(|_| (random.next() % 1_000_003) as f64 / 250_000.0 - 2.0 + shift)
                .collect();
            let ranks = vec![signed_ranks(&differences)];
            let critical = critical_sum(&ranks, rounds, 0.05, &mut random).unwrap();
            let is_critical = ranks[0].iter().sum::<f64>().abs() >= critical;
            let interval = interval(&differences, Some(critical));
            let leaves_out = interval.low > 0.0 || interval.high < 0.0;
            assert_eq!(is_critical, leaves_out, "{differences:?} {interval:?}");
        }
    }

    #[test]
    fn one_bad_round_does_not_hide_a_difference() {
        let mut differences = vec![0.14; 14];
        differences.iter_mut().zip(0..).for_each(|(d, n)| *d += f64::from(n) * 0.001);
        differences.push(-1.2);
        let interval = one(&differences, 0.01);
        assert!(interval.low > 0.0 && interval.high < 0.2, "{interval:?}");
    }

    #[test]
    fn too_few_rounds_say_nothing() {
        let interval = one(&[0.5; 5], 0.01);
        assert_eq!((interval.low, interval.high), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(least_rounds(1, 0.01), 8);
        assert!(one(&[0.5; 8], 0.01).low > 0.4);
    }

    #[test]
    fn looking_at_more_widens_the_intervals() {
        let mut random = Random::new(5);
        let mut noise = || -> Vec<f64> {
            (0..14).map(|_| (random.next() % 1001) as f64 / 1000.0 - 0.5).collect()
        };
        let many: Vec<_> = (0..12).map(|_| noise()).collect();
        let alone = one(&many[0], 0.05);
        let among = intervals(&many, 0.05, &mut Random::new(1))[0];
        assert!(among.low <= alone.low && among.high >= alone.high);
        assert!(among.high - among.low > alone.high - alone.low);
    }

    #[test]
    fn a_shuffle_keeps_everything() {
        let mut list: Vec<u32> = (0..20).collect();
        Random::new(9).shuffle(&mut list);
        assert_ne!(list, (0..20).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..20).collect::<Vec<_>>());
    }
}

//! A random choice that a seed repeats.

/// Chooses `size` of the numbers below `total`, or all of them if fewer, in ascending order.
pub(super) fn choose(total: usize, size: usize, seed: u64) -> Vec<usize> {
    let mut rng = SplitMix64(seed);
    let mut numbers: Vec<usize> = (0..total).collect();
    let size = size.min(total);
    // The first steps of a Fisher-Yates shuffle.
    for at in 0..size {
        numbers.swap(at, at + rng.below(total - at));
    }
    numbers.truncate(size);
    numbers.sort_unstable();
    numbers
}

/// Generator of pseudo-random numbers: SplitMix64 (Steele, Lea, Flood 2014), short, and good for
/// any seed.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`; the bias is negligible for counts of mutants.
    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        usize::try_from(self.next() % limit.max(1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // The reference implementation, https://prng.di.unimi.it/splitmix64.c, for seed 1234567.
        let mut rng = SplitMix64(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_seed_repeats_its_choice() {
        let choice = choose(1000, 50, 7);
        assert_eq!(choice, choose(1000, 50, 7));
        assert_ne!(choice, choose(1000, 50, 8));
        assert_eq!(choice.len(), 50);
        assert!(choice.is_sorted_by(|a, b| a < b), "each number once");
        assert!(choice.iter().all(|&number| number < 1000));
    }

    #[test]
    fn a_large_sample_is_all() {
        assert_eq!(choose(4, 9, 1), [0, 1, 2, 3]);
        assert!(choose(0, 9, 1).is_empty());
    }
}

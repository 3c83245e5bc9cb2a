//! Random numbers from a seed: the same seed gives the same arrivals to every arm of a run.
//!
//! INVARIANT: nothing here is secret, and nothing draws from anywhere but its seed.

/// A counter whose scrambled values are the draws.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) const fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    /// Any of 2⁶⁴ values, each as likely as another.
    fn bits(&mut self) -> u64 {
        // The golden ratio as a step visits all states; two rounds of shift and multiply make neighbours differ in half
        // of their bits.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let once = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        twice ^ (twice >> 31)
    }

    /// From zero up to, but without, one.
    pub(crate) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How long until the next arrival of a Poisson process of that many a second.
    pub(crate) fn gap_s(&mut self, per_second: f64) -> f64 {
        -(1.0 - self.share()).ln() / per_second.max(f64::MIN_POSITIVE)
    }

    /// A place in a list of weights, as often as its weight says.
    pub(crate) fn place(&mut self, weights: &[f64]) -> usize {
        let mut left = self.share() * weights.iter().sum::<f64>();
        for (place, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return place;
            }
        }
        weights.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn arrivals_have_the_mean_and_the_spread_of_a_poisson_process() {
        let mut dice = Dice::new(7);
        let gaps: Vec<f64> = (0..100_000).map(|_| dice.gap_s(300.0)).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((mean * 300.0 - 1.0).abs() < 0.02, "{mean}");
        // The deviation of exponential gaps is their mean.
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{variance}");
        assert!(gaps.iter().all(|gap| gap.is_finite() && *gap >= 0.0));
    }

    #[test]
    fn a_place_comes_as_often_as_its_weight_says() {
        let mut dice = Dice::new(1);
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            counts[dice.place(&[1.0, 0.0, 2.0])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((f64::from(counts[2]) / 20_000.0 - 1.0).abs() < 0.02, "{counts:?}");
    }

    #[test]
    fn equal_seeds_give_equal_draws_and_others_do_not() {
        let draw = |seed| (0..10).map(|_| Dice::new(seed).share()).collect::<Vec<_>>();
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}

//! Random choices that repeat: a seed gives the same row everywhere.

/// SplitMix64: every seed, zero too, gives a row of its own.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least zero, and less than one.
    pub fn unit(&mut self) -> f64 {
        (self.any() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn chance(&mut self, of: f64) -> bool {
        self.unit() < of
    }

    /// Below a bound, which is not zero.
    pub const fn below(&mut self, bound: usize) -> usize {
        (self.any() % bound as u64) as usize
    }

    /// The time to the next of events that have nothing to do with each other.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// The place in a list of weights that sum up to one.
    pub fn weighted(&mut self, weights: impl IntoIterator<Item = f64>) -> usize {
        let mut left = self.unit();
        let mut at = 0;
        for (place, weight) in weights.into_iter().enumerate() {
            at = place;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        at
    }
}

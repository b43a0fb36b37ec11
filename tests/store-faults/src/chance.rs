//! Numbers that look random and are the same for the same seed.

/// A sequence of numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is more than none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).expect("it is below a usize")
    }

    /// `true` once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The seed of a test, which is printed; `TREEWARDEN_SEED` sets another.
pub fn seed() -> u64 {
    let set = std::env::var("TREEWARDEN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = set.unwrap_or(20_261_130);
    #[expect(clippy::print_stdout, reason = "whoever sees a red test must be able to run it again")]
    {
        println!("seed {seed}; another by TREEWARDEN_SEED");
    }
    seed
}

//! Random worlds and ways through them, by number.

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Less than `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A random world and a way through it: its knobs, and less than so many choices.
pub fn roll(seed: u64, knobs: usize, steps: u64) -> (Vec<u8>, Vec<u32>) {
    let mut dice = Dice::new(seed);
    let knobs = (0..knobs).map(|_| dice.roll(256) as u8).collect();
    let choices = (0..dice.roll(steps)).map(|_| dice.roll(1 << 32) as u32).collect();
    (knobs, choices)
}

//! Bytes as a source of decisions, and sources of bytes.

/// Reads decisions off an input; nothing is refused, so that every input is a test.
#[derive(Debug)]
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte, if there is one.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next byte; zero after the end.
    pub(crate) fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// Chooses one of a few.
    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[usize::from(self.byte()) % N]
    }

    /// A time in microseconds: mostly a few, sometimes none, very many or all there are.
    pub(crate) fn micros(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=239 => u64::from(byte % 24),
            byte @ 240..=254 => 1 << (4 * (byte - 240) + 7),
            255 => u64::MAX,
        }
    }

    /// A time, or none at all, half of the time.
    pub(crate) fn perhaps_micros(&mut self) -> Option<u64> {
        (self.byte() % 2 == 1).then(|| self.micros())
    }

    /// The next few bytes, or as many as there are.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A short text: as many bytes as a byte says, and what is no UTF-8 in them replaced.
    pub(crate) fn text(&mut self) -> String {
        let most = usize::from(self.byte() % 40);
        String::from_utf8_lossy(self.take(most)).into_owned()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Numbers that look random and are the same in every run (splitmix64).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// An input of up to `longest` bytes.
    pub(crate) fn bytes(&mut self, longest: u64) -> Vec<u8> {
        let len = self.roll() % longest + 1;
        (0..len).map(|_| self.roll().to_le_bytes()[0]).collect()
    }

    /// One of the inputs with a few of its bytes changed, and perhaps the end of another.
    pub(crate) fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let one = |dice: &mut Self| inputs[dice.below(inputs.len())].clone();
        let mut input = one(self);
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            if let Some(byte) = input.get_mut(at) {
                *byte = self.roll().to_le_bytes()[0];
            }
        }
        if self.below(2) == 0 {
            let other = one(self);
            input.truncate(self.below(input.len()));
            input.extend_from_slice(&other[self.below(other.len())..]);
        }
        input
    }

    /// A number below another; zero below zero.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() >> 1)
            .expect("63 bits")
            .checked_rem(limit)
            .unwrap_or(0)
    }
}

/// Reads inputs in hexadecimal, one a line; what begins with `#` is a remark.
pub(crate) fn from_hex(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digit = |digit: u8| u8::try_from((digit as char).to_digit(16).expect("a digit")).expect("four bits");
    lines
        .map(|line| {
            line.as_bytes()
                .chunks(2)
                .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
                .collect()
        })
        .collect()
}

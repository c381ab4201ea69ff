//! sha256 sums and lowercase hex, which name content in the cache and in registries.

use std::io;

use ring::digest::{Context, SHA256};

/// The sha256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
}

/// The sha256 of some bytes, as lowercase hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

/// Bytes as lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// Whether a text is a sha256 as [`sha256_hex`] writes it.
pub fn is_sha256_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A sha256 of bytes that come piece by piece.
#[derive(Clone)]
pub struct Sha256(Context);

impl Sha256 {
    /// The hash of no bytes yet.
    #[expect(
        clippy::new_without_default,
        reason = "a hash of nothing is no useful default"
    )]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// The sha256 of all bytes.
    ///
    /// # Panics
    /// Never: a sha256 has 32 bytes.
    pub fn finish(self) -> [u8; 32] {
        let digest = self.0.finish();
        let bytes = digest.as_ref().try_into();
        bytes.expect("a sha256 must have 32 bytes")
    }
}

/// Adds the bytes that are written, for example by [`io::copy`].
impl io::Write for Sha256 {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_digest_of_abc_is_the_one_in_the_standard() {
        assert_eq!(sha256_hex(b"abc"), ABC);
        let mut pieces = Sha256::new();
        pieces.update("a");
        pieces.update(b"bc");
        assert_eq!(hex(&pieces.finish()), ABC);
    }

    #[test]
    fn only_64_lowercase_digits_are_a_sha256() {
        assert!(is_sha256_hex(ABC));
        for text in ["", "abc", &ABC.to_uppercase(), &ABC.replace('b', "g")] {
            assert!(!is_sha256_hex(text), "{text}");
        }
    }
}

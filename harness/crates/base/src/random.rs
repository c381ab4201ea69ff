//! Random digits, for names that must not meet.

use std::{
    fs::File,
    hash::{BuildHasher, RandomState},
    io::Read,
};

use crate::digest;

/// As many random bytes of the system's source, in hex.
pub fn hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    let source = File::open("/dev/urandom");
    if source
        .and_then(|mut file| file.read_exact(&mut random))
        .is_err()
    {
        // A bare chroot has no /dev. The system seeds std's hashers too, each with another number.
        random.fill_with(|| RandomState::new().hash_one(()).to_le_bytes()[0]);
    }
    digest::hex(&random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let (one, other) = (hex(8), hex(8));
        assert_eq!((one.len(), other.len()), (16, 16));
        assert_ne!(one, other);
    }
}

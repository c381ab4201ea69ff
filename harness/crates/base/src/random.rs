//! Random hex digits, for names that must not collide.

use std::{
    fs::File,
    hash::{BuildHasher, RandomState},
    io::Read,
};

use crate::digest;

/// This many random bytes from the system, in hex.
pub fn hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    let source = File::open("/dev/urandom");
    if source
        .and_then(|mut file| file.read_exact(&mut random))
        .is_err()
    {
        // A bare chroot has no /dev. The system also seeds std's hashers, each differently.
        random.fill_with(|| RandomState::new().hash_one(()).to_le_bytes()[0]);
    }
    digest::hex(&random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_random_texts_differ() {
        let (one, other) = (hex(8), hex(8));
        assert_eq!((one.len(), other.len()), (16, 16));
        assert_ne!(one, other);
    }
}

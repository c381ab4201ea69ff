//! Reads the end of a test's log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The end of a file that another process may be writing; empty if the file cannot be read.
pub(crate) fn tail(path: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(text)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_tail_is_cut_at_bytes_not_at_characters() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "one\ntwö\n").unwrap();
        assert_eq!(tail(file.path(), 100), "one\ntwö\n");
        assert_eq!(tail(file.path(), 2), "\u{fffd}\n");
        assert_eq!(tail(Path::new("/nonexistent"), 2), "");
    }
}

//! Text that is not plain UTF-8: compressed by gzip, or UTF-16 as PowerShell writes it.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// Decodes a stream whose first bytes name a known encoding; returns the text and the encoding.
pub(super) fn open_text<'a>(
    mut stream: impl BufRead + 'a,
) -> io::Result<(Box<dyn BufRead + 'a>, Option<&'static str>)> {
    let head = stream.fill_buf()?;
    if head.starts_with(b"\x1f\x8b") {
        let text = MultiGzDecoder::new(stream);
        return Ok((
            Box::new(BufReader::with_capacity(64 << 10, text)),
            Some("gzip"),
        ));
    }
    Ok(match utf16(head) {
        Some(order) => {
            let text = Utf16::new(stream, order);
            (
                Box::new(BufReader::with_capacity(64 << 10, text)),
                Some("UTF-16"),
            )
        }
        None => (Box::new(stream), None),
    })
}

/// Byte order of a UTF-16 unit.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Order {
    Little,
    Big,
}

/// The byte order, if this is UTF-16: by its byte order mark, else by the zeros that are every
/// other byte of a text in a western language.
fn utf16(head: &[u8]) -> Option<Order> {
    match head {
        [0xff, 0xfe, ..] => return Some(Order::Little),
        [0xfe, 0xff, ..] => return Some(Order::Big),
        _ => {}
    }
    let head = &head[..head.len().min(512) & !1];
    if head.len() < 16 {
        return None;
    }
    let zeros = |from: usize| {
        head.iter()
            .skip(from)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let (even, odd, half) = (zeros(0), zeros(1), head.len() / 2);
    if even == 0 && odd * 10 > half * 9 {
        return Some(Order::Little);
    }
    (odd == 0 && even * 10 > half * 9).then_some(Order::Big)
}

/// Reads UTF-16 as UTF-8.
struct Utf16<R> {
    stream: R,
    order: Order,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    /// Decoded text that has not been read yet.
    text: Vec<u8>,
    read: usize,
}

impl<R: BufRead> Utf16<R> {
    fn new(stream: R, order: Order) -> Self {
        Self {
            stream,
            order,
            high: None,
            text: Vec::new(),
            read: 0,
        }
    }

    /// Decodes the next part; the stream is at its end if the text is empty.
    fn decode(&mut self) -> io::Result<()> {
        self.text.clear();
        self.read = 0;
        let mut bytes = [0; 8 << 10];
        let mut fill_text = 0;
        while fill_text < bytes.len() {
            match self.stream.read(&mut bytes[fill_text..])? {
                0 => break,
                count => fill_text += count,
            }
        }
        let units = bytes[..fill_text]
            .chunks_exact(2)
            .map(|pair| match self.order {
                Order::Little => u16::from_le_bytes([pair[0], pair[1]]),
                Order::Big => u16::from_be_bytes([pair[0], pair[1]]),
            });
        let mut units: Vec<u16> = self.high.take().into_iter().chain(units).collect();
        if fill_text == bytes.len() {
            self.high = units.pop_if(|last| (0xd800..0xdc00).contains(last));
        }
        let text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        self.text.extend(text.collect::<String>().into_bytes());
        Ok(())
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.text.len() {
            self.decode()?;
        }
        let left = &self.text[self.read..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> (String, Option<&'static str>) {
        let (mut stream, kept) = open_text(bytes).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        (text, kept)
    }

    #[test]
    fn utf16_is_read_in_both_orders_with_and_without_a_mark() {
        let long = "é\u{1f600}".repeat(20_000) + "\nthe end of a text\n";
        for said in ["a plain text of some length\n", &long] {
            let units: Vec<u16> = said.encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            for (mark, bytes) in [([0xff, 0xfe], &little), ([0xfe, 0xff], &big)] {
                let marked = [&mark[..], bytes].concat();
                assert_eq!(text(&marked), (format!("\u{feff}{said}"), Some("UTF-16")));
                if said.is_ascii() {
                    assert_eq!(text(bytes), (said.to_owned(), Some("UTF-16")));
                }
            }
        }
    }

    #[test]
    fn other_bytes_are_left_alone() {
        for bytes in [
            &b""[..],
            b"a",
            b"plain text\n",
            &[0; 64],
            b"\x7fELF\0\0\0\0",
        ] {
            let (mut stream, kept) = open_text(bytes).unwrap();
            let mut read = Vec::new();
            stream.read_to_end(&mut read).unwrap();
            assert_eq!((&read[..], kept), (bytes, None));
        }
    }
}

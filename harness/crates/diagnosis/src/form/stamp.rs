//! Headers that begin with a time in digits: CI services, `docker logs -t`, `kubectl logs
//! --timestamps`, log files of containers, journals and Go's own logs.

use super::{
    Header, container, journal,
    scan::{Iso, count_digits, fits, iso, spaces},
};

/// The header of a line that begins with a digit.
pub(super) fn header(rest: &str) -> Option<Header<'_>> {
    if let Some(iso) = iso(rest) {
        return header_after_iso(rest, &iso);
    }
    let bytes = rest.as_bytes();
    if let Some(length) = clock(bytes) {
        return Some(Header::relay(
            length + spaces(&bytes[length..]).min(2),
            &rest[..length],
        ));
    }
    // Seconds since 1970, as in journalctl's short-unix format.
    let seconds = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let fraction = count_digits(bytes.get(seconds + 1..)?);
    (seconds == 10 && bytes[seconds] == b'.' && fraction == 6)
        .then(|| journal::header_after_time(rest, seconds + 7, true))
        .flatten()
}

fn header_after_iso<'a>(rest: &'a str, iso: &Iso) -> Option<Header<'a>> {
    let time = &rest[..iso.length];
    let behind = &rest[iso.length..];
    let gap = behind.bytes().next();
    if gap.is_none() {
        return Some(Header::relay(iso.length, time));
    }
    if gap != Some(b' ') && gap != Some(b'\t') {
        return None;
    }
    let behind = &behind[1..];
    if let Some(header) = container::stream(rest, iso.length) {
        return Some(header);
    }
    // A journal writes its zone as an offset, and at most microseconds.
    let of_journal = iso.zoned && !iso.zulu && iso.digits <= 6;
    if let Some(header) = journal::header_after_time(rest, iso.length, of_journal) {
        return Some(header);
    }
    let mark = stream_mark(behind);
    let marked = mark.map_or(0, |mark| mark.0);
    let level = level(&behind[marked..]);
    Some(Header {
        continues: mark.map(|mark| mark.1),
        ..Header::relay(iso.length + 1 + marked + level, time)
    })
}

/// The length of GitLab's stream mark after its timestamp (`00O `, `01E+`), and whether it has a
/// plus: the line continues the previous one.
fn stream_mark(rest: &str) -> Option<(usize, bool)> {
    let bytes = rest.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let stream = matches!(bytes.get(2), Some(b'O' | b'E'));
    let mark = bytes.get(3).copied();
    (hex(0) && hex(1) && stream && matches!(mark, None | Some(b' ' | b'+')))
        .then_some((bytes.len().min(4), mark == Some(b'+')))
}

/// A level in a column of its own: zap's (`ERROR<tab>`) or that of etcd before 3.4 (`E | `).
fn level(rest: &str) -> usize {
    let words = ["DEBUG\t", "INFO\t", "WARN\t", "ERROR\t", "FATAL\t"];
    let letters = ["D | ", "I | ", "N | ", "W | ", "E | ", "C | "];
    let mut levels = words.iter().chain(&letters);
    levels
        .find(|level| rest.starts_with(**level))
        .map_or(0, |level| level.len())
}

/// A time of the day before a space: Jenkins' `10:10:29  `, GitLab's `00:01 `.
fn clock(bytes: &[u8]) -> Option<usize> {
    let mut length = if fits(bytes, b"dd:dd:dd") {
        8
    } else if fits(bytes, b"dd:dd ") {
        5
    } else {
        return None;
    };
    if length == 8 && matches!(bytes.get(8), Some(b'.' | b',')) {
        length += 1 + count_digits(&bytes[9..]);
    }
    matches!(bytes.get(length), None | Some(b' ')).then_some(length)
}

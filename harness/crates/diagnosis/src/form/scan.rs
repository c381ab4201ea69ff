//! Scans the parts of headers: digits, spaces, and times with dates.

/// A time such as `2026-11-29T10:10:29.123Z`, `2026-11-29 10:10:29,123` or `2026/11/29 10:10:29`.
pub(super) struct Iso {
    pub(super) length: usize,
    /// Digits of the fraction.
    pub(super) digits: usize,
    /// It ends in `Z`, for UTC.
    pub(super) zulu: bool,
    /// It has a time zone.
    pub(super) zoned: bool,
}

/// Date and time at the start of a text.
pub(super) fn iso(text: &str) -> Option<Iso> {
    let bytes = text.as_bytes();
    let mark = *bytes.get(4)?;
    if !fits(bytes, b"dddd?dd?dd?dd:dd:dd")
        || !matches!(mark, b'-' | b'/')
        || bytes[7] != mark
        || !matches!(bytes[10], b'T' | b' ')
    {
        return None;
    }
    let mut length = 19;
    let digits = match bytes.get(length) {
        Some(b'.' | b',') => count_digits(&bytes[length + 1..]),
        _ => 0,
    };
    if digits > 0 {
        length += 1 + digits;
    }
    let zone = &bytes[length..];
    let zulu = zone.first() == Some(&b'Z');
    let offset = [&b"?dd:dd"[..], b"?dddd"]
        .into_iter()
        .find(|form| fits(zone, form) && matches!(zone[0], b'+' | b'-'))
        .map_or(0, <[u8]>::len);
    // A date with `T` counts only with a zone: other texts look similar.
    if bytes[10] == b'T' && !zulu && offset == 0 {
        return None;
    }
    Some(Iso {
        length: length + usize::from(zulu).max(offset),
        digits,
        zulu,
        zoned: zulu || offset > 0,
    })
}

/// Whether a text starts with this form: `d` is a digit, `?` any character, all else itself.
pub(super) fn fits(bytes: &[u8], form: &[u8]) -> bool {
    bytes.len() >= form.len()
        && form.iter().zip(bytes).all(|(form, byte)| match form {
            b'd' => byte.is_ascii_digit(),
            b'?' => byte.is_ascii(),
            _ => form == byte,
        })
}

pub(super) fn count_digits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

pub(super) fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == b' ').count()
}

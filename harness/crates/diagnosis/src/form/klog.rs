//! Kubernetes' own header: `E1129 10:10:29.123456    4711 file.go:12] `.

use std::sync::LazyLock;

use regex::Regex;

use super::Header;
use crate::clean::compile;

static KLOG: LazyLock<Regex> = LazyLock::new(|| {
    compile(r"^[IWEF](?<time>[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]+) +[0-9]+ [^ \]]+\](?: |$)")
});

pub(super) fn header(rest: &str) -> Option<Header<'_>> {
    if !rest.as_bytes().get(1)?.is_ascii_digit() {
        return None;
    }
    let found = KLOG.captures(rest)?;
    Some(Header {
        time: found.name("time").map(|time| time.as_str()),
        ..Header::of(found[0].len())
    })
}

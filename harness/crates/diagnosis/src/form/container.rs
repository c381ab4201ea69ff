//! Headers of container output: the CRI's log files, `kubectl logs --prefix`, stern, compose.

use std::sync::LazyLock;

use regex::Regex;

use super::{Header, scan::spaces};
use crate::{Speaker, clean::compile};

/// The prefix of `kubectl logs --prefix`: pod and container.
static PREFIX: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^\[pod/[a-z0-9.-]+/[a-z0-9.-]+\](?: |$)"));
/// stern's prefix: pod and container. A pod's name ends in the API's random letters or in the name
/// of its node.
static STERN: LazyLock<Regex> = LazyLock::new(|| {
    compile(concat!(
        r"^(?:[a-z0-9][a-z0-9.-]*-[bcdfghjklmnpqrstvwxz2456789]{5}|(?:etcd|kube-[a-z-]+)-[a-z0-9.-]+) ",
        r"(?:[a-z0-9][a-z0-9-]*) (?:[|│] )?"
    ))
});
/// The prefix of Go's test log: file and line of the call.
static GO_TEST: LazyLock<Regex> = LazyLock::new(|| compile(r"^[A-Za-z0-9_]+_test\.go:[0-9]+: "));
/// Maximum bytes of the name of a service.
const NAME: usize = 80;

/// `<time> stderr F `: a container's output in the CRI's log files.
pub(super) fn stream(rest: &str, time: usize) -> Option<Header<'_>> {
    let behind = &rest[time..];
    let length = [" stdout ", " stderr "]
        .iter()
        .find(|stream| behind.starts_with(**stream))?
        .len();
    let mark = behind.as_bytes().get(length)?;
    let end = behind.as_bytes().get(length + 1);
    (matches!(mark, b'F' | b'P') && matches!(end, None | Some(b' '))).then(|| Header {
        time: Some(&rest[..time]),
        source: Some(Speaker::Pod),
        ..Header::of(time + length + 1 + usize::from(end.is_some()))
    })
}

/// `[pod/coredns-5d78c9869d-bx7kf/coredns] `.
pub(super) fn prefixed_header(rest: &str) -> Option<Header<'_>> {
    rest.starts_with("[pod/").then(|| {
        Some(Header {
            source: Some(Speaker::Pod),
            ..Header::of(PREFIX.find(rest)?.len())
        })
    })?
}

/// Headers that begin with the name of a service, pod or file.
pub(super) fn header(rest: &str) -> Option<Header<'_>> {
    let name = rest.bytes().take(NAME).position(|byte| byte == b' ')?;
    let bytes = rest.as_bytes();
    match bytes[name - usize::from(name > 0)] {
        // `main_test.go:12: `
        b':' => GO_TEST.find(rest).map(|found| Header::of(found.len())),
        _ if bytes.get(name + 1) == Some(&b' ') => compose(rest, name),
        _ if bytes[0].is_ascii_lowercase() && bytes[..name].contains(&b'-') => {
            STERN.find(rest).map(|found| Header {
                source: Some(Speaker::Pod),
                ..Header::of(found.len())
            })
        }
        _ => None,
    }
}

/// `web-1  | `: a service of docker compose, which may be a node.
fn compose(rest: &str, name: usize) -> Option<Header<'_>> {
    let gap = spaces(&rest.as_bytes()[name..]);
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let behind = rest[name + gap..].strip_prefix('|')?;
    rest[..name]
        .bytes()
        .all(of_name)
        .then(|| Header::of(name + gap + 1 + usize::from(behind.starts_with(' '))))
}

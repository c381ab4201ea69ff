//! The formats in which shims answer their daemon.
//!
//! The format changed twice. A daemon reads its own format and older ones, never a newer one: then
//! no pod starts on the node.

use std::fmt;

use prost::Message;
use serde::Deserialize;

/// Releases whose shims answer in the same format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::health) enum Generation {
    /// Up to 1.7: the address of its socket.
    Address,
    /// 2.0 to 2.2: JSON.
    Json,
    /// From 2.3: protobuf.
    Protobuf,
}

/// The message that daemons of the last generation write to a shim's input. Older daemons write
/// nothing that a shim needs.
#[derive(Clone, PartialEq, Message)]
struct BootstrapParams {
    #[prost(string, tag = "1")]
    instance_id: String,
    #[prost(string, tag = "2")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct BootstrapResult {
    #[prost(int32, tag = "1")]
    version: i32,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(string, tag = "3")]
    protocol: String,
}

#[derive(Deserialize)]
struct JsonAnswer {
    version: u32,
    address: String,
}

/// Major, minor and patch of a containerd or shim version; any suffix is ignored.
pub(super) fn version(text: &str) -> Option<(u64, u64, u64)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}

impl Generation {
    pub(in crate::health) fn of(text: &str) -> Option<Self> {
        Some(match version(text)? {
            (0 | 1, ..) => Self::Address,
            (2, 0..=2, _) => Self::Json,
            _ => Self::Protobuf,
        })
    }

    /// The generation whose format a shim's answer has.
    pub(super) fn of_answer(answer: &[u8]) -> Option<Self> {
        let is_address = |text: &str| text.starts_with("unix://");
        if answer.starts_with(b"unix://") {
            return Some(Self::Address);
        }
        if let Ok(json) = serde_json::from_slice::<JsonAnswer>(answer) {
            return (json.version == 3 && is_address(&json.address)).then_some(Self::Json);
        }
        let result = BootstrapResult::decode(answer).ok()?;
        is_address(&result.address).then_some(Self::Protobuf)
    }

    /// The bytes that a daemon of this generation writes to the input of a shim, here the one that
    /// shim.sh starts. For some pairs this input alone decides: shims of 1.6 take what a 2.3 daemon
    /// writes for the options of a runtime, and end with `type with url <id>: not found`.
    pub(super) fn parameters(self) -> Vec<u8> {
        match self {
            Self::Address | Self::Json => Vec::new(),
            Self::Protobuf => BootstrapParams {
                instance_id: "kubenest".to_owned(),
                namespace: "kubenest".to_owned(),
            }
            .encode_to_vec(),
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "plain text (1.7 and older)",
            Self::Json => "JSON (2.0 to 2.2)",
            Self::Protobuf => "protobuf (2.3 and newer)",
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The recorded answers of the shims of 1.7.24, 2.0.2 and 2.3.4.
    pub(in super::super) const ANSWERS: [(Generation, &[u8]); 3] = [
        (
            Generation::Address,
            b"unix:///run/containerd/s/\
              32c37f443e4ec367e62e2e5d70a7040eccad3feb35eebffefa9683d8b3c31312",
        ),
        (
            Generation::Json,
            b"{\"version\":3,\"address\":\"unix:///run/containerd/s/\
              32c37f443e4ec367e62e2e5d70a7040eccad3feb35eebffefa9683d8b3c31312\",\
              \"protocol\":\"ttrpc\"}",
        ),
        (
            Generation::Protobuf,
            b"\x08\x03\x12\x59unix:///run/containerd/s/\
              32c37f443e4ec367e62e2e5d70a7040eccad3feb35eebffefa9683d8b3c31312\
              \x1a\x05ttrpc",
        ),
    ];

    #[test]
    fn an_answer_tells_the_generation() {
        for (generation, answer) in ANSWERS {
            assert_eq!(Generation::of_answer(answer), Some(generation));
        }
        // containerd trims what it reads.
        assert!(Generation::of_answer(b"{\"version\":3,\"address\":\"unix:///s\"}\n").is_some());
        for answer in [
            "",
            "/run/s",
            "{\"version\":4,\"address\":\"unix:///run/s\"}",
            "{\"version\":3}",
            "time=now level=warning msg=x\nunix:///run/s",
            "\x08\x03",
        ] {
            assert_eq!(Generation::of_answer(answer.as_bytes()), None, "{answer:?}");
        }
    }

    #[test]
    fn the_answer_of_the_last_generation_is_read_whole() {
        let (_, answer) = ANSWERS[2];
        let result = BootstrapResult::decode(answer).expect("must decode");
        assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
        assert_eq!(result.encode_to_vec(), answer);
    }

    #[test]
    fn only_daemons_of_the_last_generation_write_to_a_shim() {
        assert_eq!(Generation::Json.parameters(), b"");
        assert_eq!(
            Generation::Protobuf.parameters(),
            b"\x0a\x08kubenest\x12\x08kubenest"
        );
    }

    #[test]
    fn generations_change_at_2_0_and_2_3() {
        for (version, generation) in [
            ("1.6.20~ds1", Some(Generation::Address)),
            ("v1.7.35", Some(Generation::Address)),
            ("2.0.2", Some(Generation::Json)),
            ("2.2.0-rc.1", Some(Generation::Json)),
            ("2.3.0", Some(Generation::Protobuf)),
            ("3.0.0", Some(Generation::Protobuf)),
            ("devel", None),
            ("", None),
        ] {
            assert_eq!(Generation::of(version), generation, "{version}");
        }
        assert!(Generation::Json > Generation::Address);
    }
}

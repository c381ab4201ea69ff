//! Which shim a containerd daemon starts, and whether the two understand each other.
//!
//! A shim answers the daemon in a form that changed twice. A daemon reads its own form and
//! older ones, never a newer one: then no pod starts on the node.

use std::{fmt, time::Duration};

use prost::Message;
use serde::Deserialize;

use super::facts::{Daemon, Runtime, Seen};
use kubenest_base::wait;
use kubenest_docker::ExecOutput;

/// Seconds that a shim may take to answer: half of what a fact may take, and nothing of a shim
/// that hangs stays in the node.
pub(super) fn limit() -> String {
    wait::scaled(Duration::from_secs(10)).as_secs().to_string()
}

/// A shim as containerd would find it for one runtime.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shim {
    pub(super) runtime: String,
    /// `None`: none of the places has one.
    pub(super) found: Option<FoundShim>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundShim {
    pub(super) path: String,
    /// What it says about itself; empty when it says nothing.
    pub(super) version: String,
    /// What it answered when it was started as containerd starts it, or why it did not start.
    pub(super) answer: Result<Vec<u8>, String>,
}

/// Releases whose shims answer in the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Generation {
    /// Up to 1.7: the address of its socket.
    Address,
    /// 2.0 to 2.2: JSON.
    Json,
    /// From 2.3: protobuf.
    Protobuf,
}

/// What daemons of the last generation write to a shim's input; others write nothing it needs.
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

/// Major, minor and patch of a containerd or shim version; what follows them does not count.
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
    pub(super) fn of(text: &str) -> Option<Self> {
        Some(match version(text)? {
            (0 | 1, ..) => Self::Address,
            (2, 0..=2, _) => Self::Json,
            _ => Self::Protobuf,
        })
    }

    /// The generation whose form a shim's answer has.
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

    /// What a daemon of this generation writes to the input of the shim that shim.sh starts.
    /// It is the whole test of some pairs: shims of 1.6 take what a 2.3 daemon writes for the
    /// options of a runtime, and end with `type with url <id>: not found`.
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

impl Shim {
    /// From what shim.sh left.
    pub(super) fn parse(runtime: &str, output: &ExecOutput) -> Seen<Self> {
        const MARK: &[u8] = b"@@answer\n";
        let ExecOutput {
            status,
            stdout,
            stderr,
            ..
        } = output;
        let runtime = runtime.to_owned();
        if stdout.is_empty() && *status == 0 {
            return Ok(Self {
                runtime,
                found: None,
            });
        }
        let mark = stdout.windows(MARK.len()).position(|part| part == MARK);
        let mark =
            mark.ok_or_else(|| format!("the shim was not tried (status {status}): {stderr}"))?;
        let (told, answer) = (&stdout[..mark], &stdout[mark + MARK.len()..]);
        let told = String::from_utf8_lossy(told);
        let mut lines = told.lines();
        let path = lines.next().unwrap_or_default().to_owned();
        let version = lines.find_map(|line| line.trim().strip_prefix("Version:"));
        let version = version.unwrap_or_default().trim().to_owned();
        let words = || {
            format!(
                "status {status}: {}",
                String::from_utf8_lossy(answer).trim()
            )
        };
        let answer = match status {
            0 => Ok(answer.to_vec()),
            137 => Err(format!(
                "it was killed, as is one that has not answered within {} s",
                limit()
            )),
            _ => Err(words()),
        };
        let found = Some(FoundShim {
            path,
            version,
            answer,
        });
        Ok(Self { runtime, found })
    }
}

/// The paths at which the daemon looks for a runtime's shim, in its order.
///
/// `daemon_version` is the running daemon's.
pub(super) fn candidates(
    runtime: &Runtime,
    daemon: &Daemon,
    daemon_version: &str,
) -> Seen<Vec<String>> {
    let kind = &runtime.runtime_type;
    if !runtime.runtime_path.is_empty() && honours_runtime_path(daemon_version) {
        return Ok(vec![runtime.runtime_path.clone()]);
    }
    if kind.starts_with('/') {
        return Ok(vec![kind.clone()]);
    }
    let mut words = kind.rsplit('.');
    let (Some(version), Some(name)) = (words.next(), words.next()) else {
        return Err(format!("runtime type '{kind}' names no shim"));
    };
    if kind.contains('/') {
        return Err(format!("runtime type '{kind}' is a relative path"));
    }
    let shim = format!("containerd-shim-{name}-{version}");
    let exe_folder = daemon
        .exe_path()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let folders = [daemon.cwd.trim_end_matches('/')]
        .into_iter()
        // Go finds nothing through a relative PATH entry.
        .chain(
            daemon
                .path
                .split(':')
                .filter(|folder| folder.starts_with('/')),
        )
        .chain([exe_folder]);
    Ok(folders.map(|folder| format!("{folder}/{shim}")).collect())
}

/// containerd 1.6.0 to 1.6.20 and 1.7.0 drop `runtime_path` on its way to the daemon.
pub(super) fn honours_runtime_path(daemon_version: &str) -> bool {
    version(daemon_version).is_some_and(|version| version >= (1, 6, 21) && version != (1, 7, 0))
}

#[cfg(test)]
pub(super) mod tests {
    use kubenest_base::wait::with_factor;

    use super::*;

    /// What the shims of 1.7.24, 2.0.2 and 2.3.4 really answered.
    pub(in crate::health) const ANSWERS: [(Generation, &[u8]); 3] = [
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

    fn daemon() -> Daemon {
        Daemon {
            exe: "/usr/local/bin/containerd (deleted)".to_owned(),
            cwd: "/".to_owned(),
            path: "/opt/bin::rel:/usr/bin".to_owned(),
        }
    }

    fn runtime(kind: &str, path: &str) -> Runtime {
        Runtime {
            runtime_type: kind.to_owned(),
            runtime_path: path.to_owned(),
            ..Runtime::default()
        }
    }

    #[test]
    fn a_named_shim_is_looked_for_in_cwd_then_path_then_beside_the_daemon() {
        let found = candidates(&runtime("io.containerd.runc.v2", ""), &daemon(), "1.7.24");
        let expected = ["", "/opt/bin", "/usr/bin", "/usr/local/bin"]
            .map(|folder| format!("{folder}/containerd-shim-runc-v2"));
        assert_eq!(found.expect("must resolve"), expected);
    }

    #[test]
    fn a_runtime_path_wins_where_the_daemon_honours_it() {
        let runtime = runtime("io.containerd.runc.v2", "/opt/shim");
        for (version, honoured) in [
            ("1.6.20~ds1", false),
            ("1.6.21", true),
            ("1.7.0", false),
            ("v1.7.1", true),
            ("2.0.2", true),
        ] {
            let found = candidates(&runtime, &daemon(), version).expect("must resolve");
            assert_eq!(found == ["/opt/shim"], honoured, "{version}");
        }
    }

    #[test]
    fn an_absolute_type_is_the_shim_and_a_relative_one_is_an_error() {
        let absolute = candidates(&runtime("/abs/shim", ""), &daemon(), "1.6.20");
        assert_eq!(absolute.expect("must resolve"), ["/abs/shim"]);
        assert!(
            candidates(
                &runtime("bin/io.containerd.runc.v2", ""),
                &daemon(),
                "2.0.2"
            )
            .is_err()
        );
        assert!(candidates(&runtime("runc", ""), &daemon(), "2.0.2").is_err());
    }

    #[tokio::test]
    async fn shims_name_their_path_and_version_and_answer() {
        let parse = |status, stdout: &[u8], stderr: &str| {
            Shim::parse("runc", &ExecOutput::new(status, stdout, stderr)).map(|shim| shim.found)
        };
        let told = "/usr/bin/containerd-shim-runc-v2\ncontainerd-shim-runc-v2:\n  \
                    Version:  1.6.20~ds1\n  Revision:\n\n@@answer\n";
        let answered = [told.as_bytes(), b"\x08\x03\x12\xff"].concat();
        let found = parse(0, &answered, "")
            .expect("must parse")
            .expect("must be found");
        assert_eq!(found.path, "/usr/bin/containerd-shim-runc-v2");
        assert_eq!(found.version, "1.6.20~ds1");
        assert_eq!(found.answer.as_deref(), Ok(b"\x08\x03\x12\xff".as_slice()));

        let failed = [told.as_bytes(), b"no socket\n"].concat();
        let found = parse(1, &failed, "")
            .expect("must parse")
            .expect("must be found");
        assert_eq!(found.answer, Err("status 1: no socket".to_owned()));
        let late = with_factor(1.0, async { parse(137, told.as_bytes(), "") }).await;
        let late = late.map(|found| found.map(|found| found.answer));
        let late = late.expect("must parse").expect("must be found");
        insta::assert_snapshot!(
            late.unwrap_err(),
            @"it was killed, as is one that has not answered within 10 s"
        );
        assert_eq!(parse(0, b"", ""), Ok(None));
        insta::assert_snapshot!(
            parse(1, b"/usr/bin/shim\n", "unshare: not permitted").unwrap_err(),
            @"the shim was not tried (status 1): unshare: not permitted"
        );
        assert!(parse(137, b"", "").is_err());
    }

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

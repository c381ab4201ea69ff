//! Check `loader`: the kind release of the spec can load images into this node.
//!
//! A configuration version that the loader can read is not enough: the import itself can fail
//! later. So the smallest image of the node is imported, and removed again.

use std::time::Duration;

use super::{Check, Facts, Name, When, containerd_only, snapshotter, unused_name};
use crate::health::{
    Expected,
    facts::{Fact, Probe as NodeProbe, in_one_line, require},
    outcome::Outcome,
};
use kubenest_base::{
    Result,
    store::Store,
    wait::{self, Probe},
};
use kubenest_forge::image;
use kubenest_node::node::{Node, cri::Cri};
use kubenest_recipe::compat::{self, Stack, Verdict};

pub(super) const CHECK: Check = Check {
    name: Name::Loader,
    when: When::Asked(|expected| expected.loader.is_some()),
    applies: containerd_only,
    judge,
};

/// How long an import may take while the machine also starts a control plane.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the runtime may take to list the imported image.
const LISTED: Duration = Duration::from_secs(20);

/// The parts of `containerd config dump` that loaders read.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::health) struct Dump {
    /// The configuration version that the daemon prints.
    pub(super) version: u32,
    /// The snapshotter in the dump, which is not always the one in effect.
    pub(super) snapshotter: Option<String>,
}

/// The result of an import.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::health) struct Import {
    /// The snapshotter that the import unpacks for.
    pub(super) snapshotter: String,
    /// The error message, if the import failed.
    pub(super) ended: Result<(), String>,
}

impl Dump {
    fn parse(text: &str) -> Fact<Self> {
        let what = "`containerd config dump`";
        let dump: toml::Table = text.parse().map_err(|error| format!("{what}: {error}"))?;
        let version = dump.get("version").and_then(toml::Value::as_integer);
        let version = version.and_then(|version| u32::try_from(version).ok());
        let version = version.ok_or_else(|| format!("{what} has no version"))?;
        let path: &[&str] = match version {
            ..=2 => &["io.containerd.grpc.v1.cri", "containerd", "snapshotter"],
            _ => &["io.containerd.cri.v1.images", "snapshotter"],
        };
        let plugins = dump.get("plugins");
        let named = path.iter().fold(plugins, |at, key| at?.get(*key));
        let snapshotter = named.and_then(toml::Value::as_str).map(str::to_owned);
        Ok(Self {
            version,
            snapshotter,
        })
    }
}

pub(in crate::health) fn read_dump(probe: &NodeProbe) -> Fact<Dump> {
    Dump::parse(probe.part("dump")?)
}

/// The snapshotter that loaders unpack for: the one in the dump.
pub(in crate::health) fn loader_snapshotter(
    dump: &Fact<Dump>,
    image_folders: &Fact<Vec<String>>,
) -> Fact<String> {
    match &require(dump)?.snapshotter {
        Some(named) => Ok(named.clone()),
        None => snapshotter::of(image_folders).map(str::to_owned),
    }
}

/// Imports an image for a snapshotter, looks for it over CRI, and removes it.
pub(in crate::health) async fn import(node: &Node, snapshotter: &Fact<String>) -> Fact<Import> {
    let snapshotter = require(snapshotter)?;
    let tried = async {
        let name = unused_name("kubenest.local/loader:");
        let archive = image::tiny_archive(&Store::of(node.docker().settings()), &name).await?;
        let cri = node.cri().await?;
        let attempt = attempt(node, &cri, snapshotter, &name, archive);
        let ended = wait::within("an import", PATIENCE, attempt).await;
        // The image is removed after a failure too, because a failed import can leave the name of
        // an incomplete image.
        cri.remove_image(&name).await?;
        ended
    };
    Ok(Import {
        snapshotter: snapshotter.clone(),
        ended: tried.await.map_err(in_one_line)?,
    })
}

async fn attempt(
    node: &Node,
    cri: &Cri,
    snapshotter: &str,
    name: &str,
    archive: Vec<u8>,
) -> Result<Result<(), String>> {
    // This is exactly kind's command, in every release of the compatibility table.
    let snapshotter = format!("--snapshotter={snapshotter}");
    let argv = [
        "ctr",
        "--namespace=k8s.io",
        "images",
        "import",
        "--all-platforms",
        "--digests",
        &snapshotter,
        "-",
    ];
    let import = node
        .docker()
        .exec(node.name(), &argv, Some(archive))
        .await?;
    if import.status != 0 {
        let words = import.stderr.trim().lines().last().unwrap_or_default();
        return Ok(Err(words.to_owned()));
    }
    // In containerd 1.x the CRI plugin sees an image a moment later.
    let listed = wait::until("the imported image", LISTED, async || {
        match cri.image(name).await {
            Ok(Some(_)) => Probe::Ready(()),
            Ok(None) => Probe::Pending("the runtime does not list it".into()),
            Err(error) => Probe::Failed(error),
        }
    });
    Ok(listed.await.map_err(|error| error.report()))
}

/// Judges by what is known of the pair of versions or, where nothing is known, by the result of an
/// import.
fn judge(facts: &Facts, expected: &Expected) -> Fact<Outcome> {
    let Some(kind) = &expected.loader else {
        return Ok(Outcome::skipped("", "nothing is loaded by kind"));
    };
    let config = require(&facts.dump)?.version;
    let import = require(&facts.import)?;
    let stack = Stack {
        kind: Some(kind.clone()),
        ..facts.stack()
    };
    let findings = compat::before_boot(&stack);
    let loader = findings
        .into_iter()
        .find(|finding| finding.name == "loader");
    let known = loader.ok_or("kind was not judged")?.verdict;
    let observed = match (known, &import.ended) {
        (
            Verdict::KnownBad {
                cause, cure, link, ..
            },
            _,
        ) => return Ok(Outcome::failed(cause, format!("{cure}; see {link}"))),
        (_, Err(words)) => {
            let observed = format!("an import with the options of kind {kind} ends with `{words}`");
            return Ok(Outcome::failed(observed, import_cure(&stack)));
        }
        (Verdict::KnownGood, Ok(())) => format!("kind {kind} reads configuration version {config}"),
        (Verdict::Unknown { why }, Ok(())) => format!("nothing is known of the pair: {why}"),
    };
    let snapshotter = &import.snapshotter;
    Ok(Outcome::passed(format!(
        "{observed}; an image imported with its options into {snapshotter} is there"
    )))
}

fn import_cure(stack: &Stack) -> String {
    let snapshotter = stack.snapshotter.as_deref();
    let known = stack.containerd.as_ref();
    match known.map(|containerd| compat::imports(containerd, snapshotter)) {
        Some(Verdict::KnownBad { cure, link, .. }) => format!("{cure}; see {link}"),
        _ => "read `journalctl -u containerd` in the node".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::{
        checks::tests::good,
        report::{Finding, Verdict},
    };

    pub(in super::super) fn dump(version: u32, snapshotter: &str) -> Dump {
        Dump {
            version,
            snapshotter: Some(snapshotter.to_owned()),
        }
    }

    pub(in super::super) fn imported(snapshotter: &str, ended: Result<(), String>) -> Import {
        Import {
            snapshotter: snapshotter.to_owned(),
            ended,
        }
    }

    /// The finding of the check when this kind release loads images.
    fn loading(kind: &str, facts: &Facts) -> Finding {
        let expected = Expected {
            loader: Some(kind.parse().expect("must be a version")),
            ..Expected::default()
        };
        CHECK.judge("cp-1", facts, &expected)
    }

    #[test]
    fn a_dump_without_a_version_says_so() {
        let error = Dump::parse("").unwrap_err();
        insta::assert_snapshot!(error, @"`containerd config dump` has no version");
    }

    #[test]
    fn each_version_of_a_dump_names_the_snapshotter_elsewhere() {
        let two = "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\n\
                   snapshotter = 'a'\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'b'";
        let named = |text: &str| Dump::parse(text).expect("must parse").snapshotter;
        assert_eq!(named(two).as_deref(), Some("a"));
        let four = two.replace("version = 2", "version = 4");
        assert_eq!(named(&four).as_deref(), Some("b"));
        assert_eq!(named("version = 3\n[plugins]"), None);
    }

    #[test]
    fn loader_reads_the_nodes_own_dump() {
        let good = good();
        assert_eq!(loading("0.27.0", &good).verdict, Verdict::Passed);
        insta::assert_snapshot!(
            loading("0.33.0", &good).observed,
            @"kind 0.33.0 reads configuration version 3; an image imported with its options into overlayfs is there"
        );
        let old = loading("0.26.0", &good);
        assert_eq!(old.verdict, Verdict::Failed);
        assert!(
            old.observed
                .contains("failed to detect containerd snapshotter")
        );
        assert!(old.cure.is_some_and(|cure| cure.contains("kind >= 0.27.0")));
        // The version in the dump counts, not the one that the daemon's version suggests.
        let mut newer = good.clone();
        newer.dump = Ok(dump(4, "overlayfs"));
        assert_eq!(loading("0.27.0", &newer).verdict, Verdict::Failed);
        assert_eq!(loading("0.33.0", &newer).verdict, Verdict::Passed);
        newer.dump = Err("no such program".to_owned());
        assert_eq!(loading("0.33.0", &newer).verdict, Verdict::Unknown);
    }

    #[test]
    fn loader_must_be_able_to_import() {
        let mut facts = good();
        let words = "ctr: content digest sha256:ab: not found";
        facts.import.as_mut().unwrap().ended = Err(words.to_owned());
        let finding = loading("0.27.0", &facts);
        assert_eq!(finding.verdict, Verdict::Failed);
        assert!(
            finding.observed.ends_with(&format!("`{words}`")),
            "{finding:?}"
        );
        facts.import = Err("no answer".to_owned());
        assert_eq!(loading("0.27.0", &facts).verdict, Verdict::Unknown);
    }

    #[test]
    fn loader_of_an_unknown_release_is_what_the_import_shows() {
        let mut facts = good();
        let finding = loading("0.99.0", &facts);
        assert_eq!(finding.verdict, Verdict::Passed);
        assert!(
            finding.observed.contains("kind 0.99.0 is not in the table"),
            "{finding:?}"
        );

        facts.dump = Ok(dump(3, "native"));
        let words = "ctr: no unpack platforms defined".to_owned();
        facts.import = Ok(imported("native", Err(words)));
        let finding = loading("0.99.0", &facts);
        assert_eq!(finding.verdict, Verdict::Failed);
        assert!(
            finding.observed.contains("no unpack platforms defined"),
            "{finding:?}"
        );
        let cure = finding.cure.unwrap_or_default();
        assert!(cure.starts_with("use the snapshotter overlayfs"), "{cure}");
    }

    #[test]
    fn loader_is_not_asked_where_nothing_is_loaded() {
        let finding = CHECK.judge("cp-1", &good(), &Expected::default());
        assert!(
            matches!(finding.verdict, Verdict::Skipped(_)),
            "{finding:?}"
        );
    }
}

//! critest, the program: built, given to a node, and run there.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use kubenest::node::{FileEntry, Node};
use kubenest_base::{process::last_lines, store::Store};
use kubenest_forge::{component, lockfile};
use kubenest_recipe::recipe::GoBuild;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
};

use crate::images::Published;

/// The release, which is that of the CRI it tests.
pub(crate) const RELEASE: &str = "1.34.0";

/// Where things are in the node.
const PROGRAM: &str = "/usr/local/bin/critest";
const IMAGES: &str = "/etc/critest-images.yaml";
const REPORT: &str = "/var/lib/critest.xml";

/// The digest by which critest names one image. Only its makers have an image of this digest.
const DIGEST: &str = "sha256:9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf";

/// How critest's output begins and ends a spec.
const NAME: &str = "[k8s.io] ";
const DONE: char = '•';
const SKIPPED: &str = "S [SKIPPED]";

/// Builds critest, with the digest of our image in place of the one in it.
pub(crate) async fn build(store: &Store, digest: &str) -> Result<Vec<u8>> {
    let build = GoBuild::find("kubenest/critest", RELEASE)?;
    lockfile::hold_tool(kubenest::settings(), &build).await?;
    let entry = component::programs(store, &build).await?;
    let program = fs::read(entry.join("critest")).context("read critest")?;
    with_digest(program, digest)
}

fn with_digest(mut program: Vec<u8>, digest: &str) -> Result<Vec<u8>> {
    ensure!(digest.len() == DIGEST.len(), "'{digest}' is no sha256");
    let found = program
        .windows(DIGEST.len())
        .position(|bytes| bytes == DIGEST.as_bytes());
    let at = found.context("critest does not name the image by digest that it is known to name")?;
    program[at..at + DIGEST.len()].copy_from_slice(digest.as_bytes());
    Ok(program)
}

/// Runs critest in a node to its end, with its output in a file; returns its report.
pub(crate) async fn run(
    node: &Node,
    program: Vec<u8>,
    images: &Published,
    focus: Option<&str>,
    log: &Path,
) -> Result<String> {
    let files = [
        FileEntry::new(PROGRAM, program).with_mode(0o755),
        FileEntry::new(IMAGES, images.file.as_str()),
    ];
    node.write_files(&files).await?;
    let endpoint = node.runtime().endpoint();
    let report = format!("--ginkgo.junit-report={REPORT}");
    let focus = focus.map(|focus| format!("--ginkgo.focus={focus}"));
    // The engine passes on what a command writes to its standard output.
    let mut command = vec!["sh", "-c", "exec \"$@\" 2>&1", "critest", PROGRAM];
    command.extend([
        "--runtime-endpoint",
        &endpoint,
        "--test-images-file",
        IMAGES,
    ]);
    command.extend([
        "--ginkgo.v",
        "--ginkgo.no-color",
        "--ginkgo.timeout=45m",
        &report,
    ]);
    command.extend(focus.as_deref());
    let output = node.docker().pipe(node.name(), &command).await?;
    follow(output, log).await?;
    let report = node.read_file(REPORT).await;
    let report = report.map_err(|error| {
        let said = fs::read_to_string(log).unwrap_or_default();
        anyhow::Error::from(error).context(format!(
            "critest ended without a report:\n{}",
            last_lines(&said, 10)
        ))
    })?;
    String::from_utf8(report).context("critest's report is no text")
}

/// Writes the output to a file, and says of each spec how it ended.
async fn follow(output: impl AsyncRead + Unpin, log: &Path) -> Result<()> {
    let mut lines = BufReader::new(output).lines();
    let what = || format!("write '{}'", log.display());
    let mut log = File::create(log).await.with_context(what)?;
    let begun = Instant::now();
    let mut progress = Progress::default();
    while let Some(line) = lines.next_line().await? {
        log.write_all(format!("{line}\n").as_bytes()).await?;
        if let Some(ended) = progress.read(&line) {
            println!("{:6.1} s  {ended}", begun.elapsed().as_secs_f64());
        }
    }
    log.flush().await?;
    Ok(())
}

/// The spec that runs, as critest's output tells.
#[derive(Debug, Default)]
struct Progress {
    name: String,
    ended: usize,
}

impl Progress {
    /// Reads a line; returns how a spec ended, if the line says so.
    fn read(&mut self, line: &str) -> Option<String> {
        if let Some(name) = line.strip_prefix(NAME) {
            name.clone_into(&mut self.name);
            return None;
        }
        let how = match line.strip_prefix(DONE) {
            Some(rest) if rest.starts_with(" [") && rest.ends_with(" seconds]") => {
                // Before the time of a spec that did not pass stands what became of it.
                if rest.contains("] [") {
                    "failed"
                } else {
                    "passed"
                }
            }
            _ if line.starts_with(SKIPPED) => "skipped",
            _ => return None,
        };
        self.ended += 1;
        Some(format!("{:3} {how}: {}", self.ended, self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_in_the_program_is_replaced() {
        let ours = format!("sha256:{}", "ab".repeat(32));
        let program = format!("\0gcr.io/x/test-image-digest@{DIGEST}\0more").into_bytes();
        let given = with_digest(program, &ours).unwrap();
        let expected = format!("\0gcr.io/x/test-image-digest@{ours}\0more");
        assert_eq!(given, expected.into_bytes());
        assert!(with_digest(b"another release".to_vec(), &ours).is_err());
        assert!(with_digest(DIGEST.as_bytes().to_vec(), "sha256:ab").is_err());
    }

    #[test]
    fn each_spec_is_told_once_when_it_ends() {
        let output = "\
Will run 108 of 113 specs
[k8s.io] Image Manager public image with tag
  STEP: Remove image
• [1.6 seconds]
------------------------------
S
------------------------------
[k8s.io] AppArmor should fail
  [SKIPPED] in [BeforeEach] - apparmor_linux.go:80
S [SKIPPED] [0.002 seconds]
[k8s.io] AppArmor [BeforeEach] should fail
------------------------------
[k8s.io] Networking should map a port
• [FAILED] [60.705 seconds]
[k8s.io] Networking [It] should map a port
";
        let mut progress = Progress::default();
        let told: Vec<_> = output
            .lines()
            .filter_map(|line| progress.read(line))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
          1 passed: Image Manager public image with tag
          2 skipped: AppArmor should fail
          3 failed: Networking should map a port
        ");
    }
}

//! Images that are rebuilt on the same lower layers, and handmade archives.

use std::{
    fs,
    io::{Read, repeat},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use kubenest::{
    Case,
    engine::Docker,
    images::{Load, SmallImage},
    k8s_openapi::api::core::v1::Pod,
    kube::api::LogParams,
    wait::Probe,
};
use kubenest_base::process::Command;
use kubenest_docker::{Labels, labels};
use kubenest_forge::image::architecture;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::docker;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How long a pod may take to start and print its text on a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// An image of four layers: 20 MB of random data in the third, and a text in the last.
#[derive(Debug)]
pub struct Built {
    docker: Docker,
    small: SmallImage,
    folder: TempDir,
    /// The name that [`build`](Self::build) gives the image.
    pub name: String,
}

impl Built {
    /// Prepares the lower layers, in an engine and in a folder of its own; `name` must be unique.
    pub async fn new(engine: &Docker, name: &str) -> Result<Self> {
        let small = SmallImage::load(engine, name).await?;
        let folder = tempfile::tempdir()?;
        let mut large = vec![0; 20 << 20];
        fs::File::open("/dev/urandom")?.read_exact(&mut large)?;
        fs::write(folder.path().join("large"), large)?;
        let text = format!(
            "FROM {}\nCOPY large /large\nCOPY top /top\n",
            small.reference()
        );
        fs::write(folder.path().join("Dockerfile"), text)?;
        Ok(Self {
            docker: engine.clone(),
            small,
            folder,
            name: format!("{name}:dev"),
        })
    }

    /// A folder for archives of the image.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Builds the image with this text in its top layer.
    pub async fn build(&self, text: &str) -> Result<()> {
        self.build_with_name(text, &self.name).await
    }

    /// As [`build`](Self::build), with another name.
    pub async fn build_with_name(&self, text: &str, name: &str) -> Result<()> {
        fs::write(self.folder().join("top"), format!("{text}\n"))?;
        let folder = self.folder().to_str().context("a strange path")?;
        // Set all labels: those inherited from the base image would be wrong.
        let mut labels = Labels::new("small-image", &kubenest::settings().run).map();
        labels.insert(labels::NAME.to_owned(), name.to_owned());
        let labels = labels
            .iter()
            .map(|(key, value)| format!("--label={key}={value}"));
        let labels: Vec<String> = labels.collect();
        let mut build = vec!["build", "--tag", name];
        build.extend(labels.iter().map(String::as_str));
        build.push(folder);
        docker(&self.docker, &build).await?;
        Ok(())
    }

    /// Makes the engine save the image to a file in the folder.
    pub async fn save(&self, file: &str) -> Result<PathBuf> {
        let path = self.folder().join(file);
        let to = path.to_str().context("a strange path")?;
        docker(&self.docker, &["save", "--output", to, &self.name]).await?;
        Ok(path)
    }

    /// Loads the image under another name, with an index of two platforms of which one is absent,
    /// as after a pull. The engine must keep its images in containerd.
    pub async fn load_as_pulled(&self, name: &str) -> Result<()> {
        let layout = self.folder().join("layout");
        tar::Archive::new(fs::File::open(self.save("saved.tar").await?)?).unpack(&layout)?;
        let saved: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
        let mut here = saved["manifests"][0].clone();
        anyhow::ensure!(here["mediaType"] == MANIFEST, "saved as {saved}");
        if let Some(here) = here.as_object_mut() {
            here.remove("annotations");
        }
        here["platform"] = json!({"os": "linux", "architecture": architecture()});
        let mut absent = here.clone();
        absent["digest"] = json!(format!("sha256:{}", "5".repeat(64)));
        absent["platform"] = json!({"os": "linux", "architecture": "s390x"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [absent, here]});
        let index = index.to_string();
        let file = layout.join("blobs/sha256/index");
        fs::write(&file, &index)?;
        let digest = digest_of(&file).await?;
        fs::rename(&file, file.with_file_name(&digest))?;
        let (_, tag) = name.rsplit_once(':').context("a tag is needed")?;
        let top = json!({
            "mediaType": INDEX, "digest": format!("sha256:{digest}"), "size": index.len(),
            "annotations": {
                "io.containerd.image.name": format!("docker.io/library/{name}"),
                "org.opencontainers.image.ref.name": tag,
            },
        });
        let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]});
        fs::write(layout.join("index.json"), top.to_string())?;
        fs::remove_file(layout.join("manifest.json"))?;
        let path = self.folder().join("pulled.tar");
        let mut archive = tar::Builder::new(fs::File::create(&path)?);
        archive.append_dir_all(".", &layout)?;
        archive.into_inner()?;
        fs::remove_dir_all(layout)?;
        let path = path.to_str().context("a strange path")?;
        docker(&self.docker, &["load", "--input", path]).await?;
        Ok(())
    }

    /// A pod of this or another such image, which prints the image's text and keeps running.
    pub fn pod(&self, name: &str, image: &str) -> Pod {
        let mut pod = self.small.pod(name, image);
        let show = "/bin/busybox cat /top && exec /bin/busybox sleep 3600";
        let command = ["/bin/busybox", "sh", "-c", show].map(str::to_owned);
        if let Some(spec) = &mut pod.spec {
            spec.containers[0].command = Some(command.to_vec());
        }
        pod
    }

    /// The text that a pod of this image prints on the case's node.
    pub async fn run(&self, case: &Case<'_>, name: &str, image: &str) -> Result<String> {
        self.run_on(case, case.node().name(), name, image).await
    }

    /// The text that a pod of this image prints on a node.
    pub async fn run_on(
        &self,
        case: &Case<'_>,
        node: &str,
        name: &str,
        image: &str,
    ) -> Result<String> {
        let mut pod = self.pod(name, image);
        if let Some(spec) = &mut pod.spec {
            spec.node_name = Some(node.to_owned());
        }
        case.create(&pod).await?;
        case.pod_ready(name, SOON).await?;
        let pods = case.api::<Pod>();
        let printed = case.until("the pod's words", SOON, async || {
            match pods.logs(name, &LogParams::default()).await {
                Ok(text) if text.is_empty() => Probe::Pending("nothing yet".into()),
                other => Probe::from_result(other),
            }
        });
        Ok(printed.await?.trim_end().to_owned())
    }
}

/// The numbers of sent and skipped blobs of each node.
pub fn sent_and_skipped(loaded: &Load) -> Vec<(usize, usize)> {
    let nodes = loaded.nodes.iter();
    nodes
        .map(|node| (node.sent_blobs, node.skipped_blobs))
        .collect()
}

/// Writes a docker-archive whose only layer is a file of this many zero bytes; returns the layer's
/// digest, without `sha256:`.
pub async fn archive(path: &Path, name: &str, architecture: &str, zeros: u64) -> Result<String> {
    let layer = path.with_extension("layer");
    let mut tar = tar::Builder::new(fs::File::create(&layer)?);
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(zeros);
    tar.append_data(&mut header, "zeros", repeat(0).take(zeros))?;
    tar.into_inner()?;
    let digest = digest_of(&layer).await?;
    let config = json!({
        "os": "linux", "architecture": architecture,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{
        "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"],
    }]);
    let mut tar = tar::Builder::new(fs::File::create(path)?);
    tar.append_path_with_name(&layer, "layer.tar")?;
    for (name, json) in [("config.json", config), ("manifest.json", manifest)] {
        let bytes = json.to_string().into_bytes();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice())?;
    }
    tar.into_inner()?;
    fs::remove_file(layer)?;
    Ok(digest)
}

/// A file's SHA-256, without `sha256:`.
pub async fn digest_of(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).run().await?;
    let digest = output.stdout.split_whitespace().next();
    Ok(digest.unwrap_or_default().to_owned())
}

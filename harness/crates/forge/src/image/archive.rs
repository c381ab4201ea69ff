//! Writes images as docker-archives: layers and a configuration, streamed and never held in memory.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::Path,
};

use serde_json::json;

use super::layer::Layer;
use kubenest_base::digest::sha256_hex;
use kubenest_base::{Context, Error, Result};
use kubenest_docker::{Docker, labels};

/// The layers and the configuration of an image.
#[derive(Debug, Clone, Default)]
pub struct ImageSpec {
    /// References, `name:tag`.
    pub tags: Vec<String>,
    /// The layers, bottom first.
    pub layers: Vec<Layer>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// The user of its processes, as `1000` or `name:group`; root when empty.
    pub user: String,
    /// The signal that asks its first process to end; the engine's default when empty.
    pub stop_signal: String,
}

/// This machine's architecture in the notation of images.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl ImageSpec {
    /// The configuration, whose sha256 is the id of the image.
    fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<&str> = self.layers.iter().map(|l| l.diff_id.as_str()).collect();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut labels = self.labels.clone();
        labels.extend(labels::name_label(self.labels.keys(), &self.tags.join(" ")));
        let mut config = json!({
            "Env": [path],
            "Entrypoint": self.entrypoint,
            "Labels": labels,
        });
        let optional = [("User", &self.user), ("StopSignal", &self.stop_signal)];
        for (key, value) in optional {
            if !value.is_empty() {
                config[key] = json!(value);
            }
        }
        let image = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "kubenest"})).collect::<Vec<_>>(),
        });
        image.to_string().into_bytes()
    }

    /// Loads the image into the engine.
    pub async fn load(self, docker: &Docker) -> Result<()> {
        let (reader, writer) = tokio::io::duplex(1 << 20);
        let mut bridge = tokio_util::io::SyncIoBridge::new(writer);
        let packing = tokio::task::spawn_blocking(move || {
            let packed = write_archive(&[self], &mut bridge);
            bridge.shutdown().ok();
            packed
        });
        let stream = tokio_util::io::ReaderStream::with_capacity(reader, 1 << 18);
        let loaded = docker.load_stream(stream).await;
        // An engine that gives up closes the pipe, and its own error says more than the broken
        // pipe.
        match packing.await.context("pack an image")? {
            Err(error) if loaded.is_ok() => Err(error),
            _ => loaded,
        }
    }
}

/// Writes images that may share layers into one docker-archive.
pub(crate) fn write_archive(images: &[ImageSpec], to: &mut impl Write) -> Result<()> {
    let mut builder = tar::Builder::new(to);
    let mut manifest = Vec::new();
    let mut written = std::collections::BTreeSet::new();
    for image in images {
        let config = image.config();
        let config_name = format!("{}.json", sha256_hex(&config));
        append(
            &mut builder,
            &config_name,
            config.len() as u64,
            config.as_slice(),
        )?;
        let mut layers = Vec::new();
        for layer in &image.layers {
            let name = format!("{}.tar", layer.diff_id.trim_start_matches("sha256:"));
            if written.insert(name.clone()) {
                let file = std::fs::File::open(&layer.tar).context("open a layer")?;
                append(&mut builder, &name, layer.size()?, file)?;
            }
            layers.push(name);
        }
        manifest.push(json!({"Config": config_name, "RepoTags": image.tags, "Layers": layers}));
    }
    let manifest = serde_json::Value::Array(manifest).to_string();
    append(
        &mut builder,
        "manifest.json",
        manifest.len() as u64,
        manifest.as_bytes(),
    )?;
    builder
        .into_inner()
        .and_then(|to| to.flush())
        .context("end an image archive")
}

/// Writes images into a docker-archive file.
pub(crate) fn write_archive_file(images: &[ImageSpec], path: &Path) -> Result<()> {
    let file = std::fs::File::create(path)
        .map_err(|cause| Error::setup(format!("create '{}'", path.display())).because(cause))?;
    write_archive(
        images,
        &mut std::io::BufWriter::with_capacity(1 << 20, file),
    )
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    data: impl Read,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    builder
        .append_data(&mut header, name, data)
        .with_context(|| format!("pack '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_user_and_signal_only_where_the_spec_does() {
        let config = |spec: ImageSpec| -> serde_json::Value {
            serde_json::from_slice(&spec.config()).unwrap()
        };
        let plain = config(ImageSpec::default());
        assert_eq!(plain["config"].get("User"), None);
        assert_eq!(plain["config"].get("StopSignal"), None);
        let spec = ImageSpec {
            user: "1003:users".into(),
            stop_signal: "SIGINT".into(),
            ..ImageSpec::default()
        };
        let given = config(spec);
        assert_eq!(given["config"]["User"], "1003:users");
        assert_eq!(given["config"]["StopSignal"], "SIGINT");
    }
}

//! Handmade archives in the formats of engines, with one file per layer; and the state of a node's
//! containerd, to compare before and after.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use kubenest::node::Node;
use kubenest_forge::image::architecture;
use serde_json::{Value, json};

use crate::built::digest_of;

/// A fault in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// The manifest's layers are out of order, as Docker 25.0.0 writes them.
    Order,
    /// Layers and configuration are absent, as from an engine that keeps its images in containerd.
    Absent,
    /// The lowest layer is absent.
    LowestAbsent,
}

/// Writes an image of this name. Each of `layers`, the lowest first, contains one file,
/// `/etc/<layer>`.
pub async fn layout(path: &Path, name: &str, layers: &[&str], fault: Fault) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let blobs = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut digests = Vec::new();
    let mut descriptors = Vec::new();
    for layer in layers {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(layer.len() as u64);
        tar.append_data(&mut header, format!("etc/{layer}"), layer.as_bytes())?;
        let entry = write_blob(&blobs, "layer.v1.tar", &tar.into_inner()?).await?;
        digests.push(entry["digest"].as_str().context("a digest")?.to_owned());
        descriptors.push(entry);
    }
    let config = json!({
        "os": "linux", "architecture": architecture(), "config": {},
        "rootfs": {"type": "layers", "diff_ids": digests},
    });
    let config = write_blob(&blobs, "config.v1+json", config.to_string().as_bytes()).await?;
    if fault == Fault::Order {
        descriptors.rotate_left(1);
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": descriptors,
    });
    let mut manifest =
        write_blob(&blobs, "manifest.v1+json", manifest.to_string().as_bytes()).await?;
    manifest["annotations"] = json!({"io.containerd.image.name": format!("docker.io/{name}")});
    let file = |digest: &str| format!("blobs/{}", digest.replacen(':', "/", 1));
    let beside = json!([{
        "Config": file(config["digest"].as_str().context("a digest")?),
        "RepoTags": [name],
        "Layers": digests.iter().map(|digest| file(digest)).collect::<Vec<_>>(),
    }]);
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(folder.path().join("index.json"), index.to_string())?;
    fs::write(folder.path().join("manifest.json"), beside.to_string())?;
    let gone = match fault {
        Fault::None | Fault::Order => &[],
        Fault::Absent => digests.as_slice(),
        Fault::LowestAbsent => &digests[..1],
    };
    for digest in gone {
        fs::remove_file(folder.path().join(file(digest)))?;
    }
    if fault == Fault::Absent {
        fs::remove_file(
            folder
                .path()
                .join(file(config["digest"].as_str().context("one")?)),
        )?;
    }
    let mut archive = tar::Builder::new(fs::File::create(path)?);
    archive.append_dir_all(".", folder.path())?;
    archive.into_inner()?;
    Ok(())
}

/// Writes a blob and returns its descriptor.
async fn write_blob(blobs: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let file = blobs.join("new");
    fs::write(&file, bytes)?;
    let digest = digest_of(&file).await?;
    fs::rename(&file, blobs.join(&digest))?;
    let kind = format!("application/vnd.oci.image.{kind}");
    Ok(json!({
        "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len(),
    }))
}

/// Runs `ctr`, which shares no code with kubenest.
pub async fn ctr(node: &Node, args: &[&str]) -> Result<String> {
    let argv = [&["ctr", "--namespace", "k8s.io"], args].concat();
    Ok(node.exec_ok(&argv).await?.text())
}

/// Everything that containerd keeps, as text.
pub async fn state(node: &Node) -> Result<String> {
    let lists: [&[&str]; 4] = [
        &["images", "list", "--quiet"],
        &["content", "list", "--quiet"],
        &["content", "active"],
        &["leases", "list", "--quiet"],
    ];
    // A deleted lease triggers garbage collection now, so that none changes the state during a
    // comparison.
    ctr(node, &["leases", "create", "--id", "settle"]).await?;
    let mut text = ctr(node, &["leases", "delete", "--sync", "settle"]).await?;
    for list in lists {
        text.push_str(&ctr(node, list).await?);
    }
    Ok(text)
}

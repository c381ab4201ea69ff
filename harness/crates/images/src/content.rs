//! Images of a local engine that keeps them in containerd: blobs, read in place.
//!
//! The store holds content by digest, as an OCI layout without its index. Every blob is checked
//! against its digest, so any containerd that has the blobs will do.

use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::{
    files::{Files, Folder, Reader, blob_name},
    manifest::{OCI_INDEX, OCI_MANIFEST, parse},
    reference::is_digest,
};
use kubenest_base::Result;
use kubenest_docker::EngineInfo;

/// Root folder of the system's containerd, which Docker's packages use.
const SYSTEM: &str = "/var/lib/containerd";

/// Root folder of a containerd that the Docker daemon started, within the daemon's folder.
const MANAGED: &str = "containerd/daemon";

/// One image in a store, as a layout.
#[derive(Debug)]
pub(super) struct Content {
    blobs: Folder,
    index: Vec<u8>,
}

/// The fields that distinguish an index from a manifest where the media type is absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Content {
    /// The image of this id, which is the digest of its index or manifest. `None` if no store of
    /// this engine that can be read from here has it.
    pub(super) fn of(engine: &EngineInfo, id: &str) -> Result<Option<Self>> {
        if !engine.containerd_store || !is_digest(id) {
            return Ok(None);
        }
        for root in [engine.data_root_here.join(MANAGED), SYSTEM.into()] {
            if let Some(found) = Self::below(&root, id)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn below(root: &Path, id: &str) -> Result<Option<Self>> {
        let blobs = Folder(root.join("io.containerd.content.v1.content"));
        let Some(target) = blobs.json(&blob_name(id))? else {
            return Ok(None);
        };
        let kind: Kind = parse(&target, &format!("{id} of {}", blobs.place()))?;
        let default = kind.manifests.map_or(OCI_MANIFEST, |_| OCI_INDEX);
        let kind = kind.media_type.as_deref().unwrap_or(default);
        let target = json!({"mediaType": kind, "digest": id, "size": target.len()});
        let index = json!({"manifests": [target]}).to_string().into_bytes();
        Ok(Some(Self { blobs, index }))
    }
}

impl Files for Content {
    fn open(&self, name: &str) -> Result<Option<(u64, Reader<'_>)>> {
        if name == "index.json" {
            let reader: Reader<'_> = Box::new(self.index.as_slice());
            return Ok(Some((self.index.len() as u64, reader)));
        }
        self.blobs.open(name)
    }

    fn place(&self) -> String {
        format!("the engine's store '{}'", self.blobs.0.display())
    }

    fn is_engines_store(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::saved;
    use kubenest_base::digest::sha256_hex;
    use kubenest_node::node::containerd::Platform;

    /// Writes a blob and returns its descriptor.
    fn put(root: &Path, kind: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = format!("sha256:{}", sha256_hex(bytes));
        let folder = root.join("containerd/daemon/io.containerd.content.v1.content");
        let path = folder.join(blob_name(&digest));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        let media_type = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn engine(data_root: PathBuf) -> EngineInfo {
        EngineInfo {
            id: String::new(),
            version: "29.0.0".into(),
            data_root_here: data_root.clone(),
            data_root,
            storage_driver: "overlayfs".into(),
            cgroup_version: "2".into(),
            containerd_store: true,
            native_diff: false,
        }
    }

    #[test]
    fn an_index_whose_other_platforms_are_absent_gives_the_nodes_own() {
        let dir = tempfile::tempdir().unwrap();
        let layer = put(dir.path(), "layer.v1.tar", b"layer");
        let config = json!({
            "os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = put(dir.path(), "config.v1+json", config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        let mut here = put(
            dir.path(),
            "manifest.v1+json",
            manifest.to_string().as_bytes(),
        );
        here["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let mut absent = here.clone();
        absent["digest"] = json!(format!("sha256:{}", "a".repeat(64)));
        absent["platform"]["architecture"] = json!("arm64");
        // Without a media type of its own, as the OCI allows.
        let index = json!({"schemaVersion": 2, "manifests": [absent, here]});
        let index = put(dir.path(), "index.v1+json", index.to_string().as_bytes());
        let engine = engine(dir.path().to_owned());
        let platform = |architecture: &str| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: String::new(),
        };
        for target in [&index, &here] {
            let id = target["digest"].as_str().unwrap();
            let content = Content::of(&engine, id).unwrap().unwrap();
            let (images, _) = saved::read(Box::new(content), &platform("amd64")).unwrap();
            assert_eq!(
                images[0].manifest.blob.digest,
                here["digest"].as_str().unwrap()
            );
        }
        let id = index["digest"].as_str().unwrap();
        let content = Content::of(&engine, id).unwrap().unwrap();
        let error = saved::read(Box::new(content), &platform("arm64"))
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("linux/arm64 by name only"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = engine(dir.path().to_owned());
        let id = format!("sha256:{}", "a".repeat(64));
        assert!(Content::of(&engine, &id).unwrap().is_none());
        assert!(Content::of(&engine, "../../etc/passwd").unwrap().is_none());
        engine.containerd_store = false;
        assert!(Content::of(&engine, &id).unwrap().is_none());
    }
}

//! Manifests, configurations and indexes: the JSON documents that make an image of blobs.

use std::collections::HashMap;

use kubenest_base::digest::sha256_hex;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use super::reference::is_digest;
use kubenest_base::{Error, Result};
use kubenest_node::node::containerd::{Blob, Platform};

/// The largest JSON that is read.
pub(super) const JSON_LIMIT: u64 = 8 << 20;

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const INDEXES: [&str; 2] = [
    OCI_INDEX,
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// An image of one platform: everything except the bytes of its layers.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// The names of the image, as CRI spells them.
    pub(super) names: Vec<String>,
    pub(super) manifest: Json,
    /// The configuration; its digest is CRI's id of the image.
    pub(super) config: Json,
    /// The layers, the lowest first.
    pub(super) layers: Vec<Layer>,
    pub(super) platform: Platform,
    /// The engine's id of the image, if that is neither the digest of the configuration nor a name.
    pub(super) origin: Option<String>,
}

/// A blob that is held in memory.
#[derive(Debug, Clone)]
pub(super) struct Json {
    pub(super) blob: Blob,
    pub(super) bytes: Vec<u8>,
}

/// A layer, and the chain of layers that it completes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) blob: Blob,
    /// Digest of the tar without compression.
    pub(super) diff_id: String,
    /// Chain id: the name of the snapshot that has this layer and all below it.
    pub(super) chain: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: i64,
    #[serde(default, skip_serializing)]
    pub(super) platform: Option<PlatformJson>,
    #[serde(default, skip_serializing, deserialize_with = "null_as_default")]
    pub(super) annotations: HashMap<String, String>,
}

/// A platform. Its fields may be absent, because signatures and the like are manifests without a
/// platform.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PlatformJson {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    variant: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Index {
    /// Docker 25.0 writes `null` when an image is saved by digest.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) manifests: Vec<Descriptor>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    pub(super) config: Descriptor,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) layers: Vec<Descriptor>,
}

/// The fields that are read of an image's configuration.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(flatten)]
    pub(super) platform: PlatformJson,
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) diff_ids: Vec<String>,
}

/// One image of a docker-archive's `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) layers: Vec<String>,
}

/// Go's encoders write an empty list or mapping as `null`.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Image {
    /// Builds an image from its manifest and configuration, which must agree with each other.
    pub(super) fn new(manifest: Json, config: Json) -> Result<Self> {
        let told: Manifest = parse(&manifest.bytes, "the manifest")?;
        let Config { platform, rootfs } = parse(&config.bytes, "the configuration")?;
        let (blobs, diff_ids) = (told.layers.len(), rootfs.diff_ids.len());
        if blobs != diff_ids {
            return Err(broken(format!(
                "the manifest has {blobs} layers and the configuration {diff_ids}"
            )));
        }
        let chains = chains(&rootfs.diff_ids)?;
        let layers = told.layers.into_iter().zip(rootfs.diff_ids).zip(chains);
        let layer = |((blob, diff_id), chain): ((Descriptor, String), String)| {
            Ok(Layer {
                blob: blob.checked()?,
                diff_id,
                chain,
            })
        };
        let layers: Vec<Layer> = layers.map(layer).collect::<Result<_>>()?;
        let mut sizes = layers.iter().map(|layer| layer.blob.size);
        if sizes.try_fold(0_i64, i64::checked_add).is_none() {
            return Err(broken(format!(
                "the sizes of its {blobs} layers add up to more than any image has"
            )));
        }
        Ok(Self {
            names: Vec::new(),
            manifest,
            config,
            layers,
            platform: platform.into(),
            origin: None,
        })
    }

    /// Builds an image that has no manifest. The manifest is made here, always the same for the
    /// same layers.
    pub(super) fn made(config: Vec<u8>, layers: &[Descriptor]) -> Result<Self> {
        let config = Json::new(OCI_CONFIG, config);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config: Descriptor::of(&config.blob),
            layers: layers.to_vec(),
        };
        let bytes = serde_json::to_vec(&manifest).expect("a manifest must be JSON");
        Self::new(Json::new(OCI_MANIFEST, bytes), config)
    }

    /// The chain of all layers; `None` if the image has no layers.
    pub(super) fn chain(&self) -> Option<&str> {
        self.layers.last().map(|layer| layer.chain.as_str())
    }

    /// How many blobs the image is made of.
    pub(super) fn blobs(&self) -> usize {
        self.layers.len() + 2
    }

    /// Adds names that a user gave to the names that the image has.
    pub(super) fn also_named(mut self, names: impl IntoIterator<Item = String>) -> Self {
        for name in names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        self
    }
}

impl Json {
    /// A blob of these bytes.
    pub(super) fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        let blob = Blob {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{}", sha256_hex(&bytes)),
            size: bytes.len().try_into().expect("JSON must be small"),
        };
        Self { blob, bytes }
    }

    /// The blob of this descriptor, if these are its bytes.
    pub(super) fn verified(descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Self> {
        let found = Self::new(&descriptor.media_type, bytes);
        if found.blob.digest != descriptor.digest {
            let (wanted, found) = (&descriptor.digest, &found.blob.digest);
            return Err(broken(format!("blob {wanted} has digest {found}")));
        }
        Ok(found)
    }
}

impl Descriptor {
    pub(super) fn of(blob: &Blob) -> Self {
        Self {
            media_type: blob.media_type.clone(),
            digest: blob.digest.clone(),
            size: blob.size,
            platform: None,
            annotations: HashMap::new(),
        }
    }

    /// The descriptor of a layer; `compression` is empty, `+gzip` or `+zstd`.
    pub(super) fn layer(digest: String, size: u64, compression: &str) -> Self {
        Self::of(&Blob {
            media_type: format!("{OCI_LAYER}{compression}"),
            digest,
            size: size.try_into().unwrap_or(i64::MAX),
        })
    }

    pub(super) fn is_index(&self) -> bool {
        INDEXES.contains(&self.media_type.as_str())
    }

    /// The blob that the descriptor names, if its digest and size are possible.
    pub(super) fn checked(self) -> Result<Blob> {
        let Self {
            media_type,
            digest,
            size,
            ..
        } = self;
        if !is_digest(&digest) || size < 0 {
            return Err(broken(format!("'{digest}' of {size} bytes is no blob")));
        }
        Ok(Blob {
            media_type,
            digest,
            size,
        })
    }
}

impl From<PlatformJson> for Platform {
    fn from(json: PlatformJson) -> Self {
        let PlatformJson {
            os,
            architecture,
            variant,
        } = json;
        Self {
            os,
            architecture,
            variant,
        }
    }
}

/// Whether programs of `image` run on `node`.
pub(super) fn runs_on(image: &Platform, node: &Platform) -> bool {
    let same = |a: &str, b: &str| a == b || a.is_empty() || b.is_empty();
    let variants = node.architecture != "arm" || same(&image.variant, &node.variant);
    image.os == node.os && image.architecture == node.architecture && variants
}

/// A platform such as `linux/amd64`.
pub(super) fn show(platform: &Platform) -> String {
    let Platform {
        os,
        architecture,
        variant,
    } = platform;
    let variant = if variant.is_empty() {
        String::new()
    } else {
        format!("/{variant}")
    };
    format!("{os}/{architecture}{variant}")
}

/// The name of each chain of layers, the lowest first.
pub(super) fn chains(diff_ids: &[String]) -> Result<Vec<String>> {
    let mut chains: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        if !is_digest(diff_id) {
            return Err(broken(format!("'{diff_id}' is no layer's digest")));
        }
        chains.push(match chains.last() {
            None => diff_id.clone(),
            Some(parent) => {
                let both = format!("{parent} {diff_id}");
                format!("sha256:{}", sha256_hex(both.as_bytes()))
            }
        });
    }
    Ok(chains)
}

/// Parses JSON of an image, which is untrusted input.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|cause| broken(format!("cannot read {what}")).because(cause))
}

/// The error for an image that is broken itself.
pub(super) fn broken(what: impl Into<String>) -> Error {
    Error::input(what).cure("save or build the image again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_named_as_containerd_names_them() {
        let ids: Vec<String> = ["a", "b", "c"]
            .map(|letter| format!("sha256:{}", letter.repeat(64)))
            .to_vec();
        let chains = chains(&ids).unwrap();
        assert_eq!(chains[0], ids[0]);
        let both = format!("{} {}", ids[0], ids[1]);
        assert_eq!(chains[1], format!("sha256:{}", sha256_hex(both.as_bytes())));
        assert!(super::chains(&["sha256:1".to_owned()]).is_err());
    }

    #[test]
    fn a_variant_matters_on_arm_only() {
        let platform = |architecture: &str, variant: &str| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.into(),
        };
        assert!(runs_on(&platform("arm64", "v8"), &platform("arm64", "")));
        assert!(runs_on(&platform("amd64", ""), &platform("amd64", "v3")));
        assert!(!runs_on(&platform("arm", "v7"), &platform("arm", "v6")));
        assert!(!runs_on(&platform("arm64", ""), &platform("amd64", "")));
    }

    #[test]
    fn layers_and_configuration_must_agree() {
        let id = format!("sha256:{}", "a".repeat(64));
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [id]},
        });
        let config = config.to_string().into_bytes();
        let layer = Descriptor::layer(id.clone(), 7, "");
        let image = Image::made(config.clone(), std::slice::from_ref(&layer)).unwrap();
        assert_eq!(image.layers[0].blob.digest, id);
        assert_eq!(
            image.manifest.blob,
            Image::made(config.clone(), &[layer]).unwrap().manifest.blob
        );
        let error = Image::made(config, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the manifest has 0 layers and the configuration 1"
        );
    }

    #[test]
    fn sizes_that_no_image_has_are_refused() {
        let ids = ["a", "b"].map(|letter| format!("sha256:{}", letter.repeat(64)));
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ids},
        });
        let config = config.to_string().into_bytes();
        let image = |sizes: [u64; 2]| {
            let layers = ids.iter().zip(sizes);
            let layers = layers.map(|(id, size)| Descriptor::layer(id.clone(), size, ""));
            Image::made(config.clone(), &layers.collect::<Vec<_>>())
        };
        let most = u64::try_from(i64::MAX).unwrap();
        assert!(image([most - 1, 1]).is_ok());
        let error = image([most, most]).unwrap_err();
        assert_eq!(error.kind(), kubenest_base::ErrorKind::Input);
        assert!(error.to_string().contains("add up to more"), "{error}");
    }
}

//! Image references: a name pinned by digest, or a tag if the user allows it.

use kubenest_base::digest::is_sha256_hex;
use std::fmt;

use kubenest_base::{Error, Result, reference::parts};

/// A reference to an image, `name[:tag][@sha256:…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef {
    text: String,
}

impl ImageRef {
    /// Reads a reference that carries a digest.
    ///
    /// # Errors
    /// Input when the text is no reference, or has only a tag.
    pub fn pinned(text: &str) -> Result<Self> {
        let image = Self::tagged(text)?;
        if image.digest().is_some() {
            return Ok(image);
        }
        Err(
            Error::input(format!("image {text} is not pinned by a digest")).cure(
                "append @sha256:…, as `docker buildx imagetools inspect` shows it; \
             or set `allow_tag: true` in a recipe file",
            ),
        )
    }

    /// Reads a reference with or without a digest.
    ///
    /// # Errors
    /// Input when the text is no reference.
    pub fn tagged(text: &str) -> Result<Self> {
        let digest = parts(text).digest;
        let name = text.split('@').next().unwrap_or_default();
        let name_ok = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c));
        let digest_ok =
            digest.is_none_or(|digest| digest.strip_prefix("sha256:").is_some_and(is_sha256_hex));
        if name_ok && digest_ok {
            return Ok(Self {
                text: text.to_owned(),
            });
        }
        Err(Error::input(format!("`{text}` is no image reference"))
            .cure("write it as name:tag@sha256:<64 hex digits>"))
    }

    /// The digest, `sha256:…`, if the reference has one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        parts(&self.text).digest
    }

    /// Name and tag without the digest, if there is a tag.
    #[must_use]
    pub fn tagged_name(&self) -> Option<&str> {
        parts(&self.text).tag?;
        self.text.split('@').next()
    }

    /// The whole reference.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_pins_with_or_without_tag() {
        let hex = "ab".repeat(32);
        for name in [
            "kindest/node:v1.32.1",
            "kindest/node",
            "127.0.0.1:5000/team/node:a",
        ] {
            let text = format!("{name}@sha256:{hex}");
            assert_eq!(ImageRef::pinned(&text).unwrap().digest().unwrap()[7..], hex);
        }
    }

    #[test]
    fn a_port_is_no_tag() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (name, tagged) in [
            ("kindest/node:v1.32.1", true),
            ("127.0.0.1:5000/node:a", true),
            ("127.0.0.1:5000/node", false),
            ("kindest/node", false),
        ] {
            let image = ImageRef::pinned(&format!("{name}@{digest}")).unwrap();
            assert_eq!(image.tagged_name(), tagged.then_some(name));
        }
    }

    #[test]
    fn a_tag_alone_is_refused_with_a_cure() {
        let error = ImageRef::pinned("kindest/node:v1.32.1").unwrap_err();
        assert!(error.to_string().contains("kindest/node:v1.32.1"));
        assert!(error.cure_text().unwrap().contains("allow_tag"));
        assert!(
            ImageRef::tagged("kindest/node:v1.32.1")
                .unwrap()
                .digest()
                .is_none()
        );
    }

    #[test]
    fn an_invalid_reference_is_refused() {
        for text in [
            "",
            "--privileged",
            "a b",
            "a@sha256:12",
            "a@md5:00",
            "a@",
            "$(id)",
        ] {
            assert!(ImageRef::tagged(text).is_err(), "{text}");
        }
    }
}

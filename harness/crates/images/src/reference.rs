//! Names of images, spelled out as CRI keeps them: `app` is `docker.io/library/app:latest`.

use kubenest_base::{
    Error, Result,
    digest::is_sha256_hex,
    reference::{Parts, parts, registry_and_path},
};

/// An image's name with its registry and its tag or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Registry and path, such as `docker.io/library/app`.
    pub(super) repository: String,
    /// The tag or the digest, such as `:latest` or `@sha256:…`.
    suffix: Suffix,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Suffix {
    Tag(String),
    Digest(String),
}

impl Reference {
    /// Parses a name as people write it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (name, suffix) = split(text).ok_or_else(|| wrong(text))?;
        let (host, path) = match registry_and_path(name) {
            Some((host, path)) => (host, path.to_owned()),
            None if name.contains('/') => ("docker.io", name.to_owned()),
            None => ("docker.io", format!("library/{name}")),
        };
        let (host, path) = match host {
            "docker.io" | "index.docker.io" if !path.contains('/') => {
                ("docker.io", format!("library/{path}"))
            }
            "index.docker.io" => ("docker.io", path),
            _ => (host, path),
        };
        let host_fine = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let part_fine = |part: &str| {
            let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
            part.bytes().all(fine) && edge(part.bytes().next()) && edge(part.bytes().last())
        };
        if !host.bytes().all(host_fine) || !path.split('/').all(part_fine) || name.len() > 255 {
            return Err(wrong(text));
        }
        Ok(Self {
            repository: format!("{host}/{path}"),
            suffix,
        })
    }

    /// The digest, if the reference has one.
    pub(super) fn digest(&self) -> Option<&str> {
        match &self.suffix {
            Suffix::Digest(digest) => Some(digest),
            Suffix::Tag(_) => None,
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.suffix {
            Suffix::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Suffix::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// Whether this is `sha256:` and 64 lowercase hexadecimal digits.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_sha256_hex)
}

/// A name as CRI spells it; `None` if a pod could not use it.
pub(super) fn spell_out(name: &str) -> Option<String> {
    Reference::parse(name).ok().map(|name| name.to_string())
}

/// Splits a name from its suffix; a tag beside a digest is ignored.
fn split(text: &str) -> Option<(&str, Suffix)> {
    let Parts { name, tag, digest } = parts(text);
    if !digest.is_none_or(is_digest) {
        return None;
    }
    let tag = tag.unwrap_or("latest");
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let first = tag.bytes().next()?;
    if tag.len() > 128
        || !tag.bytes().all(fine)
        || !(first.is_ascii_alphanumeric() || first == b'_')
    {
        return None;
    }
    Some(match digest {
        Some(digest) => (name, Suffix::Digest(digest.to_owned())),
        None => (name, Suffix::Tag(tag.to_owned())),
    })
}

fn wrong(text: &str) -> Error {
    Error::input(format!("'{text}' is no image's name"))
        .cure("write it as name:tag or registry/name@sha256:…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_out_as_cri_does() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (short, long) in [
            ("app", "docker.io/library/app:latest".to_owned()),
            ("app:1", "docker.io/library/app:1".to_owned()),
            ("team/app:1", "docker.io/team/app:1".to_owned()),
            ("docker.io/app", "docker.io/library/app:latest".to_owned()),
            ("index.docker.io/a/b:1", "docker.io/a/b:1".to_owned()),
            ("localhost/app:1", "localhost/app:1".to_owned()),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest".to_owned()),
            (&format!("a.b/c:1@{digest}"), format!("a.b/c@{digest}")),
        ] {
            let parsed = Reference::parse(short).unwrap();
            assert_eq!(parsed.to_string(), long);
            assert_eq!(Reference::parse(&long).unwrap(), parsed);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ":1",
            "App:1",
            "a:",
            "a b",
            "a/../b",
            "a//b",
            "/a",
            "a@sha256:1",
            "a:-x",
            "-a",
            "a.b/",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}

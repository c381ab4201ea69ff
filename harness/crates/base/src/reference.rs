//! Splits image references into their parts: `registry:5000/path:tag@sha256:…`.

/// The parts of an image reference as written; they are not validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Registry and path.
    pub name: &'a str,
    /// What follows the last colon.
    pub tag: Option<&'a str>,
    /// What follows the `@`.
    pub digest: Option<&'a str>,
}

/// Splits an image reference.
pub fn parts(reference: &str) -> Parts<'_> {
    let (tagged, digest) = match reference.split_once('@') {
        Some((tagged, digest)) => (tagged, Some(digest)),
        None => (reference, None),
    };
    let (name, tag) = match tagged.rsplit_once(':') {
        // A colon before a `/` starts a port, not a tag.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (tagged, None),
    };
    Parts { name, tag, digest }
}

/// Registry and path of a name; `None` if the name has no registry.
pub fn registry_and_path(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(first, _)| is_registry(first))
}

/// Whether the first part of a name is a registry, by Docker's rule.
fn is_registry(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        for (text, expected) in [
            ("node", ("node", None, None)),
            ("a.b:5000/node", ("a.b:5000/node", None, None)),
            ("a.b:5000/node:a", ("a.b:5000/node", Some("a"), None)),
            ("node@sha256:ab", ("node", None, Some("sha256:ab"))),
            ("node:a@sha256:ab", ("node", Some("a"), Some("sha256:ab"))),
            ("node:", ("node", Some(""), None)),
        ] {
            let Parts { name, tag, digest } = parts(text);
            assert_eq!((name, tag, digest), expected, "{text}");
        }
    }

    #[test]
    fn a_registry_has_a_dot_a_port_or_capitals_or_is_localhost() {
        for (name, registry) in [
            ("node", None),
            ("team/node", None),
            ("a.b/node", Some("a.b")),
            ("localhost/node", Some("localhost")),
            ("registry:5000/team/node", Some("registry:5000")),
            ("Registry/node", Some("Registry")),
        ] {
            let found = registry_and_path(name).map(|(registry, _)| registry);
            assert_eq!(found, registry, "{name}");
        }
    }
}

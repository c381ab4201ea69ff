//! Registries of a cluster: where its nodes pull images from, and with which login.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::ClusterSpec;
use kubenest_base::{Error, Result, digest::sha256_hex};
use kubenest_docker::FileEntry;
use kubenest_node::node::Runtime;

/// The registry whose images need not name it.
const DOCKER_HUB: &str = "docker.io";
/// Where the kubelet looks for logins that hold for all pods.
const LOGINS: &str = "/var/lib/kubelet/config.json";
const CONTAINERD: &str = "/etc/containerd/certs.d";
const CRI_O: &str = "/etc/containers/registries.conf.d/50-kubenest.conf";

/// Mirrors and logins by registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in crate::cluster) struct Registries {
    mirrors: BTreeMap<String, Vec<String>>,
    logins: BTreeMap<String, Login>,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
struct Login {
    user: String,
    #[serde(serialize_with = "digest")]
    password: String,
}

impl ClusterSpec {
    /// Lets the nodes pull images of a registry, such as `docker.io`, from a mirror first; of several
    /// mirrors the first that has the image. What none has is pulled from the registry itself.
    ///
    /// The mirror is reached from the nodes: `http://NAME:5000` is container `NAME` on the cluster's
    /// network, such as one of [`Case::start_container`](crate::Case).
    ///
    /// # Errors
    /// It is no name of a registry, or no URL of scheme http or https with nothing but a host and
    /// perhaps a port.
    ///
    /// ```
    /// # fn spec() -> kubenest::Result<kubenest::ClusterSpec> {
    /// kubenest::ClusterSpec::single_node()
    ///     .with_registry_mirror("docker.io", "https://mirror.example.com")?
    ///     .with_registry_login("docker.io", "ci", &std::env::var("MIRROR_TOKEN").unwrap_or_default())
    /// # }
    /// ```
    pub fn with_registry_mirror(mut self, registry: &str, url: &str) -> Result<Self> {
        check_registry(registry)?;
        let host = ["http://", "https://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme));
        if !host.is_some_and(is_host) {
            return Err(
                Error::input(format!("'{url}' is no mirror of '{registry}'"))
                    .cure("give scheme and host, such as http://mirror.example.com:5000"),
            );
        }
        let mirrors = self.registries.mirrors.entry(registry.to_owned());
        mirrors.or_default().push(url.to_owned());
        Ok(self)
    }

    /// Lets the kubelets log in where they pull images of a registry, from it or from its mirrors. No
    /// pod needs a pull secret for them. Who may read the node's files can read the login. CRI-O sends
    /// none to a mirror: a spec that asks for that is refused.
    ///
    /// # Errors
    /// It is no name of a registry, or the user has a colon.
    pub fn with_registry_login(
        mut self,
        registry: &str,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        check_registry(registry)?;
        if user.contains(':') {
            return Err(Error::input(
                "a user of a registry has no colon in the name",
            ));
        }
        let login = Login {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        self.registries.logins.insert(registry.to_owned(), login);
        Ok(self)
    }
}

impl Registries {
    /// The files that tell a node's runtime and kubelet of them.
    pub(in crate::cluster) fn files(&self, runtime: Runtime) -> Vec<FileEntry> {
        let mut files = match runtime {
            Runtime::Containerd => self.containerd(),
            Runtime::CriO => self.cri_o(),
        };
        if !self.logins.is_empty() {
            let auths = self.logins.iter().map(|(registry, login)| {
                // Docker's own name for it, which is what the kubelet looks up.
                let key = match registry.as_str() {
                    DOCKER_HUB => "https://index.docker.io/v1/",
                    other => other,
                };
                let pair = format!("{}:{}", login.user, login.password);
                (key, json!({"auth": BASE64_STANDARD.encode(pair)}))
            });
            let text = json!({"auths": auths.collect::<BTreeMap<_, _>>()}).to_string();
            files.push(FileEntry::new(LOGINS, text).with_mode(0o600));
        }
        files
    }

    /// Whether a login is for a registry with mirrors. CRI-O sends it to the registry alone.
    pub(in crate::cluster) fn have_login_at_mirror(&self) -> bool {
        let mut mirrored = self.mirrors.keys();
        mirrored.any(|registry| self.logins.contains_key(registry))
    }

    /// A file for each registry, which containerd reads at each pull.
    fn containerd(&self) -> Vec<FileEntry> {
        let file = |(registry, mirrors): (&String, &Vec<String>)| {
            let hosts = mirrors
                .iter()
                .map(|url| format!("[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"));
            let server = match registry.as_str() {
                DOCKER_HUB => "registry-1.docker.io",
                other => other,
            };
            let text = format!(
                "server = \"https://{server}\"\n\n{}",
                hosts.collect::<String>()
            );
            FileEntry::new(format!("{CONTAINERD}/{registry}/hosts.toml"), text)
        };
        self.mirrors.iter().map(file).collect()
    }

    /// One file for all.
    fn cri_o(&self) -> Vec<FileEntry> {
        if self.mirrors.is_empty() {
            return Vec::new();
        }
        let mut text = String::new();
        for (registry, mirrors) in &self.mirrors {
            text += &format!("[[registry]]\nlocation = \"{registry}\"\n");
            for url in mirrors {
                let (scheme, host) = url.split_once("://").unwrap_or(("https", url));
                text += &format!(
                    "[[registry.mirror]]\nlocation = \"{host}\"\ninsecure = {}\n",
                    scheme == "http"
                );
            }
        }
        vec![FileEntry::new(CRI_O, text)]
    }
}

/// Without the password, which must not get into a log.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Another password makes another cluster, but is not told.
fn digest<S: Serializer>(password: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&sha256_hex(password.as_bytes()))
}

fn check_registry(name: &str) -> Result<()> {
    match is_host(name) {
        true => Ok(()),
        false => Err(Error::input(format!("'{name}' is no name of a registry"))
            .cure("give a host, and a port where it has one, such as docker.io or localhost:5000")),
    }
}

/// Whether the text is a host, perhaps with a port: nothing that would leave its folder or its line.
fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "1"));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let named = host.bytes().all(is_plain) && host.bytes().any(|byte| byte.is_ascii_alphanumeric());
    named && !host.starts_with('.') && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ClusterSpec {
        ClusterSpec::single_node()
            .with_registry_mirror("docker.io", "http://mirror:5000")
            .and_then(|spec| spec.with_registry_mirror("docker.io", "https://other.example.com"))
            .and_then(|spec| spec.with_registry_login("docker.io", "ci", "secret"))
            .unwrap()
    }

    fn told(runtime: Runtime) -> String {
        let files = spec().registries.files(runtime).into_iter().map(|file| {
            let text = String::from_utf8(file.content).unwrap();
            format!("{:o} {}\n{text}\n", file.mode, file.path)
        });
        files.collect()
    }

    #[test]
    fn each_runtime_is_told_of_mirrors_in_its_own_way() {
        insta::assert_snapshot!(told(Runtime::Containerd), @r#"
        644 /etc/containerd/certs.d/docker.io/hosts.toml
        server = "https://registry-1.docker.io"

        [host."http://mirror:5000"]
          capabilities = ["pull", "resolve"]
        [host."https://other.example.com"]
          capabilities = ["pull", "resolve"]

        600 /var/lib/kubelet/config.json
        {"auths":{"https://index.docker.io/v1/":{"auth":"Y2k6c2VjcmV0"}}}
        "#);
        insta::assert_snapshot!(told(Runtime::CriO), @r#"
        644 /etc/containers/registries.conf.d/50-kubenest.conf
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror:5000"
        insecure = true
        [[registry.mirror]]
        location = "other.example.com"
        insecure = false

        600 /var/lib/kubelet/config.json
        {"auths":{"https://index.docker.io/v1/":{"auth":"Y2k6c2VjcmV0"}}}
        "#);
        let none = Registries::default();
        assert!(none.files(Runtime::Containerd).is_empty());
        assert!(none.files(Runtime::CriO).is_empty());
    }

    #[test]
    fn a_password_is_in_no_text_for_people_and_in_no_key() {
        let registries = spec().registries;
        let key = serde_json::to_string(&registries).unwrap();
        for text in [format!("{registries:?}"), key.clone()] {
            assert!(!text.contains("secret"), "{text}");
        }
        let other = spec()
            .with_registry_login("docker.io", "ci", "other")
            .unwrap();
        assert_ne!(serde_json::to_string(&other.registries).unwrap(), key);
    }

    #[test]
    fn what_is_no_registry_or_mirror_is_refused() {
        let spec = ClusterSpec::single_node;
        for name in [
            "", "..", "../x", "a/b", "a b", "a:", "a:0", "a:b", "a\"", ".hidden", "a\n",
        ] {
            assert!(
                spec().with_registry_mirror(name, "http://a").is_err(),
                "{name:?}"
            );
            assert!(
                spec().with_registry_login(name, "a", "b").is_err(),
                "{name:?}"
            );
        }
        for url in [
            "",
            "a",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a\"]",
            "https://u:p@a",
        ] {
            let refused = spec().with_registry_mirror("docker.io", url);
            assert!(refused.is_err(), "{url:?}");
        }
        assert!(spec().with_registry_login("a.b", "a:b", "c").is_err());
        assert!(
            spec()
                .with_registry_mirror("localhost:5000", "https://a-b.c_d:443")
                .is_ok()
        );
    }
}

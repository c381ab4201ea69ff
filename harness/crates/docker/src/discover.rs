//! Finds the engine that Docker's own clients would use.
//!
//! The order is `DOCKER_HOST`, then `DOCKER_CONTEXT` or the context in use, then the usual sockets.
//! An engine that the user named is used or is an error; only a usual socket is skipped when
//! nothing answers there.

mod context;

use std::{
    fmt,
    io::ErrorKind::PermissionDenied,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Docker,
    client::{Client, NEVER},
};
use kubenest_base::{
    Error, Result,
    settings::{DockerEnv, Settings},
    wait,
};

const SYSTEM_SOCKET: &str = "/var/run/docker.sock";

/// How long an engine may take for its first answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Where an engine listens, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Who named it.
    pub origin: Origin,
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp {
        /// `host:port`.
        host: String,
        /// Folder with `ca.pem`, `cert.pem` and `key.pem`; plain HTTP without.
        tls: Option<PathBuf>,
    },
}

/// Who named an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `DOCKER_HOST`.
    Variable,
    /// The Docker context of this name.
    Context(String),
    /// Nobody: it listens at one of the usual sockets.
    Socket,
    /// Nobody: it is kubenest's own.
    Embedded,
    /// Nobody: it runs in a pod of a cluster.
    Nested(Nest),
}

/// The place of an engine in a pod of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nest {
    /// The folder in which this machine sees the pod's root.
    pub root: PathBuf,
    /// The names of the clusters around it, the outermost first, with slashes between them.
    pub around: String,
}

impl Endpoint {
    /// An engine's Unix socket.
    pub fn unix(path: impl Into<PathBuf>, origin: Origin) -> Self {
        Self {
            address: Address::Unix(path.into()),
            origin,
        }
    }

    /// The Unix socket, when it has one.
    pub fn socket(&self) -> Option<&Path> {
        match &self.address {
            Address::Unix(path) => Some(path),
            Address::Tcp { .. } => None,
        }
    }

    /// The variables by which Docker's own clients find this engine and no other.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let tls = match &self.address {
            Address::Tcp { tls: Some(dir), .. } => dir.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        let verify = if tls.is_empty() { "" } else { "1" };
        vec![
            ("DOCKER_HOST", self.to_string()),
            ("DOCKER_CONTEXT", String::new()),
            ("DOCKER_TLS_VERIFY", verify.to_owned()),
            ("DOCKER_CERT_PATH", tls),
        ]
    }

    /// The error for an engine that was found but does not answer.
    pub fn silent(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let cure = match &self.origin {
            Origin::Variable => "start that engine, or correct or unset DOCKER_HOST".to_owned(),
            Origin::Context(name) => {
                format!("start the engine of context '{name}', or `docker context use` another")
            }
            Origin::Socket => "start or repair the Docker engine (`docker info` must answer), \
                               or set KUBENEST_ENGINE=embedded"
                .to_owned(),
            Origin::Embedded => "kubenest engine stop, then try again".to_owned(),
            Origin::Nested(_) => "see the log of its pod in the cluster around it".to_owned(),
        };
        Error::setup(format!(
            "the Docker engine at {self} ({}) does not answer",
            self.origin
        ))
        .because(cause)
        .cure(cure)
    }
}

/// The address in the form of `DOCKER_HOST`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp { host, .. } => write!(f, "tcp://{host}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable => f.write_str("named by DOCKER_HOST"),
            Self::Context(name) => write!(f, "named by Docker context '{name}'"),
            Self::Socket => f.write_str("the usual socket"),
            Self::Embedded => f.write_str("kubenest's own"),
            Self::Nested(_) => f.write_str("in a pod of a cluster"),
        }
    }
}

impl Docker {
    /// The engine that listens at `endpoint`, for a user with these settings.
    ///
    /// # Errors
    /// It does not answer; the error says who named it.
    pub async fn at(endpoint: &Endpoint, settings: &Arc<Settings>) -> Result<Self> {
        let (timeout, version) = (NEVER, bollard::API_DEFAULT_VERSION);
        let address = endpoint.to_string();
        let raw = match &endpoint.address {
            Address::Unix(_) => bollard::Docker::connect_with_unix(&address, timeout, version),
            Address::Tcp { tls: None, .. } => {
                bollard::Docker::connect_with_http(&address, timeout, version)
            }
            Address::Tcp { tls: Some(dir), .. } => {
                let [key, cert, ca] = ["key.pem", "cert.pem", "ca.pem"].map(|pem| dir.join(pem));
                bollard::Docker::connect_with_ssl(&address, &key, &cert, &ca, timeout, version)
            }
        };
        let answered = async { Ok(raw?.negotiate_version().await?) };
        let answer: Result<_, Box<dyn std::error::Error + Send + Sync>> =
            match wait::at_most(ANSWER, answered).await {
                Some(answer) => answer,
                None => Err(format!("no answer within {ANSWER:?}").into()),
            };
        answer
            .map(|raw: bollard::Docker| Self {
                raw: Client::new(raw),
                endpoint: endpoint.clone(),
                settings: Arc::clone(settings),
            })
            .map_err(|cause| endpoint.silent(cause))
    }
}

/// Finds the engine that Docker's own clients would use; `None` when there is none.
///
/// # Errors
/// The variables or the context name something that cannot be used, or the only engine
/// there is may not be used by this user.
pub fn discover(env: &DockerEnv) -> Result<Option<Endpoint>> {
    discover_at(env, Path::new(SYSTEM_SOCKET))
}

fn discover_at(env: &DockerEnv, system_socket: &Path) -> Result<Option<Endpoint>> {
    if let Some(host) = &env.host {
        return from_variables(env, host).map(Some);
    }
    let Some(config_dir) = &env.config_dir else {
        return usual_socket(env, system_socket);
    };
    let named = match &env.context {
        Some(name) => Some(name.clone()),
        None => context::current(config_dir)?,
    };
    match named.as_deref() {
        None | Some("default") => usual_socket(env, system_socket),
        Some(name) => {
            let found = context::load(config_dir, name)?;
            let origin = Origin::Context(name.to_owned());
            Ok(Some(Endpoint {
                address: parse(&found.host, found.tls, &origin)?,
                origin,
            }))
        }
    }
}

fn from_variables(env: &DockerEnv, host: &str) -> Result<Endpoint> {
    let tls = if env.tls_verify || host.starts_with("https://") {
        let dir = env.cert_path.clone().or_else(|| env.config_dir.clone());
        Some(dir.ok_or_else(|| {
            Error::setup("DOCKER_TLS_VERIFY is set, but no folder with certificates is known")
                .cure("set DOCKER_CERT_PATH to the folder with ca.pem, cert.pem and key.pem")
        })?)
    } else {
        None
    };
    Ok(Endpoint {
        address: parse(host, tls, &Origin::Variable)?,
        origin: Origin::Variable,
    })
}

fn usual_socket(env: &DockerEnv, system: &Path) -> Result<Option<Endpoint>> {
    let below = |dir: &Option<PathBuf>, name| dir.as_ref().map(|dir: &PathBuf| dir.join(name));
    let candidates = [
        Some(system.to_owned()),
        below(&env.runtime_dir, "docker.sock"),
        below(&env.home, ".docker/run/docker.sock"),
        below(&env.home, ".docker/desktop/docker.sock"),
    ];
    let mut forbidden = None;
    for path in candidates.into_iter().flatten() {
        match UnixStream::connect(&path) {
            Ok(_) => return Ok(Some(Endpoint::unix(path, Origin::Socket))),
            Err(e) if e.kind() == PermissionDenied => forbidden = forbidden.or(Some((path, e))),
            // There is no engine, or an engine has died and left its socket.
            Err(_) => {}
        }
    }
    forbidden.map_or(Ok(None), |(path, cause)| {
        Err(Error::setup(format!(
            "this user may not use the engine at '{}'",
            path.display()
        ))
        .because(cause)
        .cure("add the user to the group `docker` and log in again"))
    })
}

fn parse(text: &str, tls: Option<PathBuf>, origin: &Origin) -> Result<Address> {
    let wrong = |why: &str| {
        Error::setup(format!("the engine address '{text}' ({origin}) {why}"))
            .cure("use unix:///path/to/docker.sock or tcp://host:port")
    };
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" if rest.starts_with('/') => return Ok(Address::Unix(rest.into())),
        "unix" => return Err(wrong("is no absolute path")),
        "tcp" | "http" | "https" => {}
        "ssh" => {
            return Err(wrong("goes over ssh, which kubenest does not speak").cure(format!(
                "forward the socket (`ssh -NL /tmp/docker.sock:{SYSTEM_SOCKET} {rest}`) and set \
                 DOCKER_HOST=unix:///tmp/docker.sock"
            )));
        }
        _ => return Err(wrong("has a scheme that kubenest does not speak")),
    }
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '@']) {
        return Err(wrong("is not host:port"));
    }
    if scheme == "https" && tls.is_none() {
        return Err(wrong("needs TLS files, and none are there"));
    }
    if let Some(dir) = &tls {
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            if !dir.join(file).is_file() {
                return Err(wrong(&format!("needs '{}'", dir.join(file).display()))
                    .cure("put ca.pem, cert.pem and key.pem there, or set DOCKER_CERT_PATH"));
            }
        }
    }
    let port = if tls.is_some() { 2376 } else { 2375 };
    let has_port = host.rsplit_once(':').is_some_and(|(name, port)| {
        port.parse::<u16>().is_ok() && (!name.contains(':') || name.ends_with(']'))
    });
    let host = if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    Ok(Address::Tcp { host, tls })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use super::context::tests::{FAR, write};
    use super::*;

    const NONE: &str = "/nonexistent/docker.sock";

    fn env(host: &str) -> DockerEnv {
        DockerEnv {
            host: Some(host.into()),
            ..DockerEnv::default()
        }
    }

    fn address(env: &DockerEnv) -> Result<Address> {
        discover_at(env, Path::new(NONE)).map(|found| found.expect("must be found").address)
    }

    fn tcp(host: &str) -> Address {
        Address::Tcp {
            host: host.into(),
            tls: None,
        }
    }

    #[test]
    fn docker_host_is_taken_in_every_spelling() {
        assert_eq!(
            address(&env("unix:///x/d.sock")).unwrap(),
            Address::Unix("/x/d.sock".into())
        );
        for (text, host) in [
            ("tcp://10.0.0.9:2375", "10.0.0.9:2375"),
            ("tcp://10.0.0.9/", "10.0.0.9:2375"),
            ("http://h:80", "h:80"),
            ("h:1234", "h:1234"),
            ("tcp://[::1]", "[::1]:2375"),
            ("tcp://[::1]:99", "[::1]:99"),
        ] {
            assert_eq!(address(&env(text)).unwrap(), tcp(host), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_spoken_names_a_cure() {
        let cure = |text: &str| {
            address(&env(text))
                .unwrap_err()
                .cure_text()
                .expect("must name a cure")
                .to_owned()
        };
        assert!(cure("ssh://me@far").starts_with("forward the socket (`ssh -NL"));
        assert!(cure("ssh://me@far").contains("me@far"));
        for text in [
            "npipe:////./pipe/docker",
            "unix://rel/ative",
            "tcp://",
            "tcp://a/b",
            "fd://",
        ] {
            assert!(cure(text).starts_with("use unix:///"), "{text}");
        }
    }

    #[test]
    fn tls_needs_all_its_files() {
        let certs = tempfile::tempdir().unwrap();
        let verified = DockerEnv {
            tls_verify: true,
            cert_path: Some(certs.path().to_owned()),
            ..env("tcp://h")
        };
        let error = address(&verified).unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{error}");
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            fs::write(certs.path().join(file), "").unwrap();
        }
        let tls = Some(certs.path().to_owned());
        assert_eq!(
            address(&verified).unwrap(),
            Address::Tcp {
                host: "h:2376".into(),
                tls
            }
        );
        assert!(address(&env("https://h:1")).is_err());
    }

    #[test]
    fn a_named_context_is_used_or_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let named = |name: Option<&str>| DockerEnv {
            config_dir: Some(dir.path().to_owned()),
            context: name.map(str::to_owned),
            ..DockerEnv::default()
        };
        let find = |name| discover_at(&named(name), Path::new(NONE));
        assert_eq!(find(None).unwrap(), None);
        assert!(find(Some("far")).is_err(), "never a silent fallback");
        write(
            dir.path(),
            FAR,
            r#"{"Endpoints":{"docker":{"Host":"tcp://h:1"}}}"#,
        );
        let far = Endpoint {
            address: tcp("h:1"),
            origin: Origin::Context("far".into()),
        };
        assert_eq!(find(Some("far")).unwrap().as_ref(), Some(&far));
        fs::write(
            dir.path().join("config.json"),
            r#"{"currentContext":"far"}"#,
        )
        .unwrap();
        assert_eq!(find(None).unwrap(), Some(far));
        assert_eq!(find(Some("default")).unwrap(), None);
    }

    #[test]
    fn usual_sockets_are_tried_in_order_and_dead_ones_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let env = DockerEnv {
            runtime_dir: Some(dir.path().join("run")),
            home: Some(dir.path().to_owned()),
            ..DockerEnv::default()
        };
        let system = dir.path().join("system.sock");
        let find = || discover_at(&env, &system).unwrap();
        // A dead engine leaves its socket behind.
        drop(UnixListener::bind(&system).unwrap());
        assert_eq!(find(), None);

        fs::create_dir_all(dir.path().join(".docker/run")).unwrap();
        let late = dir.path().join(".docker/run/docker.sock");
        let _late = UnixListener::bind(&late).unwrap();
        assert_eq!(find(), Some(Endpoint::unix(late, Origin::Socket)));

        fs::create_dir_all(dir.path().join("run")).unwrap();
        let rootless = dir.path().join("run/docker.sock");
        let _rootless = UnixListener::bind(&rootless).unwrap();
        assert_eq!(find(), Some(Endpoint::unix(rootless, Origin::Socket)));
    }

    #[test]
    fn docker_clients_are_pointed_at_this_engine_only() {
        let endpoint = Endpoint::unix("/x/d.sock", Origin::Embedded);
        let variables = endpoint.variables();
        assert!(variables.contains(&("DOCKER_HOST", "unix:///x/d.sock".into())));
        assert!(variables.contains(&("DOCKER_TLS_VERIFY", String::new())));
    }

    #[test]
    fn a_silent_engine_is_an_error_with_who_named_it() {
        let endpoint = Endpoint {
            address: tcp("h:1"),
            origin: Origin::Variable,
        };
        assert_eq!(
            endpoint.silent(std::io::Error::other("refused")).report(),
            "the Docker engine at tcp://h:1 (named by DOCKER_HOST) does not answer: refused\n\
             cure: start that engine, or correct or unset DOCKER_HOST"
        );
    }
}

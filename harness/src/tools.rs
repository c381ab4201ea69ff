//! Tools by exact version: the kind CLI, built from its Go module.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use semver::Version;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    Context, Error, Result,
    docker::{Docker, Labels, Scope, discover::Origin, sweep},
    engine,
    process::{Command, Output},
    progress,
    settings::settings,
    store::Store,
};

/// The releases that can be had, with the hash of their module as a `go.sum` has it. The
/// module's own `go.sum` pins all that it is built with.
const KIND: [(&str, &str); 4] = [
    ("0.26.0", "h1:8fS6I0Q5WGlmLprSpH0DarlOSdcsv0txnwc93J2BP7M="),
    ("0.27.0", "h1:PQ3f0iAWNIj66LYkZ1ivhEg/+Zb6UPMbO+qVei/INZA="),
    ("0.31.0", "h1:UcT4nzm+YM7YEbqiAKECk+b6dsvc/HRZZu9U0FolL1g="),
    ("0.32.0", "h1:p9hscbj98u/qyrjVpjId86LI70nQmbSsipV7wCG10Xk="),
];

/// The `docker` command as kind sees it: what kind makes bears our labels too, so that it is
/// removed like all the rest.
const DOCKER_WRAPPER: &str = "\
#!/bin/sh
# Words of the variable are split at line ends and nowhere else.
set -f
IFS='
'
[ \"$1\" = run ] || exec \"$KUBENEST_DOCKER_CLI\" \"$@\"
shift
exec \"$KUBENEST_DOCKER_CLI\" run $KUBENEST_DOCKER_LABELS \"$@\"
";

/// A release of the kind CLI. It never touches the user's kubeconfig nor kind's usual network.
#[derive(Debug, Clone)]
pub struct Kind {
    version: Version,
    /// Folder with `kind`, and `docker/docker`, the wrapper.
    programs: PathBuf,
    /// Folder of the kubeconfig.
    home: Arc<TempDir>,
}

impl Kind {
    /// The kind CLI of this version, such as `0.26.0`; built once into the cache.
    ///
    /// # Errors
    /// The release is not in the table, its module is not the pinned one, or Go cannot build it.
    pub async fn release(version: &str) -> Result<Self> {
        let pinned = KIND
            .iter()
            .find(|(known, _)| *known == version.trim_start_matches('v'));
        let &(version, sum) = pinned.ok_or_else(|| {
            let known: Vec<&str> = KIND.iter().map(|(version, _)| *version).collect();
            Error::input(format!("no kind release '{version}' is pinned"))
                .cure(format!("use one of {}", known.join(", ")))
        })?;
        let store = Store::default_cache();
        let programs = store
            .entry("tools", &format!("kind-{version}"), async |dir| {
                progress!("building kind {version}");
                build(version, sum, dir).await
            })
            .await
            .with_context(|| format!("kind {version}"))?;
        let home = TempDir::with_prefix("kubenest-kind-").context("make a folder for kind")?;
        let version = Version::parse(version).context("read the version of kind")?;
        Ok(Self {
            version,
            programs,
            home: Arc::new(home),
        })
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The kubeconfig that it writes to.
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// `kind create cluster` on this node image, in a network of its own. What it makes bears
    /// the labels of this process and of the cluster.
    ///
    /// # Errors
    /// kind fails; the error has its last words.
    pub async fn create_cluster(
        &self,
        docker: &Docker,
        cluster: &str,
        image: &str,
        args: &[&str],
    ) -> Result<Output> {
        let labels = Labels::new("network").cluster(cluster).map();
        docker.create_network(&network(cluster), labels).await?;
        let create = ["create", "cluster", "--image", image];
        let command = self.command(docker, cluster, &create).await?;
        let created = command.args(args).run().await;
        if created.is_err() {
            self.delete_cluster(docker, cluster).await.ok();
        }
        created
    }

    /// Removes a cluster that [`create_cluster`](Kind::create_cluster) made, and its network.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn delete_cluster(&self, docker: &Docker, cluster: &str) -> Result<()> {
        sweep(docker, Scope::Cluster(cluster)).await.map(drop)
    }

    /// `kind load docker-image`, whatever its exit status.
    ///
    /// # Errors
    /// kind cannot be started.
    pub async fn load_docker_image(
        &self,
        docker: &Docker,
        cluster: &str,
        image: &str,
    ) -> Result<Output> {
        self.command(docker, cluster, &["load", "docker-image", image])
            .await?
            .output()
            .await
    }

    /// kind with these arguments and `--name CLUSTER`, ready to run against this engine.
    ///
    /// # Errors
    /// There is no `docker` command and none can be had.
    pub async fn command(&self, docker: &Docker, cluster: &str, args: &[&str]) -> Result<Command> {
        let wrapper = self.programs.join("docker");
        let mut path = wrapper.into_os_string();
        path.push(":");
        path.push(&settings().path);
        let labels = Labels::new("kind-node").cluster(cluster).map();
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("--label={key}={value}"))
            .collect();
        let mut command = Command::new(self.programs.join("kind"))
            .args(args)
            .args(["--name", cluster])
            .env("PATH", path)
            .env("KUBECONFIG", self.kubeconfig())
            .env("KIND_EXPERIMENTAL_PROVIDER", "docker")
            .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", network(cluster))
            .env("KUBENEST_DOCKER_CLI", docker_cli(docker).await?)
            .env("KUBENEST_DOCKER_LABELS", labels.join("\n"));
        for (name, value) in docker.endpoint().variables() {
            command = command.env(name, value);
        }
        Ok(command)
    }
}

fn network(cluster: &str) -> String {
    format!("{cluster}-kind")
}

/// The embedded engine brings its own command; the user's goes with the user's engine.
async fn docker_cli(docker: &Docker) -> Result<PathBuf> {
    if docker.endpoint().origin != Origin::Embedded {
        let folders = std::env::split_paths(&settings().path);
        let found = folders
            .map(|dir| dir.join("docker"))
            .find(|program| is_program(program));
        if let Some(program) = found {
            return Ok(program);
        }
    }
    engine::cli().await.map_err(|cause| {
        Error::setup("kind needs the `docker` command, and there is none")
            .because(cause)
            .cure("install the Docker CLI")
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What `go mod download -json` says of a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    dir: PathBuf,
    sum: String,
}

async fn build(version: &str, sum: &str, out: &Path) -> Result<()> {
    let cure = "needs `go` 1.23 or newer in PATH and a module proxy it can reach";
    let module = format!("sigs.k8s.io/kind@v{version}");
    let answer = Command::new("go")
        .args(["mod", "download", "-json", &module])
        .run()
        .await;
    let answer = answer.map_err(|cause| {
        Error::setup(format!("cannot fetch module {module}"))
            .because(cause)
            .cure(cure)
    })?;
    let found: Module = serde_json::from_str(&answer.stdout)
        .with_context(|| format!("read what go says of {module}"))?;
    if found.sum != sum {
        return Err(Error::setup(format!(
            "module {module} has the hash {}, not the pinned {sum}",
            found.sum
        ))
        .cure("find out who changed it: go env GOPROXY names where it came from"));
    }
    let program = out.join("kind");
    let built = Command::new("go")
        // In the module's own folder its own go.sum checks every dependency.
        .args([
            "build",
            "-mod=readonly",
            "-buildvcs=false",
            "-trimpath",
            "-o",
        ])
        .args([program.as_os_str(), ".".as_ref()])
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .dir(&found.dir)
        .run()
        .await;
    built.map_err(|cause| {
        Error::setup(format!("cannot build {module}"))
            .because(cause)
            .cure(cure)
    })?;
    let said = Command::new(&program).arg("version").run().await?.stdout;
    if !said.starts_with(&format!("kind v{version} ")) {
        return Err(Error::setup(format!(
            "'{}' says that it is '{}'",
            module,
            said.trim()
        )));
    }
    let wrapper = out.join("docker/docker");
    fs::create_dir(out.join("docker"))
        .and_then(|()| fs::write(&wrapper, DOCKER_WRAPPER))
        .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("write '{}'", wrapper.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_release_without_a_pin_is_refused() {
        let error = Kind::release("0.1.0").await.unwrap_err();
        assert_eq!(error.to_string(), "no kind release '0.1.0' is pinned");
        assert!(error.cure_text().unwrap().contains("0.26.0"));
    }

    #[tokio::test]
    async fn the_wrapper_labels_what_kind_runs_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let cli = write("cli", "#!/bin/sh\nprintf '[%s]' \"$@\"\n");
        let wrapper = write("docker", DOCKER_WRAPPER);
        let call = async |args: &[&str]| {
            let command = Command::new("sh").arg(&wrapper).args(args);
            let command = command
                .env("KUBENEST_DOCKER_CLI", &cli)
                .env("KUBENEST_DOCKER_LABELS", "--label=a=b c*\n--label=d=e");
            command.run().await.unwrap().stdout
        };
        assert_eq!(
            call(&["run", "--name", "x y"]).await,
            "[run][--label=a=b c*][--label=d=e][--name][x y]"
        );
        assert_eq!(call(&["network", "ls"]).await, "[network][ls]");
    }
}

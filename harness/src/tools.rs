//! Tools by exact version: the kind CLI.

use std::{
    env::join_paths,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{
    Context, Error, Result,
    cluster::Cluster,
    component::go,
    docker::Docker,
    engine,
    process::{Command, Output},
    recipe::GoBuild,
    settings::settings,
    store::Store,
};

/// Which network kind puts nodes on; one of ours, so that a user's own `kind` network is
/// left alone.
const NETWORK: &str = "KIND_EXPERIMENTAL_DOCKER_NETWORK";

/// The kind CLI of one release.
#[derive(Debug, Clone)]
pub struct Kind {
    program: PathBuf,
    version: String,
}

impl Kind {
    /// The kind of this release, for example `0.26.0`: built from its Go module, locked by
    /// a committed `go.sum`, and kept in the cache.
    ///
    /// # Errors
    /// That release is not among the locked ones, or cannot be built.
    pub async fn release(version: &str) -> Result<Self> {
        let version = version.trim_start_matches('v');
        let build = GoBuild::find("sigs.k8s.io/kind", version)?;
        let entry = Store::default_cache()
            .entry("tool", &format!("kind-{version}"), async |dir| go::build(&build, dir).await)
            .await?;
        let kind = Self { program: entry.join("kind"), version: version.to_owned() };
        let told = Command::new(&kind.program).args(["version", "--quiet"]).run().await?;
        if told.stdout.trim().trim_start_matches('v') != version {
            return Err(Error::setup(format!(
                "'{}' says that it is kind {}",
                kind.program.display(),
                told.stdout.trim()
            )));
        }
        Ok(kind)
    }

    /// Its version, without `v`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command of this kind against an engine. The user's own kubeconfig and network are
    /// never touched: `kubeconfig` and `network` name the ones to use.
    ///
    /// # Errors
    /// There is no `docker` command for kind to use.
    pub async fn command(
        &self,
        docker: &Docker,
        kubeconfig: &Path,
        network: &str,
    ) -> Result<Command> {
        let mut command = Command::new(&self.program)
            .env("PATH", path_with_docker().await?)
            .env("KUBECONFIG", kubeconfig)
            .env(NETWORK, network);
        for (name, value) in docker.endpoint().variables() {
            command = command.env(name, value);
        }
        Ok(command)
    }

    /// Runs `kind load docker-image` into a cluster, whatever comes of it.
    ///
    /// # Errors
    /// kind cannot be started.
    pub async fn load(&self, cluster: &Cluster, image: &str) -> Result<Output> {
        let network = format!("kubenest-{}", cluster.name());
        let command = self.command(cluster.docker(), cluster.kubeconfig(), &network).await?;
        command.args(["load", "docker-image", image, "--name", cluster.name()]).output().await
    }
}

/// `PATH` with a `docker` command in it: kind calls one.
async fn path_with_docker() -> Result<OsString> {
    let path = &settings().path;
    let mut folders: Vec<PathBuf> = std::env::split_paths(path).collect();
    if !folders.iter().any(|folder| folder.join("docker").is_file()) {
        let docker = engine::cli().await?;
        folders.extend(docker.parent().map(Path::to_owned));
    }
    join_paths(folders).context("PATH cannot be extended")
}

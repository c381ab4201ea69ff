//! Tools for tests: the kind CLI by exact version, a registry, a browser.

mod chromium;
mod registry;

use std::{
    env::{join_paths, split_paths},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

pub use self::{chromium::Chromium, registry::LocalRegistry};
use crate::{cluster::Cluster, lockfile};
use kubenest_base::digest::sha256_hex;
use kubenest_base::{
    Context, Error, Result, process::Command, process::Output, settings::settings, store::Store,
};
use kubenest_docker::{Docker, Labels, discover::Origin};
use kubenest_forge::{component::go, engine};
use kubenest_recipe::recipe::GoBuild;

/// Which network kind puts nodes on; one of ours, so that a user's own `kind` network is
/// left alone.
const NETWORK: &str = "KIND_EXPERIMENTAL_DOCKER_NETWORK";

/// The `docker` command as kind sees it: what it runs bears our labels too, so that it is
/// found and removed like all the rest.
const DOCKER_WRAPPER: &str = "\
#!/bin/sh
# Words of the variable end at line ends and nowhere else.
set -f
IFS='
'
[ \"$1\" = run ] || exec \"$KUBENEST_DOCKER_CLI\" \"$@\"
shift
# The name goes among the labels, else that of the image is inherited.
before= name=
for word; do
    [ \"$before\" != --name ] || name=$word
    before=$word
done
exec \"$KUBENEST_DOCKER_CLI\" run $KUBENEST_DOCKER_LABELS ${name:+\"--label=dev.kubenest.name=$name\"} \\
    \"$@\"
";

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
        lockfile::hold_tool(&build).await?;
        let entry = go::programs(&Store::default_cache(), &build).await?;
        let kind = Self {
            program: entry.join("kind"),
            version: version.to_owned(),
        };
        let told = Command::new(&kind.program)
            .args(["version", "--quiet"])
            .run()
            .await?;
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

    /// A command of this kind for one cluster. What it makes bears the labels of this
    /// process and of the cluster; the user's own kubeconfig and `kind` network are never
    /// touched.
    ///
    /// # Errors
    /// There is no `docker` command for kind to use.
    pub async fn command(
        &self,
        docker: &Docker,
        cluster: &str,
        kubeconfig: &Path,
    ) -> Result<Command> {
        let labels = Labels::new("kind-node").cluster(cluster).map();
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("--label={key}={value}"))
            .collect();
        let path = split_paths(&settings().path);
        let path = join_paths([wrapper().await?].into_iter().chain(path));
        let mut command = Command::new(&self.program)
            .env("PATH", path.context("PATH cannot be extended")?)
            .env("KUBECONFIG", kubeconfig)
            .env(NETWORK, network(cluster))
            .env("KUBENEST_DOCKER_CLI", docker_cli(docker).await?)
            .env("KUBENEST_DOCKER_LABELS", labels.join("\n"));
        for (name, value) in docker.endpoint().variables() {
            command = command.env(name, value);
        }
        Ok(command)
    }

    /// Runs `kind create cluster` on a node image, in a network of its own. To remove the
    /// cluster, [`sweep`](kubenest_docker::sweep) its name.
    ///
    /// # Errors
    /// The network cannot be made, or kind fails; the error has its last words. What was made
    /// is still there.
    pub async fn create(
        &self,
        docker: &Docker,
        cluster: &str,
        image: &str,
        kubeconfig: &Path,
    ) -> Result<Output> {
        let labels = Labels::new("network").cluster(cluster).map();
        docker.create_network(&network(cluster), labels).await?;
        let command = self.command(docker, cluster, kubeconfig).await?;
        command
            .args(["create", "cluster", "--name", cluster, "--image", image])
            .run()
            .await
    }

    /// Runs `kind load docker-image` into a cluster, whatever comes of it.
    ///
    /// # Errors
    /// kind cannot be started.
    pub async fn load(&self, cluster: &Cluster, image: &str) -> Result<Output> {
        let name = cluster.name();
        let command = self
            .command(cluster.docker(), name, cluster.kubeconfig())
            .await?;
        command
            .args(["load", "docker-image", image, "--name", name])
            .output()
            .await
    }
}

/// The network of a cluster's nodes, whoever boots them.
fn network(cluster: &str) -> String {
    format!("kubenest-{cluster}")
}

/// The folder with the wrapper.
async fn wrapper() -> Result<PathBuf> {
    let key = format!(
        "docker-labelled-{}",
        &sha256_hex(DOCKER_WRAPPER.as_bytes())[..8]
    );
    let store = Store::default_cache();
    store
        .entry("tool", &key, async |dir| {
            write_program(&dir.join("docker"), DOCKER_WRAPPER)
        })
        .await
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("write '{}'", path.display()))
}

/// The embedded engine brings a `docker` command; the user's goes with the user's engine.
async fn docker_cli(docker: &Docker) -> Result<PathBuf> {
    if docker.endpoint().origin != Origin::Embedded {
        let programs = split_paths(&settings().path).map(|folder| folder.join("docker"));
        if let Some(program) = programs.into_iter().find(|program| program.is_file()) {
            return Ok(program);
        }
    }
    engine::cli().await.map_err(|cause| {
        Error::setup("kind needs the `docker` command, and there is none")
            .because(cause)
            .cure("install the Docker CLI")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_wrapper_labels_what_is_run_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (cli, wrapper) = (dir.path().join("cli"), dir.path().join("docker"));
        write_program(&cli, "#!/bin/sh\nprintf '[%s]' \"$@\"\n").unwrap();
        write_program(&wrapper, DOCKER_WRAPPER).unwrap();
        let call = async |args: &[&str]| {
            let command = Command::new("sh").arg(&wrapper).args(args);
            let command = command
                .env("KUBENEST_DOCKER_CLI", &cli)
                .env("KUBENEST_DOCKER_LABELS", "--label=a=b c*\n--label=d=e");
            command.run().await.unwrap().stdout
        };
        assert_eq!(
            call(&["run", "--name", "x y"]).await,
            "[run][--label=a=b c*][--label=d=e][--label=dev.kubenest.name=x y][--name][x y]"
        );
        assert_eq!(
            call(&["run", "--rm", "image"]).await,
            "[run][--label=a=b c*][--label=d=e][--rm][image]"
        );
        assert_eq!(call(&["network", "ls"]).await, "[network][ls]");
    }
}

//! A registry for tests: Debian's own, in a container, on 127.0.0.1.

use std::time::Duration;

use kubenest_base::digest::sha256_hex;
use kubenest_base::{Error, Result, random, store::Store, wait, wait::Probe};
use kubenest_docker::{ContainerSpec, Docker, FileEntry, Labels};
use kubenest_forge::{component, image::ImageSpec, image::Layer};
use kubenest_recipe::{recipe::Component, recipe::Role, recipe::Source};

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

const PORT: u16 = 5000;
const CONFIG: &str = "/etc/registry.yml";
const CONFIG_TEXT: &str = "\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: ':5000'}
";

/// A registry that is the test's alone: empty at first, without login, on a port of 127.0.0.1.
///
/// It bears the labels of this process: what [`stop`](LocalRegistry::stop) is not called for,
/// the next sweep removes.
#[derive(Debug)]
pub struct LocalRegistry {
    docker: Docker,
    container: String,
    image: String,
    port: u16,
}

impl LocalRegistry {
    /// Starts one on an engine of this machine.
    ///
    /// # Errors
    /// Debian's package cannot be had, or the registry does not answer.
    pub async fn start(docker: &Docker) -> Result<Self> {
        // Not by this process's number: in another container there may be one of the same.
        let own = random::hex(8);
        let mut registry = Self {
            docker: docker.clone(),
            image: format!("kubenest.local/registry:{own}"),
            container: format!("kubenest-registry-{own}"),
            port: 0,
        };
        match registry.begin().await {
            Ok(()) => Ok(registry),
            Err(error) => {
                registry.stop().await.ok();
                Err(error)
            }
        }
    }

    async fn begin(&mut self) -> Result<()> {
        let spec = ImageSpec {
            tags: vec![self.image.clone()],
            layers: layers().await?,
            labels: Labels::new("registry-image").map().into_iter().collect(),
            entrypoint: ["/usr/bin/docker-registry", "serve", CONFIG]
                .map(str::to_owned)
                .to_vec(),
            ..ImageSpec::default()
        };
        spec.load(&self.docker).await?;
        let spec = ContainerSpec {
            name: self.container.clone(),
            image: self.image.clone(),
            labels: Labels::new("registry").map(),
            network: Some("bridge".into()),
            ports: vec![(PORT, 0)],
            ..ContainerSpec::default()
        };
        self.docker.run(&spec).await?;
        let state = self.docker.container(&self.container).await?;
        let port = state.and_then(|state| state.ports.get(&PORT).copied());
        self.port = port.ok_or_else(|| Error::setup("the engine gave the registry no port"))?;
        let nothing = format!("{}/none:1", self.address());
        wait::until("the registry", Duration::from_secs(60), async || {
            let asked = self.docker.in_registry(&nothing, ANSWER);
            Probe::from_result(asked.await.map_err(|error| error.report()))
        })
        .await?;
        Ok(())
    }

    /// Where it is, `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes an image of the engine as `name:tag` and returns how to ask for it by digest,
    /// `host:port/name@sha256:…`. The engine has the image under its old names only.
    ///
    /// # Errors
    /// The engine has no such image, or the push fails.
    pub async fn publish(&self, image: &str, name: &str, tag: &str) -> Result<String> {
        let name = format!("{}/{name}", self.address());
        let tagged = format!("{name}:{tag}");
        self.docker.tag_image(image, &name, tag).await?;
        let pushed = self.docker.push(&tagged).await;
        self.docker.remove_image(&tagged).await?;
        pushed?;
        let digest = self.docker.digest_in_registry(&tagged, ANSWER).await?;
        let digest = digest.ok_or_else(|| {
            Error::not_found(format!("the registry has no '{tagged}' after the push"))
        })?;
        Ok(format!("{name}@{digest}"))
    }

    /// Removes all images that no tag holds any more, as operators of registries do.
    ///
    /// # Errors
    /// The registry's own.
    pub async fn collect_garbage(&self) -> Result<()> {
        let argv = [
            "/usr/bin/docker-registry",
            "garbage-collect",
            "--delete-untagged",
            CONFIG,
        ];
        self.docker.exec_ok(&self.container, &argv, None).await?;
        Ok(())
    }

    /// Whether anybody has asked for an image of that name yet, whatever came of it.
    ///
    /// # Errors
    /// The engine or the registry does not answer.
    pub async fn was_asked_for(&self, name: &str) -> Result<bool> {
        // The log comes late: only behind a later line of it nothing is missing.
        let later = format!(
            "later-{}",
            self.docker.logs(&self.container, 1000).await?.len()
        );
        let reference = format!("{}/{later}:1", self.address());
        self.docker.in_registry(&reference, ANSWER).await?;
        let log = wait::until("the registry's log", ANSWER, async || {
            match self.docker.logs(&self.container, 1000).await {
                Ok(log) if log.contains(&format!("/v2/{later}/")) => Probe::Ready(log),
                Ok(_) => Probe::Pending(format!("not yet '{later}'")),
                Err(error) => Probe::Failed(error),
            }
        });
        Ok(log.await?.contains(&format!("/v2/{name}/")))
    }

    /// Removes it and all it has.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn stop(self) -> Result<()> {
        self.docker.remove_container(&self.container).await?;
        self.docker.remove_image(&self.image).await
    }
}

async fn layers() -> Result<Vec<Layer>> {
    let os = Component {
        // Of an OS in which nothing is set up, and which needs iptables for that.
        role: Role::ProxyOs,
        version: "bookworm".into(),
        source: Source::Debian {
            suite: "bookworm".into(),
            packages: ["docker-registry", "iptables"].map(str::to_owned).to_vec(),
            version: None,
            sha256: None,
        },
    };
    let os = component::provide(&os).await?;
    let store = Store::default_cache();
    let program = Layer::cached(
        &store,
        &format!("registry-{}", &os.hash[..16]),
        async |layer| layer.archive(&os.rootfs(), |path| Some(path.to_owned())),
    )
    .await?;
    let file = FileEntry::new(CONFIG, CONFIG_TEXT);
    let key = format!(
        "registry-config-{}",
        &sha256_hex(CONFIG_TEXT.as_bytes())[..16]
    );
    let config = Layer::cached(&store, &key, async |layer| layer.file(&file)).await?;
    Ok(vec![program, config])
}

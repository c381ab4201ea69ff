//! Node images from a real registry: shared by recipe hash, and the default node's choice.
//!
//! The registry runs on an engine of the test's own, and nothing asks any other. The images
//! are small: what is in them does not matter here.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::{Duration, Instant};

use anyhow::Result;
use harness_selfcheck::{RECIPE, docker, on_own_engine};
use kubenest::{
    ErrorKind, component,
    docker::{ContainerSpec, Docker, Labels},
    image::{DefaultNode, NodeImage, SmallImage, Versions},
    recipe::{Component, Content, Recipe, Role, Source},
    wait::{self, Probe},
};
use tempfile::TempDir;

/// Debian's registry, in a container, with what it is linked against.
struct Registry {
    docker: Docker,
    address: String,
    _config: TempDir,
}

const CONFIG: &str = "\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: ':5000'}
";

impl Registry {
    const NAME: &str = "registry";

    async fn start(engine: &Docker) -> Result<Self> {
        let os = Component {
            role: Role::ProxyOs,
            version: "bookworm".into(),
            source: Source::Debian {
                suite: "bookworm".into(),
                packages: ["docker-registry", "iptables"].map(str::to_owned).to_vec(),
                version: None,
                sha256: None,
            },
        };
        let rootfs = component::provide(&os).await?.rootfs();
        docker(
            engine,
            &["import", rootfs.to_str().unwrap(), "selfcheck/registry:1"],
        )
        .await?;
        let config = tempfile::tempdir()?;
        std::fs::write(config.path().join("config.yml"), CONFIG)?;
        let config_folder = config.path().to_str().unwrap().to_owned();
        let spec = ContainerSpec {
            name: Self::NAME.into(),
            image: "selfcheck/registry:1".into(),
            labels: Labels::new("registry").map(),
            entrypoint: Some(vec!["/usr/bin/docker-registry".into()]),
            cmd: vec!["serve".into(), "/config/config.yml".into()],
            network: Some("bridge".into()),
            ports: vec![(5000, 0)],
            binds: vec![(config_folder, "/config".into(), true)],
            ..ContainerSpec::default()
        };
        engine.run(&spec).await?;
        let port = engine.container(Self::NAME).await?.unwrap().ports[&5000];
        let registry = Self {
            docker: engine.clone(),
            address: format!("127.0.0.1:{port}/team"),
            _config: config,
        };
        let nothing = format!("{}/none:1", registry.address);
        wait::until("the registry", Duration::from_secs(20), async || {
            let asked = engine.in_registry(&nothing, Duration::from_secs(5)).await;
            Probe::from_result(asked.map_err(|error| error.report()))
        })
        .await?;
        Ok(registry)
    }

    /// Pushes an image as a user does, and returns its reference by digest. It is not in the
    /// engine afterwards.
    async fn publish(&self, image: &str, name: &str) -> Result<String> {
        let tagged = format!("{}/{name}", self.address);
        docker(&self.docker, &["tag", image, &tagged]).await?;
        docker(&self.docker, &["push", "--quiet", &tagged]).await?;
        let format = "--format={{index .RepoDigests 0}}";
        let digest = docker(&self.docker, &["image", "inspect", format, &tagged]).await?;
        docker(&self.docker, &["rmi", &tagged, image]).await?;
        assert!(self.docker.image(&digest).await?.is_none());
        Ok(digest)
    }

    async fn stop(&self) -> kubenest::Result<()> {
        self.docker.remove_container(Self::NAME).await
    }
}

/// An image under the name of the recipe's node image, with the hash of a recipe on it.
async fn node_image(engine: &Docker, recipe: &Recipe, hash: &str) -> Result<NodeImage> {
    let small = SmallImage::load(engine, hash).await?;
    let reference = NodeImage::reference_of(recipe);
    docker(engine, &["create", "--name", "donor", small.reference()]).await?;
    let label = format!("LABEL dev.kubenest.recipe-hash={hash}");
    docker(engine, &["commit", "--change", &label, "donor", &reference]).await?;
    docker(engine, &["rm", "donor"]).await?;
    small.remove().await?;
    let (recipe, versions) = (recipe.name.clone(), Versions::default());
    Ok(NodeImage {
        reference,
        recipe,
        versions,
        runtime: None,
    })
}

#[tokio::test]
async fn a_pushed_node_image_is_pulled_by_the_recipes_hash() -> Result<()> {
    on_own_engine(|engine| async move {
        let registry = Registry::start(&engine).await?;
        let recipe = Recipe::named(RECIPE)?;
        let pull = async || NodeImage::pull(&engine, &registry.address, &recipe).await;
        assert!(pull().await?.is_none(), "nobody has pushed it");

        let image = node_image(&engine, &recipe, &recipe.hash()).await?;
        let id = engine.image(&image.reference).await?.unwrap().id;
        let remote = image.push(&engine, &registry.address).await?;
        let tag = image.reference.rsplit_once(':').unwrap().1;
        assert_eq!(remote, format!("{}/node:{tag}", registry.address));
        engine.remove_image(&image.reference).await?;
        assert!(engine.image(&image.reference).await?.is_none());

        let pulled = pull().await?.expect("the registry must have it");
        assert_eq!(pulled.reference, image.reference);
        let found = engine.image(&image.reference).await?.unwrap();
        assert_eq!(found.id, id);
        assert_eq!(found.tags, [image.reference]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_image_of_another_recipe_is_refused() -> Result<()> {
    on_own_engine(|engine| async move {
        let registry = Registry::start(&engine).await?;
        let recipe = Recipe::named(RECIPE)?;
        let image = node_image(&engine, &recipe, &"0".repeat(64)).await?;
        let remote = image.push(&engine, &registry.address).await?;
        engine.remove_image(&image.reference).await?;

        let error = NodeImage::pull(&engine, &registry.address, &recipe)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(&remote), "{error:?}");
        for reference in [&image.reference, &remote] {
            assert!(
                engine.image(reference).await?.is_none(),
                "{reference} was left"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_silent_registry_costs_seconds_and_no_failure() -> Result<()> {
    on_own_engine(|engine| async move {
        let registry = Registry::start(&engine).await?;
        registry.stop().await?;
        let start = Instant::now();
        let recipe = Recipe::named(RECIPE)?;
        assert!(
            NodeImage::pull(&engine, &registry.address, &recipe)
                .await?
                .is_none()
        );
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "{:?}",
            start.elapsed()
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_default_node_is_chosen_once() -> Result<()> {
    on_own_engine(|engine| async move {
        let registry = Registry::start(&engine).await?;
        let small = SmallImage::load(&engine, "published").await?;
        let published = registry.publish(small.reference(), "node:v1").await?;
        let folder = tempfile::tempdir()?;
        let default = |record: &str| DefaultNode {
            published: published.clone(),
            recipe: RECIPE.into(),
            record: folder.path().join(record),
        };
        let is_published = |recipe: &Recipe| match &recipe.content {
            Content::Image(image) => image.as_str() == published,
            Content::Parts(_) => false,
        };
        assert!(is_published(&default("online").resolve(&engine).await?));

        registry.stop().await?;
        let repeated = default("online").resolve(&engine).await?;
        assert!(is_published(&repeated), "the choice was not repeated");

        let start = Instant::now();
        let offline = default("offline").resolve(&engine).await?;
        assert_eq!(offline.name, RECIPE);
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
        let record = std::fs::read_to_string(folder.path().join("offline"))?;
        assert!(record.contains(RECIPE), "{record}");
        Ok(())
    })
    .await
}

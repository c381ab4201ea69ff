//! Node images from a real registry: sharing by recipe hash, and the choice of the default node.
//!
//! The registry runs on an engine of the test's own, and no other registry is used. The images are
//! small, because their content does not matter here.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use harness_selfcheck::{RECIPE, docker, on_own_engine};
use kubenest::{
    ErrorKind,
    engine::Docker,
    images::SmallImage,
    recipe::{NodeImage, Recipe},
    wait,
};
use kubenest_fixtures::registry::LocalRegistry;
use kubenest_forge::image::DefaultNode;
use kubenest_recipe::recipe::Content;
use tokio::net::{TcpListener, TcpSocket};

/// How long a registry that does not answer may delay, even on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// An address at which nobody listens. Its port stays bound, because another engine could take the
/// port of a registry that has ended.
struct Absent(TcpSocket);

impl Absent {
    fn new() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self(socket))
    }

    fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }
}

/// A team's repository in the registry.
fn team(registry: &LocalRegistry) -> String {
    format!("{}/team", registry.address())
}

/// A small image with the name of the recipe's node image, labelled with this recipe hash.
async fn node_image(engine: &Docker, recipe: &Recipe, hash: &str) -> Result<NodeImage> {
    let small = SmallImage::load(engine, hash).await?;
    let reference = NodeImage::reference_of(recipe);
    docker(engine, &["create", "--name", "donor", small.reference()]).await?;
    let label = format!("LABEL dev.kubenest.recipe-hash={hash}");
    docker(engine, &["commit", "--change", &label, "donor", &reference]).await?;
    docker(engine, &["rm", "donor"]).await?;
    small.remove().await?;
    Ok(NodeImage::ensure(engine, recipe).await?)
}

#[tokio::test]
async fn a_pushed_node_image_is_pulled_by_the_recipes_hash() -> Result<()> {
    on_own_engine(|engine| async move {
        let registry = LocalRegistry::start(&engine).await?;
        let recipe = Recipe::named(RECIPE)?;
        let pull = async || NodeImage::pull(&engine, &team(&registry), &recipe).await;
        assert!(pull().await?.is_none(), "nobody has pushed it");

        let image = node_image(&engine, &recipe, &recipe.hash()).await?;
        let id = engine.image(&image.reference).await?.unwrap().id;
        let remote = image.push(&engine, &team(&registry)).await?;
        let tag = image.reference.rsplit_once(':').unwrap().1;
        assert_eq!(remote, format!("{}/node:{tag}", team(&registry)));
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
        let registry = LocalRegistry::start(&engine).await?;
        let recipe = Recipe::named(RECIPE)?;
        let image = node_image(&engine, &recipe, &"0".repeat(64)).await?;
        let remote = image.push(&engine, &team(&registry)).await?;
        engine.remove_image(&image.reference).await?;

        let error = NodeImage::pull(&engine, &team(&registry), &recipe)
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
async fn an_absent_or_silent_registry_delays_only_for_seconds() -> Result<()> {
    on_own_engine(|engine| async move {
        let recipe = Recipe::named(RECIPE)?;
        let (absent, silent) = (
            Absent::new()?,
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        );
        for address in [absent.address()?, silent.local_addr()?] {
            let address = format!("{address}/team");
            let pull = NodeImage::pull(&engine, &address, &recipe);
            assert!(wait::within("no answer", SOON, pull).await?.is_none());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_default_node_is_chosen_once() -> Result<()> {
    on_own_engine(|engine| async move {
        let registry = LocalRegistry::start(&engine).await?;
        let small = SmallImage::load(&engine, "published").await?;
        let published = registry
            .publish(small.reference(), "team/node", "v1")
            .await?;
        small.remove().await?;
        assert!(engine.image(&published).await?.is_none());
        let folder = tempfile::tempdir()?;
        let default = |published: &str, record: &str| DefaultNode {
            published: published.into(),
            recipe: RECIPE.into(),
            record: folder.path().join(record),
        };
        let is_published = |recipe: &Recipe| match &recipe.content {
            Content::Image(image) => image.as_str() == published,
            Content::Parts(_) => false,
        };
        let online = default(&published, "online");
        assert!(is_published(&online.resolve(&engine).await?));

        let address = registry.address();
        registry.stop().await?;
        let repeated = online.resolve(&engine).await?;
        assert!(is_published(&repeated), "the choice was not repeated");

        let absent = Absent::new()?;
        let nowhere = published.replace(&address, &absent.address()?.to_string());
        assert_ne!(nowhere, published);
        let unmade = default(&nowhere, "no-cache-yet/offline");
        let offline = wait::within("the choice", SOON, unmade.resolve(&engine)).await?;
        assert_eq!(offline.name, RECIPE);
        let record = std::fs::read_to_string(&unmade.record)?;
        assert!(record.contains(RECIPE), "{record}");
        Ok(())
    })
    .await
}

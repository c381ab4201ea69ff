//! Whole node images, pulled unchanged from a registry by digest, whatever the tag now means.

use std::time::Duration;

use super::{NodeImage, VERSIONS};
use crate::{durations::timed, names};
use kubenest_base::{Error, Result, progress, reference};
use kubenest_docker::Docker;
use kubenest_node::node::Runtime;
use kubenest_recipe::recipe::{ImageRef, Recipe};

/// How long a registry may take to say which digest a tag has.
const ANSWER: Duration = Duration::from_secs(10);
/// The first port that Linux gives out by itself, unless told otherwise.
const FIRST_CHOSEN_PORT: u16 = 32_768;

impl NodeImage {
    /// The digest that the tag of a pinned reference has now, if it is another one: somebody has
    /// pushed the tag again. `None` also when the reference has no tag, or no digest.
    ///
    /// # Errors
    /// The registry does not answer.
    pub async fn pushed_again(docker: &Docker, image: &ImageRef) -> Result<Option<String>> {
        let (Some(tagged), Some(digest)) = (image.tagged_name(), image.digest()) else {
            return Ok(None);
        };
        let now = docker.digest_in_registry(tagged, ANSWER).await?;
        Ok(now.filter(|now| now != digest))
    }
}

/// Whether a later run can pull the image: a registry on a port of this machine that the kernel
/// chose ends with the test that started it.
pub(super) fn is_lasting(image: &ImageRef) -> bool {
    let name = reference::parts(image.as_str()).name;
    let registry = reference::registry_and_path(name).map_or("", |(registry, _)| registry);
    let Some((host, port)) = registry.rsplit_once(':') else {
        return true;
    };
    let is_here = ["127.0.0.1", "localhost"].contains(&host);
    !(is_here
        && port
            .parse()
            .is_ok_and(|port: u16| port >= FIRST_CHOSEN_PORT))
}

/// Makes sure that the engine has the image, by pulling it if it does not.
pub(super) async fn ensure(
    docker: &Docker,
    recipe: &Recipe,
    image: &ImageRef,
) -> Result<NodeImage> {
    let reference = image.to_string();
    if docker.image(&reference).await?.is_none() {
        timed(
            &docker.settings().cache,
            &names::image(recipe),
            pull(docker, image),
        )
        .await?;
    }
    let found = docker.image(&reference).await?.ok_or_else(|| {
        Error::not_found(format!("the engine has no '{reference}' after pulling it"))
    })?;
    // An engine that looks only at the tag would return whatever image has that tag.
    if let Some(digest) = image.digest()
        && !found.digests.iter().any(|known| known.ends_with(digest))
    {
        return Err(Error::refused(format!(
            "the engine has something else as '{reference}': {}",
            found.digests.join(", ")
        ))
        .cure(format!("remove it: docker image rm {}", found.id)));
    }
    let versions = found
        .labels
        .get(VERSIONS)
        .and_then(|text| serde_json::from_str(text).ok());
    Ok(NodeImage {
        reference,
        recipe: recipe.name.clone(),
        versions: versions.unwrap_or_default(),
        runtime: Runtime::of_labels(&found.labels),
        settings: None,
    })
}

async fn pull(docker: &Docker, image: &ImageRef) -> Result<()> {
    progress!("pulling {image}");
    let pulled = docker.pull(image.as_str()).await;
    let now = NodeImage::pushed_again(docker, image).await.ok().flatten();
    let (Some(now), Some(tagged)) = (now, image.tagged_name()) else {
        return pulled;
    };
    match pulled {
        Ok(()) => {
            tracing::warn!("'{tagged}' was pushed again and is {now} now; taken was {image}");
            Ok(())
        }
        Err(error) => Err(Error::not_found(format!(
            "cannot have '{image}': '{tagged}' was pushed again and is {now} now"
        ))
        .because(error)
        .cure(format!("ask for {tagged}@{now}, if that is what you want"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_a_test_does_not_last() {
        let digest = format!("@sha256:{}", "ab".repeat(32));
        for (name, lasts) in [
            ("kindest/node:v1.32.1", true),
            ("a.b/team/node:v1", true),
            ("a.b:40000/node:v1", true),
            ("localhost:5000/node:v1", true),
            ("127.0.0.1:32768/team/node:v1", false),
            ("localhost:60999/node:v1", false),
        ] {
            let image = ImageRef::pinned(&format!("{name}{digest}")).unwrap();
            assert_eq!(is_lasting(&image), lasts, "{name}");
        }
    }
}

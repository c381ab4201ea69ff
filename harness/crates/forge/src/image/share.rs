//! Node images shared through a registry, under the hash of what they are made from.

use std::time::Duration;

use super::{HASH, NodeImage, REPOSITORY};
use kubenest_base::{Error, Result, progress};
use kubenest_docker::Docker;
use kubenest_recipe::recipe::{Content, Recipe};

/// How long a registry may take to say whether it has an image.
const ANSWER: Duration = Duration::from_secs(20);

impl NodeImage {
    /// Gets the node image of a recipe from a registry, `host:port/path`. Returns `None` when the
    /// registry does not have it or does not answer; then the image has to be built.
    ///
    /// # Errors
    /// The address is not that of a registry, or the image under the recipe's hash is a different
    /// one.
    pub async fn pull(docker: &Docker, registry: &str, recipe: &Recipe) -> Result<Option<Self>> {
        let Content::Parts(parts) = &recipe.content else {
            return Ok(None);
        };
        let image = Self::of_parts(recipe, parts);
        if !Self::is_in_registry(docker, registry, recipe).await? {
            return Ok(None);
        }
        let (repository, tag) = remote(registry, &image.reference)?;
        let remote = format!("{repository}:{tag}");
        progress!("pulling node image {} from {registry}", recipe.name);
        docker.pull(&remote).await?;
        let pulled = docker.image(&remote).await?;
        let genuine = pulled.is_some_and(|it| it.labels.get(HASH) == Some(&recipe.hash()));
        if genuine {
            docker.tag_image(&remote, REPOSITORY, &tag).await?;
        }
        docker.remove_image(&remote).await?;
        if genuine {
            return Ok(Some(image));
        }
        Err(Error::refused(format!(
            "'{remote}' was not made of recipe '{}'",
            recipe.name
        ))
        .cure("remove it from the registry, or unset KUBENEST_REGISTRY"))
    }

    /// Whether a registry has the node image of a recipe; `false` when the registry does not
    /// answer.
    ///
    /// # Errors
    /// The address is not that of a registry.
    pub(crate) async fn is_in_registry(
        docker: &Docker,
        registry: &str,
        recipe: &Recipe,
    ) -> Result<bool> {
        let Content::Parts(parts) = &recipe.content else {
            return Ok(false);
        };
        let image = Self::of_parts(recipe, parts);
        let (repository, tag) = remote(registry, &image.reference)?;
        let asked = docker
            .in_registry(&format!("{repository}:{tag}"), ANSWER)
            .await;
        match &asked {
            Ok(true) => {}
            Ok(false) => progress!("{registry} has no node image {} ({tag})", recipe.name),
            Err(error) => {
                tracing::warn!("goes on without registry '{registry}': {}", error.report());
            }
        }
        Ok(asked.unwrap_or(false))
    }

    /// Pushes a node image that was built here to a registry, `host:port/path`, and returns its
    /// name there. Users with that registry in their settings then need not build the image.
    ///
    /// # Errors
    /// The image was not built here, or the registry does not accept it.
    pub async fn push(&self, docker: &Docker, registry: &str) -> Result<String> {
        let (repository, tag) = remote(registry, &self.reference)?;
        let remote = format!("{repository}:{tag}");
        docker.tag_image(&self.reference, &repository, &tag).await?;
        let pushed = docker.push(&remote).await;
        docker.remove_image(&remote).await?;
        pushed.map(|()| remote)
    }
}

/// Repository and tag in a registry for an image that was built here.
fn remote(registry: &str, reference: &str) -> Result<(String, String)> {
    let tag = reference
        .strip_prefix(REPOSITORY)
        .and_then(|rest| rest.strip_prefix(':'));
    let tag = tag.ok_or_else(|| {
        Error::input(format!("image '{reference}' was not built by kubenest"))
            .cure("push it with Docker's own means")
    })?;
    let registry = registry.trim_end_matches('/');
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_./:[]".contains(&b);
    let host = registry.split('/').next().unwrap_or_default();
    if registry.contains("//") || !registry.bytes().all(fine) || !host.contains(['.', ':']) {
        return Err(Error::input(format!("'{registry}' is no registry"))
            .cure("set KUBENEST_REGISTRY to host:port or host:port/path, without https://"));
    }
    Ok((format!("{registry}/node"), tag.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_in_a_registry_is_the_recipes_hash() {
        for registry in ["127.0.0.1:5000/team", "127.0.0.1:5000/team/"] {
            let (repository, tag) = remote(registry, "kubenest/node:abc").unwrap();
            assert_eq!(
                (repository.as_str(), tag.as_str()),
                ("127.0.0.1:5000/team/node", "abc")
            );
        }
        assert_eq!(
            remote("[::1]:5000", "kubenest/node:a").unwrap().0,
            "[::1]:5000/node"
        );
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        for registry in [
            "",
            "team",
            "https://reg.test",
            "reg.test/Team",
            "reg.test/a b",
        ] {
            let error = remote(registry, "kubenest/node:a").unwrap_err();
            assert!(
                error.cure_text().unwrap().contains("host:port"),
                "{registry}"
            );
        }
    }

    #[test]
    fn a_foreign_image_is_not_pushed() {
        assert!(remote("reg.test", "kindest/node:v1").is_err());
    }
}

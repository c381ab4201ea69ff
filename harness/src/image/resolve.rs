//! The node image of a spec that names none.
//!
//! A user with Docker and a network should not have to build anything: a published node image
//! known to be good is taken when its registry answers, else the recipe is built. The choice
//! is written down, so that the next run does not fall out differently.

use std::{fs, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Context, Error, Result, compat,
    docker::{Docker, discover::Origin},
    file, progress,
    recipe::Recipe,
    settings::settings,
};

/// How long the registry of the published image may take to answer. It is asked once, and what
/// comes of that lasts.
const ANSWER: Duration = Duration::from_secs(20);

/// The recipe that is built when nothing better is known.
const RECIPE: &str = "v1.32.1-containerd-2.0.2";

/// The kind release whose default node image is the published one.
const KIND: semver::Version = semver::Version::new(0, 27, 0);

/// Two ways to a node, and where the choice between them is written down.
#[derive(Debug, Clone)]
pub struct DefaultNode {
    /// A published node image, `name@sha256:…`.
    pub published: String,
    /// Name of the recipe to build without it.
    pub recipe: String,
    /// The file that holds the choice.
    pub record: PathBuf,
}

/// The choice as it is written down.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// A node image by digest, or a recipe's name.
    node: String,
    why: String,
}

/// The node of a spec that names none: the settings' own, else the default one.
///
/// # Errors
/// The settings name no recipe and no image by digest, or the written choice is damaged.
pub(crate) async fn default_recipe(docker: &Docker) -> Result<Recipe> {
    if let Some(node) = &settings().node {
        return named(node).context("KUBENEST_NODE");
    }
    // The embedded engine is for machines without Docker, which as a rule are cut off from
    // registries: it asks none that nobody named.
    if docker.endpoint().origin == Origin::Embedded {
        return Recipe::named(RECIPE);
    }
    let published = compat::default_node(&KIND).expect("the table must have the release");
    let default = DefaultNode {
        published: published.to_owned(),
        recipe: RECIPE.to_owned(),
        record: settings().cache.join("node-default.json"),
    };
    default.resolve(docker).await
}

impl DefaultNode {
    /// Repeats the written choice; without one, chooses and writes it down.
    ///
    /// # Errors
    /// The written choice is damaged, or cannot be written.
    pub async fn resolve(&self, docker: &Docker) -> Result<Recipe> {
        let path = self.record.display();
        if let Ok(text) = fs::read(&self.record) {
            let choice: Choice = serde_json::from_slice(&text).map_err(|cause| {
                Error::setup(format!(
                    "the choice of the default node in '{path}' is damaged"
                ))
                .because(cause)
                .cure(format!("rm '{path}'"))
            })?;
            return named(&choice.node).with_context(|| format!("the default node in '{path}'"));
        }
        let choice = self.choose(docker).await?;
        progress!(
            "default node: {} ({}; noted in {path})",
            choice.node,
            choice.why
        );
        let recipe = named(&choice.node)?;
        let text = serde_json::to_vec_pretty(&choice).context("write the default node")?;
        if let Some(folder) = self.record.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make '{}'", folder.display()))?;
        }
        file::write_through(&self.record, text)?;
        Ok(recipe)
    }

    async fn choose(&self, docker: &Docker) -> Result<Choice> {
        let published = |why: &str| Choice {
            node: self.published.clone(),
            why: why.to_owned(),
        };
        if docker.image(&self.published).await?.is_some() {
            return Ok(published("the engine has it"));
        }
        let why = match docker.in_registry(&self.published, ANSWER).await {
            Ok(true) => return Ok(published("its registry has it")),
            Ok(false) => format!("the registry has no {}", self.published),
            Err(error) => format!(
                "the registry of {} does not answer: {error}",
                self.published
            ),
        };
        Ok(Choice {
            node: self.recipe.clone(),
            why,
        })
    }
}

/// A node by a recipe's name, or by an image's reference with digest.
fn named(node: &str) -> Result<Recipe> {
    if node.contains(['/', '@', ':']) {
        Recipe::image(node)
    } else {
        Recipe::named(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Content;

    #[test]
    fn the_published_node_is_pinned_and_its_containerd_known() {
        let published = compat::default_node(&KIND).unwrap();
        let recipe = named(published).unwrap();
        assert!(matches!(recipe.content, Content::Image(_)));
        assert_eq!(
            compat::containerd_in(published).unwrap().to_string(),
            "2.0.2"
        );
        assert!(matches!(named(RECIPE).unwrap().content, Content::Parts(_)));
    }

    #[test]
    fn a_tag_without_a_digest_is_no_node() {
        assert!(named("kindest/node:v1.32.2").is_err());
        assert!(named("no-such-recipe").is_err());
    }
}

//! Chooses the node image for a spec that names none.
//!
//! A user with Docker and a network should not have to build anything: a published node image that
//! is known to be good is taken when its registry has it, and otherwise the recipe is built. The
//! choice is recorded, so that the next run has the same one. A choice that was made because a
//! registry did not answer is valid for this run only.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use kubenest_base::{Context, Error, Result, file, progress, settings::Settings};
use kubenest_docker::{Docker, discover::Origin};
use kubenest_recipe::{compat, recipe::Recipe};

/// How long the registry of the published image may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// The recipe that is built without a published image.
pub(super) const RECIPE: &str = "v1.32.1-containerd-2.0.2";

/// The kind release whose default node image is the published one.
const KIND: semver::Version = semver::Version::new(0, 27, 0);

/// The two ways to a node image, and the record of the choice between them.
#[derive(Debug, Clone)]
pub struct DefaultNode {
    /// A published node image, `name@sha256:…`.
    pub published: String,
    /// Name of the recipe that is built if the published image is not available.
    pub recipe: String,
    /// The file that holds the choice.
    pub record: PathBuf,
}

/// The recorded choice.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// A node image by digest, or a recipe's name.
    node: String,
    why: String,
    /// The run for which the choice is valid, if it must not last: another run chooses again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<String>,
}

/// The recipe for a spec that names no node: the settings' own, or else the default.
///
/// # Errors
/// The settings name neither a recipe nor an image with a digest, or the recorded choice is
/// damaged.
pub async fn default_recipe(docker: &Docker) -> Result<Recipe> {
    let settings = docker.settings();
    if let Some(node) = &settings.node {
        return recipe_of(node).context("KUBENEST_NODE");
    }
    // The embedded engine is for machines without Docker, which are usually cut off from
    // registries. So it asks no registry unless the settings name one.
    if docker.endpoint().origin == Origin::Embedded {
        return Recipe::named(RECIPE);
    }
    let published = compat::default_node(&KIND).expect("the table must have the release");
    let default = DefaultNode {
        published: published.to_owned(),
        recipe: RECIPE.to_owned(),
        record: settings.cache.join("node-default.json"),
    };
    default.resolve(docker).await
}

/// As [`default_recipe`], but without asking a registry: what a boot would most likely take.
pub fn likely_recipe(settings: &Settings, engine: Option<&Origin>) -> Result<Recipe> {
    match &settings.node {
        Some(node) => recipe_of(node).context("KUBENEST_NODE"),
        None if engine == Some(&Origin::Embedded) => Recipe::named(RECIPE),
        None => recipe_of(compat::default_node(&KIND).expect("the table must have the release")),
    }
}

impl DefaultNode {
    /// Repeats the recorded choice; without one, chooses and records the choice.
    ///
    /// # Errors
    /// The recorded choice is damaged, or cannot be written.
    pub async fn resolve(&self, docker: &Docker) -> Result<Recipe> {
        let path = self.record.display();
        let run = docker.settings().run.as_str();
        if let Some(choice) = self.recorded_choice(run)? {
            return recipe_of(&choice.node)
                .with_context(|| format!("the default node in '{path}'"));
        }
        let has = docker.image(&self.published).await?.is_some();
        let choice = if has {
            self.take("the engine has it")
        } else {
            self.judge(docker.in_registry(&self.published, ANSWER).await, run)
        };
        let holds = if choice.run.is_some() {
            ", for this run"
        } else {
            ""
        };
        progress!(
            "default node: {} ({}; noted in {path}{holds})",
            choice.node,
            choice.why
        );
        let recipe = recipe_of(&choice.node)?;
        let text = serde_json::to_vec_pretty(&choice).context("write the default node")?;
        if let Some(folder) = self.record.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make '{}'", folder.display()))?;
        }
        file::write_through(&self.record, text)?;
        Ok(recipe)
    }

    /// The recorded choice, unless it was for another run.
    fn recorded_choice(&self, run: &str) -> Result<Option<Choice>> {
        let Ok(text) = fs::read(&self.record) else {
            return Ok(None);
        };
        let path = self.record.display();
        let choice: Choice = serde_json::from_slice(&text).map_err(|cause| {
            Error::setup(format!(
                "the choice of the default node in '{path}' is damaged"
            ))
            .because(cause)
            .cure(format!("rm '{path}'"))
        })?;
        let holds = choice.run.as_deref().is_none_or(|of| of == run);
        Ok(holds.then_some(choice))
    }

    /// The choice that follows from a registry's answer. A registry that gives no answer, because
    /// it is out of reach, busy or requires a login, decides nothing for later runs.
    fn judge(&self, asked: Result<bool>, run: &str) -> Choice {
        let (why, lasts) = match asked {
            Ok(true) => return self.take("its registry has it"),
            Ok(false) => (format!("the registry has no {}", self.published), true),
            Err(error) => (
                format!("no word from its registry: {error:#}; `docker login` may help"),
                false,
            ),
        };
        Choice {
            node: self.recipe.clone(),
            why,
            run: (!lasts).then(|| run.to_owned()),
        }
    }

    fn take(&self, why: &str) -> Choice {
        Choice {
            node: self.published.clone(),
            why: why.to_owned(),
            run: None,
        }
    }
}

/// The recipe with this name, in this file, or for the image with this digest reference.
fn recipe_of(node: &str) -> Result<Recipe> {
    let path = Path::new(node);
    if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
        Recipe::file(path)
    } else if node.contains(['/', '@', ':']) {
        Recipe::image(node)
    } else {
        Recipe::named(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubenest_recipe::recipe::Content;

    #[test]
    fn the_published_node_is_pinned_and_its_containerd_known() {
        let published = compat::default_node(&KIND).unwrap();
        let recipe = recipe_of(published).unwrap();
        assert!(matches!(recipe.content, Content::Image(_)));
        assert_eq!(
            compat::containerd_in(published).unwrap().to_string(),
            "2.0.2"
        );
        assert!(matches!(
            recipe_of(RECIPE).unwrap().content,
            Content::Parts(_)
        ));
    }

    fn default_in(folder: &std::path::Path) -> DefaultNode {
        DefaultNode {
            published: "reg.test/node@sha256:0".into(),
            recipe: RECIPE.into(),
            record: folder.join("node-default.json"),
        }
    }

    #[test]
    fn only_a_yes_or_a_no_of_the_registry_lasts() {
        let default = default_in(std::path::Path::new("/nowhere"));
        let yes = default.judge(Ok(true), "a");
        assert_eq!((yes.node, yes.run), (default.published.clone(), None));
        let no = default.judge(Ok(false), "a");
        assert_eq!((no.node.as_str(), no.run), (RECIPE, None));
        let limit = Error::setup("ask the registry").because(Error::setup("429 toomanyrequests"));
        let refused = default.judge(Err(limit), "a");
        assert_eq!(
            (refused.node.as_str(), refused.run.as_deref()),
            (RECIPE, Some("a"))
        );
        assert!(
            refused.why.contains("429 toomanyrequests"),
            "{}",
            refused.why
        );
    }

    #[test]
    fn what_no_registry_said_is_repeated_in_its_own_run_only() {
        let folder = tempfile::tempdir().unwrap();
        let default = default_in(folder.path());
        assert!(default.recorded_choice("a").unwrap().is_none());
        let mut choice = default.judge(Err(Error::timeout("no answer")), "a");
        let write = |choice: &Choice| {
            fs::write(&default.record, serde_json::to_vec(choice).unwrap()).unwrap();
        };
        write(&choice);
        assert!(
            default.recorded_choice("a").unwrap().is_some(),
            "one run, one node"
        );
        assert!(default.recorded_choice("b").unwrap().is_none());
        choice.run = None;
        write(&choice);
        assert!(default.recorded_choice("b").unwrap().is_some());
        fs::write(&default.record, "{").unwrap();
        assert!(default.recorded_choice("a").is_err());
    }

    #[test]
    fn a_tag_without_a_digest_is_no_node() {
        assert!(recipe_of("kindest/node:v1.32.2").is_err());
        assert!(recipe_of("no-such-recipe").is_err());
    }
}

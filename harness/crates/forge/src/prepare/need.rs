//! What a test may need, with the name that manifests use for it.

use std::path::Path;

use kubenest_base::{
    Error, Result,
    settings::{EngineRelease, Settings},
    store::Store,
};
use kubenest_docker::discover::Origin;
use kubenest_protocol::preparing::DEFAULT;
use kubenest_recipe::recipe::{Component, Content, GoBuild, Recipe, Role, Source};

use crate::{engine, image, names};

const ENGINE: &str = "engine ";
const DEBIAN: &str = "debian ";

/// Something that a test needs before it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Need {
    /// A node image in an engine.
    Node {
        /// The recipe; `None` for the recipe of specs that name none.
        recipe: Option<Recipe>,
        /// The embedded engine that must have the image; `None` for the engine of the settings.
        engine: Option<EngineRelease>,
    },
    /// An embedded engine.
    Engine(EngineRelease),
    /// A single component.
    Component(Component),
    /// The programs of a Go module.
    Programs(GoBuild),
}

impl Need {
    /// Reads a need.
    ///
    /// # Errors
    /// There is nothing with this name; the cure lists the known names.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some((node, word)) = text.split_once(names::ON) {
            let engine = release(word).ok_or_else(|| unknown(text))?;
            let recipe = recipe(node).ok_or_else(|| unknown(text))??;
            let engine = Some(engine);
            return Ok(Self::Node { recipe, engine });
        }
        if let Some(word) = text.strip_prefix(ENGINE) {
            let release = release(word).ok_or_else(|| unknown(text))?;
            return Ok(Self::Engine(release));
        }
        if let Some(packages) = text.strip_prefix(DEBIAN) {
            return debian(packages).ok_or_else(|| unknown(text));
        }
        if let Some(recipe) = recipe(text) {
            let recipe = recipe?;
            return Ok(Self::Node {
                recipe,
                engine: None,
            });
        }
        let mut components = names::all_components();
        let is_meant =
            |known: &Component| text == names::component(known) || text == names::label(known);
        if let Some(component) = components.find(is_meant) {
            return Ok(Self::Component(component));
        }
        let mut builds = GoBuild::all();
        let build = builds.find(|known| text == names::build(known) || text == known.name());
        build.map(Self::Programs).ok_or_else(|| unknown(text))
    }

    /// Everything that a test with this need may ask for: the need itself, and its parts.
    ///
    /// # Errors
    /// The settings name no node.
    pub fn names(&self, settings: &Settings) -> Result<Vec<String>> {
        Ok(match self {
            Self::Node { recipe, engine } => {
                let mut names = match recipe {
                    None => vec![names::default_node(*engine)],
                    Some(recipe) => vec![names::node(recipe, *engine)],
                };
                let embedded = engine.or(engine::release_of_settings(settings)?);
                let origin = embedded.map(|_| Origin::Embedded);
                let likely = || image::likely_recipe(settings, origin.as_ref());
                let recipe = recipe.clone().map_or_else(likely, Ok)?;
                if let Content::Parts(parts) = &recipe.content {
                    names.extend(parts.components().map(names::component));
                }
                names.push(names::node(&recipe, *engine));
                names.extend(engine.map(names::engine));
                names
            }
            Self::Engine(release) => vec![names::engine(*release)],
            Self::Component(component) => vec![names::component(component)],
            Self::Programs(build) => vec![names::build(build)],
        })
    }
}

/// The names of all needs, each with a description.
pub fn list() -> Vec<(String, &'static str)> {
    let node = "node image";
    let mut list = vec![
        (DEFAULT.to_owned(), "node image of specs that name none"),
        ("FILE.yaml".to_owned(), "node image of a recipe of yours"),
        ("NAME@sha256:…".to_owned(), "published node image"),
    ];
    list.extend(
        Recipe::names()
            .into_iter()
            .map(|name| (name.to_owned(), node)),
    );
    list.push((
        "NODE on embedded-29".to_owned(),
        "node image in that engine, or in `embedded`",
    ));
    for release in [EngineRelease::Docker26, EngineRelease::Docker29] {
        list.push((names::engine(release), "embedded engine"));
    }
    list.extend(GoBuild::all().map(|build| (names::build(&build), "programs of a Go module")));
    list.push((
        "debian SUITE PACKAGE…".to_owned(),
        "small root file system of these packages",
    ));
    list
}

fn unknown(text: &str) -> Error {
    let all: Vec<_> = list().into_iter().map(|(name, _)| name).collect();
    Error::input(format!("nothing that can be prepared is named '{text}'"))
        .cure(format!("use one of: {}", all.join(", ")))
}

fn release(word: &str) -> Option<EngineRelease> {
    let all = [EngineRelease::Docker26, EngineRelease::Docker29];
    all.into_iter()
        .find(|release| names::engine_word(*release) == word.trim())
}

/// The recipe that a text names, if it names one; the inner `None` is the default recipe.
pub(super) fn recipe(text: &str) -> Option<Result<Option<Recipe>>> {
    let path = Path::new(text);
    let is_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    Some(if text == DEFAULT {
        Ok(None)
    } else if text.contains("@sha256:") {
        Recipe::image(text).map(Some)
    } else if is_file {
        Recipe::file(path).map(Some)
    } else if let Some(name) = Recipe::full_name(text) {
        Recipe::named(name).map(Some)
    } else {
        return None;
    })
}

/// A root file system without any set-up, from `SUITE PACKAGE…`.
fn debian(text: &str) -> Option<Need> {
    let mut words = text.split_whitespace().map(str::to_owned);
    let suite = words.next()?;
    let packages: Vec<_> = words.collect();
    (!packages.is_empty()).then(|| {
        Need::Component(Component {
            role: Role::ProxyOs,
            version: suite.clone(),
            source: Source::Debian {
                suite,
                packages,
                version: None,
                sha256: None,
            },
        })
    })
}

/// Whether all programs of an engine of this release are in the cache.
pub(super) fn engine_is_made(store: &Store, release: EngineRelease) -> Result<bool> {
    let is_built = match engine::built_of(release)? {
        Some(build) => crate::component::has_programs(store, &build)?,
        None => true,
    };
    Ok(is_built && engine::has_packages(store)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Need {
        Need::parse(text).unwrap()
    }

    #[test]
    fn what_a_manifest_names_is_what_a_test_asks_for() {
        for text in [
            "default",
            "v1.32.1-containerd-2.0.2",
            "v1.32.1-containerd-2.0.2 on embedded-29",
            "engine embedded-29",
            "kind 0.27.0",
            "cri-client 0.30.0",
            "containerd 2.0.2",
            "os-bookworm",
            "debian bookworm docker-registry iptables",
        ] {
            assert_eq!(parse(text).names(&Settings::from_env()).unwrap()[0], text);
        }
        assert_eq!(parse("kind-0.27.0"), parse("kind 0.27.0"));
        assert!(matches!(parse("kubernetes 1.32.1"), Need::Component(_)));
        assert!(matches!(parse("kind 0.27.0"), Need::Programs(_)));
    }

    #[test]
    fn whoever_needs_a_node_image_has_its_parts() {
        let names = parse("skew-1.7.24-shim-2.0.2 on embedded-29")
            .names(&Settings::from_env())
            .unwrap();
        for name in [
            "containerd 2.0.2",
            "kubernetes 1.32.1",
            "engine embedded-29",
        ] {
            assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
        }
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        for text in [
            "kind 9.9",
            "v9 on embedded",
            "kind 0.27.0 on embedded",
            "engine x",
            "debian x",
        ] {
            let error = Need::parse(text).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            let cure = error.cure_text().unwrap();
            for name in ["kind 0.27.0", "v1.32.1-containerd-2.0.2", "default"] {
                assert!(cure.contains(name), "{cure}");
            }
        }
    }
}

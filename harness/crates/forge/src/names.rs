//! The names of what can be made, as `kubenest prepare` and manifests use them.

use std::path::Path;

use kubenest_base::settings::EngineRelease;
use kubenest_protocol::preparing::DEFAULT;
use kubenest_recipe::recipe::{Component, Content, GoBuild, Recipe, Role, Source};

/// The text between a node and the engine that should have it.
pub(crate) const ON: &str = " on ";

/// A recipe's node image, such as `v1.32.1-containerd-2.0.2`; with an engine that has to be named,
/// such as `v1.32.1-containerd-2.0.2 on embedded-29`.
pub fn node(recipe: &Recipe, engine: Option<EngineRelease>) -> String {
    in_engine(recipe_name(recipe), engine)
}

/// The node image for specs that name none.
pub fn default_node(engine: Option<EngineRelease>) -> String {
    in_engine(DEFAULT.to_owned(), engine)
}

/// A component, such as `containerd 2.0.2` or `os-bookworm`; a component of no recipe is named by
/// its packages, such as `debian bookworm docker-registry iptables`.
pub fn component(component: &Component) -> String {
    match &component.source {
        Source::Go(go) => build(go),
        Source::Debian {
            suite, packages, ..
        } if component.role == Role::ProxyOs && !is_of_a_recipe(component) => {
            format!("debian {suite} {}", packages.join(" "))
        }
        _ => label(component),
    }
}

/// The programs of a Go module, such as `kind 0.27.0`.
pub fn build(build: &GoBuild) -> String {
    match build.name().rsplit_once('-') {
        Some((name, version)) => format!("{name} {version}"),
        None => build.name().to_owned(),
    }
}

/// An embedded engine, such as `engine embedded-29`.
pub fn engine(release: EngineRelease) -> String {
    format!("engine {}", engine_word(release))
}

/// An embedded engine in the form of `KUBENEST_ENGINE`.
pub(crate) fn engine_word(release: EngineRelease) -> &'static str {
    match release {
        EngineRelease::Docker26 => "embedded",
        EngineRelease::Docker29 => "embedded-29",
    }
}

/// A node image as an entry in the durations, whichever engine has it.
pub(crate) fn image(recipe: &Recipe) -> String {
    format!("node image {}", recipe_name(recipe))
}

/// The name of a component for people who look into the cache.
pub(crate) fn label(component: &Component) -> String {
    match &component.source {
        Source::Go(build) => build.name().to_owned(),
        Source::Debian { suite, .. } if component.role.is_os() => {
            format!("{}-{suite}", component.role.name())
        }
        Source::Debian {
            packages, version, ..
        } => {
            format!("{}-{}", packages[0], version.as_deref().unwrap_or_default())
        }
        Source::Archive { .. } => format!("archive-{}", component.role.name()),
        Source::Folder { .. } => format!("folder-{}", component.role.name()),
    }
}

/// Every component of the recipes that come with kubenest.
pub(crate) fn all_components() -> impl Iterator<Item = Component> {
    let recipes = Recipe::names().into_iter().filter_map(|name| {
        let recipe = Recipe::named(name).ok()?;
        match recipe.content {
            Content::Parts(parts) => Some(parts),
            Content::Image(_) => None,
        }
    });
    recipes.flat_map(|parts| parts.components().cloned().collect::<Vec<_>>())
}

fn is_of_a_recipe(component: &Component) -> bool {
    all_components().any(|known| known == *component)
}

/// The name of a recipe; a recipe file is named by its absolute path, which is the same in every
/// folder.
fn recipe_name(recipe: &Recipe) -> String {
    let path = Path::new(&recipe.name);
    let is_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    match std::path::absolute(path) {
        Ok(path) if is_file => path.display().to_string(),
        _ => recipe.name.clone(),
    }
}

fn in_engine(node: String, engine: Option<EngineRelease>) -> String {
    match engine {
        Some(release) => format!("{node}{ON}{}", engine_word(release)),
        None => node,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_recipe_is_made_of_has_a_name_for_people() {
        let recipe = Recipe::named("skew-1.7.24-shim-2.0.2").unwrap();
        assert_eq!(node(&recipe, None), "skew-1.7.24-shim-2.0.2");
        let there = node(&recipe, Some(EngineRelease::Docker29));
        assert_eq!(there, "skew-1.7.24-shim-2.0.2 on embedded-29");
        let Content::Parts(parts) = recipe.content else {
            panic!("it must be made of parts")
        };
        let names: Vec<_> = parts.components().map(component).collect();
        insta::assert_snapshot!(
            names.join(", "),
            @"kubernetes 1.32.1, containerd 1.7.24, containerd 2.0.2, etcd-server-3.5.16-4, coredns 1.11.3, pause 3.10, os-bookworm, proxy_os-bookworm"
        );
    }

    #[test]
    fn a_root_file_system_of_no_recipe_is_named_by_its_packages() {
        let os = Component {
            role: Role::ProxyOs,
            version: "bookworm".into(),
            source: Source::Debian {
                suite: "bookworm".into(),
                packages: ["libfaketime", "iptables"].map(str::to_owned).to_vec(),
                version: None,
                sha256: None,
            },
        };
        assert_eq!(component(&os), "debian bookworm libfaketime iptables");
    }
}

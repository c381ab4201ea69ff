//! What the names of nodes mean, for a run of tests on several nodes.

use kubenest_base::{Result, settings::Settings};
use kubenest_protocol::preparing::{Memory, Node};
use kubenest_recipe::{
    compat,
    recipe::{Content, Recipe, Versions},
};

use super::{memory, need};
use crate::names;

/// The nodes that these names mean, in order and each once, whether they are made or not.
///
/// # Errors
/// Input when a name means no node; the cure lists the known names.
pub fn nodes(names: &[String]) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let name = name.trim();
        let recipe = match need::recipe(name).transpose()?.flatten() {
            Some(recipe) => recipe,
            None => Recipe::named(name)?,
        };
        let node = describe(&recipe);
        if !nodes.iter().any(|known| known.name == node.name) {
            nodes.push(node);
        }
    }
    Ok(nodes)
}

/// What the cache remembers of all tests.
#[must_use]
pub fn remembered(settings: &Settings) -> Memory {
    memory::recall(&settings.cache)
}

fn describe(recipe: &Recipe) -> Node {
    let versions = match &recipe.content {
        Content::Parts(parts) => parts.versions().by_part(),
        Content::Image(image) => {
            let image = image.to_string();
            let text = |known: Option<String>| known.unwrap_or_default();
            let mut versions = Versions::default();
            versions.kubernetes = text(compat::kubernetes_in(&image).map(|it| it.to_string()));
            versions.containerd = text(compat::containerd_in(&image).map(ToString::to_string));
            versions.by_part()
        }
    };
    Node {
        name: names::node(recipe, None),
        versions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Result<Vec<Node>> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        nodes(&names)
    }

    #[test]
    fn two_names_of_one_node_are_one_node() {
        let found = named(&["1.34", " cri-o", "v1.34.3-containerd-2.3.4"]).unwrap();
        let found = found.iter().map(|node| {
            let versions = node
                .versions
                .iter()
                .map(|(part, version)| format!(" {part}={version}"));
            format!("{}{}", node.name, versions.collect::<String>())
        });
        insta::assert_snapshot!(found.collect::<Vec<_>>().join("\n"), @"
        v1.34.3-containerd-2.3.4 containerd=2.3.4 kubernetes=1.34.3 shim=2.3.4
        v1.34.3-cri-o-1.34.0 crio=1.34.0 kubernetes=1.34.3
        ");
    }

    #[test]
    fn a_published_image_has_the_versions_of_the_table() {
        let image = compat::default_node(&semver::Version::new(0, 27, 0)).unwrap();
        let found = named(&[image]).unwrap().remove(0);
        assert_eq!(found.versions["containerd"], "2.0.2");
        assert_eq!(found.versions["kubernetes"], "1.32.2");
    }

    #[test]
    fn an_unknown_node_lists_what_is_there() {
        for name in ["1.99", "kind 0.27.0", "default", ""] {
            let error = named(&["1.34", name]).unwrap_err();
            assert_eq!(error.to_string(), format!("no recipe is named {name}"));
            let cure = error.cure_text().unwrap();
            for known in ["v1.34.3-cri-o-1.34.0", "1.36, 1.37, latest, cri-o"] {
                assert!(cure.contains(known), "{known} in {cure}");
            }
        }
    }
}

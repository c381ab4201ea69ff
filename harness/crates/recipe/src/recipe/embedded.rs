//! The recipes and Go builds that are embedded in the library.

use super::short;
use kubenest_base::{Error, Result};

/// Files by their paths.
type Files = &'static [(&'static str, &'static [u8])];

static RECIPES: Files = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));
static GO: Files = include!(concat!(env!("OUT_DIR"), "/go.rs"));

/// The text of the recipe with this name.
pub(super) fn recipe(name: &str) -> Result<&'static str> {
    text(RECIPES, &format!("{name}.yaml")).ok_or_else(|| {
        let names = recipe_names();
        let short = short::all(&names).join(", ");
        Error::input(format!("no recipe is named {name}")).cure(format!(
            "use one of {}; in short one of {short}; or give the path of a recipe file",
            names.join(", ")
        ))
    })
}

/// The names of all recipes, sorted.
pub(super) fn recipe_names() -> Vec<&'static str> {
    let names = RECIPES.iter().map(|(path, _)| *path);
    let mut names: Vec<_> = names
        .filter_map(|path| path.strip_suffix(".yaml"))
        .collect();
    names.sort_unstable();
    names
}

/// The text of the file that lists all Go builds.
pub(super) fn go_builds() -> &'static str {
    text(GO, "build.yaml").expect("build.yaml must be embedded text")
}

/// The files of one Go build, as name and content, sorted by name.
pub(super) fn go_files(folder: &str) -> Vec<(&'static str, &'static [u8])> {
    let below = |path: &'static str| path.strip_prefix(folder)?.strip_prefix('/');
    let files = GO.iter();
    let files = files.filter_map(|(path, content)| Some((below(path)?, *content)));
    let files: Vec<_> = files.collect();
    assert!(
        !files.is_empty(),
        "the Go build {folder} must have its folder"
    );
    files
}

fn text(files: Files, path: &str) -> Option<&'static str> {
    let found = files.iter().find(|(own, _)| *own == path);
    found.and_then(|(_, content)| std::str::from_utf8(content).ok())
}

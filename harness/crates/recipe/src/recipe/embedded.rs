//! The recipes and Go builds that come inside the library.

use include_dir::{Dir, include_dir};

use kubenest_base::{Error, Result};

static RECIPES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/data/recipes");
static GO: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/data/go");

/// The text of the recipe of that name.
pub(super) fn recipe(name: &str) -> Result<&'static str> {
    let file = RECIPES.get_file(format!("{name}.yaml"));
    file.and_then(|file| file.contents_utf8()).ok_or_else(|| {
        Error::input(format!("no recipe is named {name}")).cure(format!(
            "use one of {}; or give the path of a recipe file",
            recipe_names().join(", ")
        ))
    })
}

/// The names of all recipes, sorted.
pub(super) fn recipe_names() -> Vec<&'static str> {
    let mut names: Vec<_> = RECIPES
        .files()
        .filter_map(|file| file.path().file_stem()?.to_str())
        .collect();
    names.sort_unstable();
    names
}

/// The file that says what is built from each Go folder.
pub(super) fn go_builds() -> &'static str {
    let file = GO
        .get_file("build.yaml")
        .expect("build.yaml must be embedded");
    file.contents_utf8().expect("build.yaml must be text")
}

/// The files of one Go build, as name and content, sorted by name.
pub(super) fn go_files(folder: &str) -> Vec<(&'static str, &'static [u8])> {
    let folder = GO.get_dir(folder).expect("a Go build must have its folder");
    let mut files: Vec<_> = folder
        .files()
        .map(|file| {
            let name = file.path().file_name().and_then(|name| name.to_str());
            (name.expect("file names must be text"), file.contents())
        })
        .collect();
    files.sort_unstable();
    files
}

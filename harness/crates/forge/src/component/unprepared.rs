//! Replaces `make` where that is not compiled in: anything that the cache lacks is an error that
//! names the cure.

use std::path::Path;

use kubenest_base::{Error, Result, store::Store};
use kubenest_recipe::recipe::{Component, GoBuild};

use crate::package::Package;

#[expect(clippy::unused_async, reason = "called as what it stands in for")]
pub(super) async fn component(_: &Store, label: &str, _: &Component, _: &Path) -> Result<()> {
    Err(not_prepared(label))
}

#[expect(clippy::unused_async, reason = "called as what it stands in for")]
pub(super) async fn programs(_: &Store, build: &GoBuild, _: &Path) -> Result<()> {
    Err(not_prepared(build.name()))
}

#[expect(clippy::unused_async, reason = "called as what it stands in for")]
pub(super) async fn packages(_: &Store, suite: &str, _: &[Package], _: &Path) -> Result<()> {
    Err(not_prepared(&format!("what is wanted of Debian {suite}")))
}

fn not_prepared(what: &str) -> Error {
    Error::setup(format!(
        "{what} is not in the cache, and this test was compiled without what makes it"
    ))
    .cure(
        "prepare it once with the program `kubenest`: `kubenest prepare NEED`, which has `--list`; \
         or let tests make it: the feature `build` of the crate kubenest",
    )
}

#[cfg(test)]
mod tests {
    use kubenest_base::store::Store;
    use kubenest_recipe::recipe::{Content, Recipe};

    #[tokio::test]
    async fn what_nobody_prepared_names_the_command_and_the_feature() {
        let cache = tempfile::tempdir().unwrap();
        let recipe = Recipe::named("v1.32.1-containerd-2.0.2").unwrap();
        let Content::Parts(parts) = recipe.content else {
            panic!("it must be made of parts")
        };
        let store = Store::open(cache.path());
        let error = super::super::part(&store, &parts.kubernetes)
            .await
            .unwrap_err();
        insta::assert_snapshot!(error.report());
    }
}

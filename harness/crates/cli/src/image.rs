//! `kubenest image`.

use std::time::Instant;

use clap::Subcommand;
use kubenest::{
    Error, Result,
    recipe::{NodeImage, Recipe},
};

#[derive(Subcommand)]
pub(crate) enum Image {
    /// Build the node images of recipes, or pull them from KUBENEST_REGISTRY
    Build {
        /// Recipes' names or files; all that come with kubenest if none is given
        recipes: Vec<String>,
    },
    /// Push the node images of recipes to KUBENEST_REGISTRY
    Push {
        /// Recipes' names or files
        #[arg(required = true)]
        recipes: Vec<String>,
    },
    /// Show the recipes that come with kubenest, and whether their images are built
    List,
}

pub(crate) async fn run(command: Image) -> Result<()> {
    let docker = kubenest::engine::find().await?;
    match command {
        Image::Build { recipes } => {
            let names = if recipes.is_empty() {
                Recipe::names().into_iter().map(str::to_owned).collect()
            } else {
                recipes
            };
            for name in names {
                let start = Instant::now();
                let image = NodeImage::ensure(&docker, &crate::recipe(&name)?).await?;
                let seconds = start.elapsed().as_secs_f64();
                println!("{name} {} ({seconds:.1} s)", image.reference);
            }
        }
        Image::Push { recipes } => {
            let registry = kubenest::settings().registry.as_deref().ok_or_else(|| {
                Error::input("no registry is set").cure("KUBENEST_REGISTRY=host:port/path")
            })?;
            for name in recipes {
                let recipe = crate::recipe(&name)?;
                let image = NodeImage::ensure(&docker, &recipe).await?;
                println!("{}", image.push(&docker, registry).await?);
            }
        }
        Image::List => {
            for name in Recipe::names() {
                let reference = NodeImage::reference_of(&Recipe::named(name)?);
                let built = docker.image(&reference).await?.is_some();
                println!(
                    "{name:<32} {reference} {}",
                    if built { "built" } else { "-" }
                );
            }
        }
    }
    Ok(())
}

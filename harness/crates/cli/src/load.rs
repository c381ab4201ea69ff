//! `kubenest load`.

use std::path::PathBuf;

use clap::Args;
use kubenest::{
    Error, Result,
    images::{ImageSource, Images},
};
use kubenest_node::node;

#[derive(Args)]
pub(crate) struct Load {
    /// Images of the engine, by name or id; one named by digest is pulled if it is not there
    #[arg(required_unless_present_any = ["archive", "layout"])]
    images: Vec<String>,
    /// The images of an archive, as `docker save` and other tools write it
    #[arg(long, value_name = "FILE")]
    archive: Vec<PathBuf>,
    /// The images of a folder in the OCI's image layout
    #[arg(long, value_name = "FOLDER")]
    layout: Vec<PathBuf>,
    /// The cluster, kubenest's or kind's; need not be said where there is but one
    #[arg(long)]
    cluster: Option<String>,
    /// Another name for the image in the nodes
    #[arg(long)]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Load {
    fn sources(&self) -> Result<Vec<ImageSource>> {
        let images = self.images.iter().map(|image| match image.contains('@') {
            true => ImageSource::registry(image),
            false => ImageSource::engine(image),
        });
        let archives = self.archive.iter().map(ImageSource::archive);
        let layouts = self.layout.iter().map(ImageSource::oci_layout);
        let sources: Vec<ImageSource> = images.chain(archives).chain(layouts).collect();
        let Some(name) = &self.name else {
            return Ok(sources);
        };
        if sources.len() > 1 {
            let what = format!("{} images cannot all be '{name}'", sources.len());
            return Err(Error::input(what).cure("load each by itself"));
        }
        Ok(sources.into_iter().map(|one| one.with_name(name)).collect())
    }
}

pub(crate) async fn run(load: &Load) -> Result<()> {
    let sources = load.sources()?;
    let docker = kubenest::engine::find().await?;
    let cluster = match &load.cluster {
        Some(cluster) => cluster.clone(),
        None => only_cluster(node::clusters(&docker).await?)?,
    };
    let nodes = node::of_cluster(&docker, &cluster).await?;
    let images = Images::of(&docker, &nodes);
    let mut all = Vec::new();
    for source in sources {
        let loaded = images.load(source).await?;
        if !load.json {
            println!("{loaded}");
        }
        all.push(loaded);
    }
    if load.json {
        println!("{}", crate::json_of(&all)?);
    }
    Ok(())
}

/// The only cluster, which is meant when no cluster is named.
fn only_cluster(clusters: Vec<String>) -> Result<String> {
    match clusters.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::not_found("there is no cluster").cure("kubenest up")),
        several => Err(
            Error::input(format!("several clusters are up: {}", several.join(", ")))
                .cure("say which: --cluster NAME"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{Cli, Command};

    fn load(arguments: &[&str]) -> Load {
        let line = ["kubenest", "load"].iter().chain(arguments);
        match Cli::try_parse_from(line).map(|cli| cli.command) {
            Ok(Command::Load(load)) => load,
            Ok(_) => panic!("another command"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn each_source_is_what_it_is_said_to_be() {
        let load = load(&["a", "b@sha256:1", "--archive", "c.tar", "--layout", "d"]);
        let expected = [
            ImageSource::engine("a"),
            ImageSource::registry("b@sha256:1"),
            ImageSource::archive("c.tar"),
            ImageSource::oci_layout("d"),
        ];
        assert_eq!(load.sources().unwrap(), expected);
    }

    #[test]
    fn one_name_is_for_one_image() {
        let one = load(&["a", "--name", "x:1"]).sources().unwrap();
        assert_eq!(one, [ImageSource::engine("a").with_name("x:1")]);
        let error = load(&["a", "b", "--name", "x:1"]).sources().unwrap_err();
        insta::assert_snapshot!(error.report(), @"
        2 images cannot all be 'x:1'
        cure: load each by itself
        ");
        assert!(Cli::try_parse_from(["kubenest", "load"]).is_err());
    }

    #[test]
    fn the_cluster_is_named_where_there_are_several() {
        assert_eq!(only_cluster(vec!["a".into()]).unwrap(), "a");
        let error = only_cluster(vec!["a".into(), "kind".into()]).unwrap_err();
        insta::assert_snapshot!(error.report(), @"
        several clusters are up: a, kind
        cure: say which: --cluster NAME
        ");
        assert!(only_cluster(Vec::new()).is_err());
    }
}

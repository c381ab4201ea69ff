//! Turns needs into the pieces that have to be made for them.

use std::{collections::BTreeMap, sync::Arc};

use kubenest_base::{
    Result,
    settings::{EngineRelease, Settings},
    store::Store,
};
use kubenest_docker::{Docker, discover::Origin};
use kubenest_recipe::recipe::{Component, Content, GoBuild, Recipe, Source};

use super::need::{Need, engine_is_made};
use crate::{
    component, durations,
    engine::{self, PACKAGES},
    image::{NodeImage, default_recipe, likely_recipe},
    names,
};

/// Something to make.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) name: String,
    /// How the piece is made, in words for people.
    pub(super) how: &'static str,
    pub(super) work: Work,
    /// The places of the pieces from which this one is made.
    pub(super) after: Vec<usize>,
    pub(super) seconds: f64,
    pub(super) is_measured: bool,
}

/// The work that makes a piece.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Component(Component),
    Programs(GoBuild),
    EnginePackages,
    Node {
        recipe: Option<Recipe>,
        engine: Option<EngineRelease>,
    },
}

/// The pieces collected so far, each once.
pub(super) struct Pieces {
    settings: Arc<Settings>,
    pub(super) all: Vec<Piece>,
    store: Store,
    durations: BTreeMap<String, f64>,
    /// Connections by the embedded engine that was named; `None` for an engine that has to be made
    /// first.
    engines: Vec<(Option<EngineRelease>, Option<Docker>)>,
}

impl Pieces {
    pub(super) fn new(settings: &Arc<Settings>) -> Self {
        Self {
            settings: Arc::clone(settings),
            all: Vec::new(),
            store: Store::of(settings),
            durations: durations::remembered(&settings.cache),
            engines: Vec::new(),
        }
    }

    /// Adds the pieces that have to be made for a need.
    pub(super) async fn add(&mut self, need: &Need) -> Result<()> {
        match need {
            Need::Component(component) => drop(self.component(component)?),
            Need::Programs(build) => drop(self.programs(build)?),
            Need::Engine(release) => drop(self.engine(*release)?),
            Need::Node { recipe, engine } => self.node(recipe.clone(), *engine).await?,
        }
        Ok(())
    }

    async fn node(&mut self, recipe: Option<Recipe>, engine: Option<EngineRelease>) -> Result<()> {
        let docker = self.connect(engine).await?;
        let known = match (&recipe, &docker) {
            (Some(recipe), _) => recipe.clone(),
            (None, Some(docker)) => default_recipe(docker).await?,
            // Only an embedded engine can be missing.
            (None, None) => likely_recipe(&self.settings, Some(&Origin::Embedded))?,
        };
        if let Some(docker) = &docker
            && docker
                .image(&NodeImage::reference_of(&known))
                .await?
                .is_some()
        {
            return Ok(());
        }
        let missing = match engine {
            _ if docker.is_some() => None,
            Some(release) => Some(release),
            None => engine::release_of_settings(&self.settings)?,
        };
        let mut after = match missing {
            Some(release) => self.engine(release)?,
            None => Vec::new(),
        };
        let how = match (&known.content, &self.settings.registry, &docker) {
            (Content::Image(_), ..) => "pulled",
            // Only an existing engine can ask whether the registry has the image.
            (_, Some(_), None) => "pulled or built",
            (_, Some(registry), Some(docker))
                if NodeImage::is_in_registry(docker, registry, &known).await? =>
            {
                "pulled"
            }
            (Content::Parts(parts), ..) => {
                for part in parts.components() {
                    after.extend(self.component(part)?);
                }
                "node image"
            }
        };
        after.sort_unstable();
        after.dedup();
        let name = names::node(&known, engine);
        let timed = names::image(&known);
        self.push(name, &timed, how, Work::Node { recipe, engine }, after);
        Ok(())
    }

    /// Connects to the engine, unless the engine has to be made first.
    async fn connect(&mut self, engine: Option<EngineRelease>) -> Result<Option<Docker>> {
        if let Some((_, docker)) = self.engines.iter().find(|(known, _)| *known == engine) {
            return Ok(docker.clone());
        }
        let release = match engine {
            Some(release) => Some(release),
            None => engine::release_of_settings(&self.settings)?,
        };
        let docker = match release {
            Some(release) if !engine_is_made(&self.store, release)? => None,
            _ => Some(connect(&self.settings, engine).await?),
        };
        self.engines.push((engine, docker.clone()));
        Ok(docker)
    }

    fn engine(&mut self, release: EngineRelease) -> Result<Vec<usize>> {
        let mut needed = Vec::new();
        if !engine::has_packages(&self.store)? {
            let name = PACKAGES.to_owned();
            needed.push(self.push(name, PACKAGES, PACKAGED, Work::EnginePackages, vec![]));
        }
        if let Some(build) = engine::built_of(release)? {
            needed.extend(self.programs(&build)?);
        }
        Ok(needed)
    }

    fn component(&mut self, component: &Component) -> Result<Option<usize>> {
        if component::is_made(&self.store, component)? {
            return Ok(None);
        }
        let how = match &component.source {
            Source::Go(_) => GO,
            Source::Debian { .. } => PACKAGED,
            Source::Archive { .. } => "download",
            Source::Folder { .. } => "copy",
        };
        let name = names::component(component);
        let work = Work::Component(component.clone());
        Ok(Some(self.push(name.clone(), &name, how, work, vec![])))
    }

    fn programs(&mut self, build: &GoBuild) -> Result<Option<usize>> {
        if component::has_programs(&self.store, build)? {
            return Ok(None);
        }
        let name = names::build(build);
        Ok(Some(self.push(
            name.clone(),
            &name,
            GO,
            Work::Programs(*build),
            vec![],
        )))
    }

    /// Adds a piece unless it is already there; its duration is stored under another name than its
    /// own.
    fn push(
        &mut self,
        name: String,
        timed: &str,
        how: &'static str,
        work: Work,
        after: Vec<usize>,
    ) -> usize {
        if let Some(at) = self.all.iter().position(|piece| piece.name == name) {
            return at;
        }
        let measured = self.durations.get(timed).copied();
        self.all.push(Piece {
            seconds: measured.unwrap_or_else(|| guess(&name, how)),
            is_measured: measured.is_some(),
            name,
            how,
            work,
            after,
        });
        self.all.len() - 1
    }
}

/// The words for the two ways of making a piece: a Go build and packages.
pub(super) const GO: &str = "Go build";
const PACKAGED: &str = "Debian packages";

/// Connects to the engine of this release, or of the settings; starts it if it does not run.
pub(super) async fn connect(
    settings: &Arc<Settings>,
    engine: Option<EngineRelease>,
) -> Result<Docker> {
    match engine {
        Some(release) => engine::embedded(release, settings).await,
        None => engine::find(settings).await,
    }
}

/// About how many seconds a piece takes that was never made here: the time on two cores and with a
/// network of 100 Mbit/s, by the kind and size of the piece.
fn guess(name: &str, how: &str) -> f64 {
    let of = |names: &[(&str, f64)], other: f64| {
        let known = names.iter().find(|(start, _)| name.starts_with(start));
        known.map_or(other, |(_, seconds)| *seconds)
    };
    match how {
        GO => of(
            &[
                ("kubernetes", 420.0),
                ("cluster-api", 300.0),
                ("docker", 150.0),
                ("spire", 700.0),
                ("coredns", 100.0),
                ("pause", 2.0),
                ("cri-client", 40.0),
                ("kind", 40.0),
            ],
            80.0,
        ),
        PACKAGED => of(&[("os-", 60.0), ("engine", 30.0)], 25.0),
        "pulled" | "pulled or built" => 90.0,
        "node image" => 25.0,
        _ => 20.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_made_is_guessed_by_its_size_and_kind() {
        assert!(guess("kubernetes 1.32.1", GO) > guess("containerd 2.0.2", GO));
        assert!(guess("containerd 2.0.2", GO) > guess("kind 0.27.0", GO));
        assert!(guess("os-bookworm", PACKAGED) > guess("etcd-server-3.5.16-4", PACKAGED));
    }

    #[test]
    fn a_piece_is_there_once_and_its_time_is_what_it_took_here() {
        let folder = tempfile::tempdir().unwrap();
        let mut pieces = Pieces {
            settings: Settings::from_env().into(),
            all: vec![],
            store: Store::open(folder.path()),
            durations: [("kind 0.27.0".to_owned(), 31.5)].into(),
            engines: vec![],
        };
        let kind = |version| GoBuild::find("sigs.k8s.io/kind", version).unwrap();
        assert_eq!(pieces.programs(&kind("0.27.0")).unwrap(), Some(0));
        assert_eq!(pieces.programs(&kind("0.26.0")).unwrap(), Some(1));
        assert_eq!(pieces.programs(&kind("0.27.0")).unwrap(), Some(0));
        let [measured, guessed] = &pieces.all[..] else {
            panic!("{:?}", pieces.all)
        };
        assert_eq!((measured.seconds, measured.is_measured), (31.5, true));
        assert_eq!((guessed.seconds, guessed.is_measured), (40.0, false));
    }
}

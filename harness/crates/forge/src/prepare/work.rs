//! Makes the pieces, and reports the progress.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Instant};

use kubenest_base::{Error, Result, machine::Machine, settings::Settings, store::Store};
use kubenest_protocol::preparing::{self, Event, Plan, TestNeeds};
use tokio::task::JoinSet;

use super::{
    memory,
    need::Need,
    pieces::{self, GO, Piece, Pieces, Work},
    schedule::{Schedule, Task},
};
use crate::{
    component, engine,
    image::{NodeImage, default_recipe},
};

/// A plan of what has to be made, before the work begins.
pub struct Preparation {
    settings: Arc<Settings>,
    pieces: Vec<Piece>,
    plan: Plan,
}

/// How a preparation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything has been made.
    AllMade,
    /// Something cannot be made.
    SomeFailed,
    /// The caller stopped the work.
    Stopped,
}

impl Preparation {
    /// Plans what these tests need and what is missing: the declared needs of each test, narrowed
    /// and completed by what it asked for in its last run.
    ///
    /// # Errors
    /// A declared need is unknown, or there is no engine to look into.
    pub async fn of(settings: &Arc<Settings>, wanted: &TestNeeds) -> Result<Self> {
        let memory = memory::recall(&settings.cache);
        let mut plan = Plan {
            variables: engine::variables(settings)?,
            ..Plan::default()
        };
        let mut texts = BTreeSet::new();
        for (test, declared) in &wanted.tests {
            for text in declared {
                if !plan.needs.contains_key(text) {
                    let names = Need::parse(text)?.names(settings)?;
                    plan.needs.insert(text.clone(), names);
                }
            }
            let remembered = memory.tests.get(test);
            texts.extend(memory::needs_of(declared, remembered));
            if let Some(remembered) = remembered {
                plan.memory.tests.insert(test.clone(), remembered.clone());
            }
        }
        let mut pieces = Pieces::new(settings);
        for text in &texts {
            // A test may have asked for something that no longer exists.
            if let Ok(need) = Need::parse(text) {
                pieces.add(&need).await?;
            }
        }
        let pieces = pieces.all;
        plan.seconds = Schedule::new(tasks(&pieces), Machine::this()).seconds();
        plan.pieces = pieces.iter().map(describe_piece).collect();
        Ok(Self {
            settings: Arc::clone(settings),
            pieces,
            plan,
        })
    }

    /// The pieces that will be made.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Makes all pieces until `stop` is ready, and reports the progress to `tell`. A piece that
    /// fails prevents only those pieces that would be made from it.
    pub async fn make(self, stop: impl Future<Output = ()>, mut tell: impl FnMut(Event)) -> Ended {
        let mut stop = Box::pin(stop);
        let mut schedule = Schedule::new(tasks(&self.pieces), Machine::this());
        let mut work = JoinSet::new();
        let mut end = Ended::AllMade;
        loop {
            while let Some(piece) = schedule.begin() {
                tell(Event::Started { piece });
                let making = self.pieces[piece].work.clone();
                let settings = Arc::clone(&self.settings);
                work.spawn(async move {
                    let begun = Instant::now();
                    let made = making.run(&settings).await;
                    (piece, begun.elapsed().as_secs_f64(), made)
                });
            }
            let ended = tokio::select! {
                ended = work.join_next() => ended,
                () = &mut stop => {
                    work.shutdown().await;
                    return Ended::Stopped;
                }
            };
            let Some(ended) = ended else {
                return end;
            };
            let (piece, seconds, made) = ended.expect("making a piece must not panic");
            let Err(error) = made else {
                schedule.end(piece);
                tell(Event::Made { piece, seconds });
                continue;
            };
            end = Ended::SomeFailed;
            tell(Event::Failed {
                piece,
                seconds,
                message: error.report(),
            });
            let name = &self.pieces[piece].name;
            for piece in schedule.fail(piece) {
                let lacking = Error::setup(format!("{name}, which it is made of, is not there"));
                tell(Event::Failed {
                    piece,
                    seconds: 0.0,
                    message: lacking.report(),
                });
            }
        }
    }
}

impl Work {
    async fn run(self, settings: &Arc<Settings>) -> Result<()> {
        match self {
            Self::Component(component) => {
                let store = Store::of(settings);
                component::provide(&store, &component).await.map(drop)
            }
            Self::Programs(build) => {
                let store = Store::of(settings);
                component::programs(&store, &build).await.map(drop)
            }
            Self::EnginePackages => engine::fetch_packages(settings).await,
            Self::Node { recipe, engine } => {
                let docker = pieces::connect(settings, engine).await?;
                match recipe {
                    Some(recipe) => NodeImage::ensure(&docker, &recipe).await.map(drop),
                    None => {
                        let recipe = default_recipe(&docker).await?;
                        NodeImage::ensure_default(&docker, &recipe).await.map(drop)
                    }
                }
            }
        }
    }
}

fn tasks(pieces: &[Piece]) -> Vec<Task> {
    let task = |piece: &Piece| Task {
        seconds: piece.seconds,
        is_heavy: piece.how == GO,
        after: piece.after.clone(),
    };
    pieces.iter().map(task).collect()
}

fn describe_piece(piece: &Piece) -> preparing::Piece {
    preparing::Piece {
        name: piece.name.clone(),
        how: piece.how.to_owned(),
        seconds: piece.seconds,
        measured: piece.is_measured,
    }
}

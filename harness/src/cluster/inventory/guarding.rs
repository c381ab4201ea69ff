//! The guard of a cluster: started before anything else, and again where something has ended it.

use std::time::Duration;

use kubenest_base::{
    Result, progress,
    wait::{self, Probe},
};
use kubenest_docker::{Guard, Owner, Saving, Ward};
use kubenest_evidence as evidence;

use super::Inventory;
use crate::cluster::folder;

/// How long it may take until a guard that something has ended runs again.
const STARTS: Duration = Duration::from_secs(20);

impl Inventory {
    pub(super) fn guard_name(&self) -> String {
        format!("{}-guard", self.site.name)
    }

    /// Starts a guard that watches for the end of the owner, before anything else is made.
    pub(in crate::cluster) async fn start_guard(&mut self, image: &str) -> Result<()> {
        // The guard of the outermost cluster removes all that is nested in it.
        if self.subject.is_none() || self.site.settings.keep || self.site.around.is_some() {
            return Ok(());
        }
        self.guarded = true;
        let mut guard = self.new_guard(image).await?;
        if self.lease().is_some() && !guard.sees_lease() {
            progress!(
                "cluster '{}' is not shared: its engine does not see the locks of this machine",
                self.site.name
            );
            guard.release().await?;
            self.site.owner = Owner::current().clone();
            self.hold = None;
            guard = self.new_guard(image).await?;
        }
        self.guard = Some(guard);
        Ok(())
    }

    async fn new_guard(&self, image: &str) -> Result<Guard> {
        let subject = self.subject.as_ref().expect("the nodes must have names");
        let folder = evidence::notebook_folder(&self.site.settings, &self.site.name)?;
        let saving = Saving {
            folder: &folder,
            script: evidence::LOOK,
            prepare: &|| subject.begin_notebook(),
        };
        let ward = self.ward()?;
        let guard = Guard::start_saving(&self.site.docker, image, &ward, Some(saving)).await;
        if !guard.as_ref().is_ok_and(Guard::saves) {
            subject.end_notebook();
            evidence::remove_empty_notebook(&self.site.settings, &self.site.name);
        }
        guard
    }

    /// Writes down from now on what this holder of a lease knows, in case it is killed.
    pub(in crate::cluster) fn begin_notebook(&self) {
        let begun = self
            .subject
            .as_ref()
            .map(|subject| subject.begin_notebook_of_holder(&self.boot));
        if let Some(Err(error)) = begun {
            tracing::warn!("{}", error.report());
        }
    }

    fn ward(&self) -> Result<Ward<'_>> {
        let ward = Ward::new(&self.site.name, &self.boot)
            .owner(&self.site.owner)
            .containers(&self.containers);
        if self.lease().is_none() {
            return Ok(ward);
        }
        let settings = &self.site.settings;
        folder::make_home(settings)?;
        let folder = folder::path(settings, &self.site.name);
        Ok(ward.idle(settings.idle).folder(folder))
    }

    /// Starts the guard of an attached cluster again if something has ended it. Its name may be taken for
    /// a moment: by what is left of it, or because another process is about to start it.
    pub(in crate::cluster) async fn restore_guard(&self, image: &str) -> Result<()> {
        let what = format!("the guard of cluster '{}' to run", self.site.name);
        wait::until(&what, STARTS, async || {
            Probe::from_result(
                self.start_guard_again(image)
                    .await
                    .map_err(|it| it.report()),
            )
        })
        .await
    }

    async fn start_guard_again(&self, image: &str) -> Result<()> {
        let guard = self.site.docker.container(&self.guard_name()).await?;
        if guard.is_some_and(|guard| guard.running) {
            return Ok(());
        }
        let guard = Guard::start(&self.site.docker, image, &self.ward()?).await?;
        if !guard.sees_lease() {
            return guard.release().await;
        }
        progress!("the guard of cluster '{}' runs again", self.site.name);
        Ok(())
    }
}

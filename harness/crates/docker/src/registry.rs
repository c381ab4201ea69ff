//! Queries registries, pulls and pushes, with the credentials that `docker login` stored.

mod credentials;

use std::time::Duration;

use bollard::query_parameters::{CreateImageOptions, PushImageOptions};
use futures::StreamExt;

use super::{Docker, explain::Explain, is_gone};
use kubenest_base::{
    Context, Error, Result,
    reference::{Parts, parts},
    wait,
};

impl Docker {
    /// Whether a registry has an image.
    ///
    /// # Errors
    /// As [`digest_in_registry`](Docker::digest_in_registry).
    pub async fn in_registry(&self, reference: &str, deadline: Duration) -> Result<bool> {
        let digest = self.digest_in_registry(reference, deadline).await?;
        Ok(digest.is_some())
    }

    /// The digest, `sha256:…`, that a name has in its registry now; `None` when the registry does
    /// not have the name. The engine asks the registry, so that the engine's proxies and
    /// certificates are used.
    ///
    /// # Errors
    /// The registry does not answer within `deadline`, or does not tell this user.
    pub async fn digest_in_registry(
        &self,
        reference: &str,
        deadline: Duration,
    ) -> Result<Option<String>> {
        let login = credentials::of(&self.settings().docker, reference).await;
        let asked = self.raw().inspect_registry_image(reference, login);
        let what = || format!("ask the registry for '{reference}'");
        let asked = wait::within("the registry's answer", deadline, async { Ok(asked.await) });
        match asked.await.with_context(what)? {
            Ok(found) => Ok(Some(found.descriptor.digest.unwrap_or_default())),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error).with_context(what),
        }
    }

    /// Pulls an image from its registry.
    ///
    /// # Errors
    /// The registry does not answer or has no such image.
    pub async fn pull(&self, reference: &str) -> Result<()> {
        let what = || format!("pull image '{reference}'");
        let name = reference.rsplit('/').next().unwrap_or(reference);
        let options = CreateImageOptions {
            from_image: Some(reference.to_owned()),
            // Without a tag or a digest the engine would pull every tag of the repository.
            tag: (!name.contains([':', '@'])).then(|| "latest".to_owned()),
            ..Default::default()
        };
        let login = credentials::of(&self.settings().docker, reference).await;
        let mut answers = Box::pin(self.raw().create_image(Some(options), login));
        while let Some(answer) = answers.next().await {
            answer.explain(what)?;
        }
        Ok(())
    }

    /// Pushes an image of the engine to the registry in its name.
    ///
    /// # Errors
    /// No such image, or the registry does not answer or does not take it.
    pub async fn push(&self, reference: &str) -> Result<()> {
        let what = || format!("push image '{reference}'");
        let Parts {
            name,
            tag: Some(tag),
            digest: None,
        } = parts(reference)
        else {
            let what = format!("image '{reference}' has no tag to be pushed by");
            return Err(Error::input(what));
        };
        let login = credentials::of(&self.settings().docker, reference).await;
        let options = PushImageOptions {
            tag: Some(tag.to_owned()),
            platform: None,
        };
        let mut answers = Box::pin(self.raw().push_image(name, Some(options), login));
        while let Some(answer) = answers.next().await {
            answer.explain(what)?;
        }
        Ok(())
    }
}

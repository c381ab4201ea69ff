//! Registries: ask, pull and push, with the credentials that `docker login` left.

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

    /// The digest, `sha256:…`, of what a registry has under that name now; `None` when it has
    /// nothing. The engine asks, so that its proxies and certificates count.
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
            // With neither, the engine would pull every tag there is.
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

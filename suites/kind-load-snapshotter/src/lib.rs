//! Helpers of the kind-load-snapshotter suite.

use std::time::Duration;

use anyhow::Result;
use kubenest::{
    Case, images::SmallImage, k8s_openapi::api::core::v1::Pod, kube::api::LogParams, wait::Probe,
};
use kubenest_base::process::Output;
use kubenest_fixtures::kind::Kind;

/// The error of kind v0.26 when it does not find the snapshotter's name.
pub const NOT_DETECTED: &str = "failed to detect containerd snapshotter";

/// A node whose containerd writes its configuration in version 2.
pub const CONTAINERD_1_7: &str = "v1.32.1-containerd-1.7.24";
/// A node whose containerd writes its configuration in version 3.
pub const CONTAINERD_2_0: &str = "v1.32.1-containerd-2.0.2";

/// A few seconds suffice on an idle machine.
const SOON: Duration = Duration::from_secs(120);

/// Runs `kind load docker-image` of one kind release with a unique image.
pub async fn load(case: &Case<'_>, release: &str) -> Result<(SmallImage, Output)> {
    let kind = Kind::release(release).await?;
    let mark = format!("loaded by kind {release} in {}", case.namespace());
    let image = SmallImage::load(case.cluster().docker(), &mark).await?;
    let output = kind.load(case.cluster(), image.reference()).await?;
    Ok((image, output))
}

/// Runs a pod from a loaded image, which no registry has, and returns its output.
pub async fn run_from(case: &Case<'_>, image: &SmallImage) -> Result<String> {
    let name = format!(
        "from-{}",
        image.reference().rsplit(':').next().unwrap_or_default()
    );
    case.create(&image.pod(&name, image.reference())).await?;
    case.pod_ready(&name, SOON).await?;
    let pods = case.api::<Pod>();
    // Ready means started; the output follows a moment later.
    let printed = case.until("the pod's words", SOON, async || {
        match pods.logs(&name, &LogParams::default()).await {
            Ok(text) if text.is_empty() => Probe::Pending("nothing yet".into()),
            other => Probe::from_result(other),
        }
    });
    Ok(printed.await?.trim_end().to_owned())
}

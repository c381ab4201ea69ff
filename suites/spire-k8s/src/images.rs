//! The images of SPIRE's server and agent, under the names that SPIRE's own test gives them.

use std::path::Path;

use kubenest::Result;
use kubenest_base::{Error, lock::FileLock, store::Store};
use kubenest_docker::Docker;
use kubenest_forge::{
    component,
    image::{ImageSpec, Layer},
    lockfile,
};
use kubenest_recipe::recipe::GoBuild;

/// The programs, whose images are `<program>:latest-local`.
const PROGRAMS: [&str; 2] = ["spire-server", "spire-agent"];
const TAG: &str = "latest-local";
const ROLE: &str = "spire-image";

/// The names of both images.
pub fn names() -> [String; 2] {
    PROGRAMS.map(|program| format!("{program}:{TAG}"))
}

/// Puts both images into the engine, unless it has them. They stay, as other tests use them at the
/// same time under the same names; `kubenest clean --all` removes them.
///
/// # Errors
/// SPIRE cannot be built, or the engine has an image of that name that is somebody else's.
pub async fn ensure(docker: &Docker) -> Result<()> {
    let settings = docker.settings();
    let build = GoBuild::find("github.com/spiffe/spire", "1.13.3")?;
    lockfile::hold_tool(settings, &build).await?;
    let store = Store::of(settings);
    let programs = component::programs(&store, &build).await?;
    let lock = settings.cache.join("locks").join("spire-images.lock");
    let _lock = FileLock::exclusive(&lock, "the images of SPIRE").await?;
    let hash = programs.file_name().unwrap_or_default().to_string_lossy();
    for (program, name) in PROGRAMS.into_iter().zip(names()) {
        let path = Path::new("opt/spire/bin").join(program);
        let key = format!("{program}-of-{hash}");
        let layer = Layer::cached(&store, &key, async |layer| {
            layer.program(&path, &programs.join(program))
        })
        .await?;
        if has(docker, &name, &layer).await? {
            continue;
        }
        let spec = ImageSpec {
            tags: vec![name],
            layers: vec![layer],
            labels: docker.labels(ROLE).keep(true).map().into_iter().collect(),
            entrypoint: vec![Path::new("/").join(&path).display().to_string()],
            ..ImageSpec::default()
        };
        spec.load(docker).await?;
    }
    Ok(())
}

/// Whether the engine has the image already; one of the user's own is not replaced.
async fn has(docker: &Docker, name: &str, layer: &Layer) -> Result<bool> {
    let Some(found) = docker.image(name).await? else {
        return Ok(false);
    };
    if found.labels.get("dev.kubenest.role").map(String::as_str) != Some(ROLE) {
        return Err(
            Error::setup(format!("the engine has an image '{name}' that is not ours"))
                .cure("give it another name, or set KUBENEST_ENGINE=embedded"),
        );
    }
    Ok(found.layers == [layer.diff_id.as_str()])
}

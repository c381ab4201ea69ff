//! Check `plugins`: the containerd plugins that pods need are loaded.

use super::{Check, Facts, Name, When, containerd_only, shim::Generation};
use crate::health::{
    Expected,
    facts::{Fact, require, within},
    outcome::Outcome,
};
use kubenest_node::node::{Node, containerd::Plugin};

pub(super) const CHECK: Check = Check {
    name: Name::Plugins,
    when: When::RuntimeRuns,
    applies: containerd_only,
    judge,
};

/// Asks containerd for its plugins.
pub(in crate::health) async fn ask(node: &Node) -> Fact<Vec<Plugin>> {
    within(async { node.containerd().await?.plugins().await }).await
}

fn judge(facts: &Facts, expected: &Expected) -> Fact<Outcome> {
    let rows = require(&facts.plugins)?;
    let mut needed = vec![
        ("io.containerd.snapshotter.v1", expected.snapshotter()),
        ("io.containerd.grpc.v1", "cri"),
    ];
    let version = &require(&facts.cri.version)?.runtime_version;
    if Generation::of(version) > Some(Generation::Address) {
        needed.extend([
            ("io.containerd.cri.v1", "images"),
            ("io.containerd.cri.v1", "runtime"),
        ]);
    }
    let trouble: Vec<_> = needed
        .iter()
        .filter_map(
            |&(kind, id)| match rows.iter().find(|row| row.kind == kind && row.id == id) {
                None => Some(format!("{kind}.{id} is missing")),
                Some(row) => row
                    .init_error
                    .as_ref()
                    .map(|error| format!("{kind}.{id} did not load: {}", error.message)),
            },
        )
        .collect();
    if trouble.is_empty() {
        return Ok(Outcome::passed(format!(
            "all {} needed are loaded",
            needed.len()
        )));
    }
    let cure = format!(
        "remove what disables the plugin from containerd's config, then {}",
        facts.runtime.restart_cure()
    );
    Ok(Outcome::failed(trouble.join("; "), cure))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::checks::{
        shim::tests::shim,
        tests::{fires, silent},
    };
    use kubenest_node::node::containerd::InitError;

    /// The plugins of containerd 2.0.2.
    pub(in super::super) fn good() -> Vec<Plugin> {
        let plugin = |(kind, id): (&str, &str)| Plugin {
            kind: kind.to_owned(),
            id: id.to_owned(),
            ..Plugin::default()
        };
        let all = [
            ("io.containerd.snapshotter.v1", "overlayfs"),
            ("io.containerd.grpc.v1", "cri"),
            ("io.containerd.cri.v1", "images"),
            ("io.containerd.cri.v1", "runtime"),
        ];
        all.map(plugin).to_vec()
    }

    #[test]
    fn plugins_must_be_there_and_loaded() {
        fires("plugins", |facts| {
            let message = "no overlay in this kernel".to_owned();
            let init_error = Some(InitError { code: 2, message });
            facts.plugins.as_mut().unwrap()[0].init_error = init_error;
        });
        fires("plugins", |facts| {
            facts.plugins.as_mut().unwrap().truncate(3)
        });
        // Before 2.0 there is one CRI plugin; the other plugins are not needed, loaded or not.
        silent(|facts| {
            facts.cri.version.as_mut().unwrap().runtime_version = "1.7.24".to_owned();
            facts.shims = Ok(vec![shim("1.7.24")]);
            facts.plugins.as_mut().unwrap().truncate(2);
        });
        silent(|facts| {
            let init_error = Some(InitError::default());
            let (kind, id) = ("io.containerd.snapshotter.v1".to_owned(), "zfs".to_owned());
            facts.plugins.as_mut().unwrap().push(Plugin {
                kind,
                id,
                platforms: Vec::new(),
                init_error,
            });
        });
    }
}

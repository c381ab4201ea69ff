//! containerd's configuration with the user's changes.

use serde_json::{Value, json};

use super::merge::{merge, replace_lists};
use kubenest_base::{Context, Error, Result, progress};

/// The plugin with the registries, in each version of the configuration.
const PLUGINS: [&str; 3] = [
    "cri",
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
];

/// Merges patches into a configuration, table by table.
///
/// containerd accepts registry mirrors or a `config_path`, not both. Where the user sets mirrors,
/// the image's own `config_path` is removed.
pub(super) fn apply_patches(config: &str, patches: &[toml::Table]) -> Result<String> {
    let table: toml::Table = config
        .parse()
        .context("the node image's containerd configuration is no TOML")?;
    let mut value = as_value(&table)?;
    let mut theirs = json!({});
    for patch in patches {
        merge(&mut theirs, &as_value(patch)?, replace_lists);
    }
    let mirrors = has_mirrors(&theirs);
    if mirrors
        && PLUGINS
            .iter()
            .any(|plugin| has_config_path(&theirs, plugin))
    {
        return Err(Error::input(
            "the containerd patches give registry mirrors and a config_path, with which there is \
             no CRI plugin (`mirrors` cannot be set when `config_path` is provided)",
        )
        .cure("give one of them: mirrors can be hosts.toml files below the config_path"));
    }
    for plugin in PLUGINS {
        if mirrors && has_config_path(&value, plugin) {
            value["plugins"][plugin]["registry"]["config_path"] = json!("");
            progress!("registry mirrors take the place of the node image's config_path");
        }
    }
    merge(&mut value, &theirs, replace_lists);
    toml::to_string_pretty(&value).context("write containerd's configuration")
}

/// Whether patches give containerd registry mirrors.
pub(super) fn sets_mirrors(patches: &[toml::Table]) -> bool {
    let values = patches.iter().filter_map(|patch| as_value(patch).ok());
    values.into_iter().any(|value| has_mirrors(&value))
}

fn has_mirrors(config: &Value) -> bool {
    PLUGINS.iter().any(|plugin| {
        let mirrors = config["plugins"][plugin]["registry"]["mirrors"].as_object();
        mirrors.is_some_and(|mirrors| !mirrors.is_empty())
    })
}

fn has_config_path(config: &Value, plugin: &str) -> bool {
    let path = config["plugins"][plugin]["registry"]["config_path"].as_str();
    path.is_some_and(|path| !path.is_empty())
}

fn as_value(table: &toml::Table) -> Result<Value> {
    serde_json::to_value(table).context("read TOML")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIRRORS: &str = "[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']
                           endpoint = ['https://registry.example.com']";

    fn table(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn a_patch_reaches_into_nested_tables() {
        let patch = table("[plugins.cri]\nsandbox = 'b'\nlist = [3]");
        let config = "version = 2\n[plugins.cri]\nsandbox = 'a'\nx = 1\nlist = [1, 2]";
        let table = table(&apply_patches(config, &[patch]).unwrap());
        let cri = &table["plugins"]["cri"];
        assert_eq!(cri["sandbox"].as_str(), Some("b"));
        assert_eq!(cri["x"].as_integer(), Some(1));
        assert_eq!(cri["list"].as_array().map(Vec::len), Some(1));
        assert_eq!(table["version"].as_integer(), Some(2));
    }

    #[test]
    fn mirrors_take_the_place_of_the_images_config_path() {
        let patches = [table(MIRRORS)];
        assert!(sets_mirrors(&patches));
        assert!(!sets_mirrors(&[table("version = 2")]));
        let path = "[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/certs.d'";
        let merged = table(&apply_patches(path, &patches).unwrap());
        let registry = &merged["plugins"]["io.containerd.grpc.v1.cri"]["registry"];
        assert_eq!(registry["config_path"].as_str(), Some(""));
        let endpoint = &registry["mirrors"]["docker.io"]["endpoint"][0];
        assert_eq!(endpoint.as_str(), Some("https://registry.example.com"));
        let merged = apply_patches(path, &[]).unwrap();
        assert!(merged.contains("/certs.d"), "{merged}");

        let error = apply_patches("", &[patches[0].clone(), table(path)]).unwrap_err();
        assert_eq!(error.kind(), kubenest_base::ErrorKind::Input);
        assert!(
            error.to_string().contains("`config_path` is provided"),
            "{error}"
        );
    }
}

//! containerd's configuration with the user's changes.

use crate::{Context, Result};

/// Merges patches into a configuration, table by table.
pub(super) fn patched(config: &str, patches: &[toml::Table]) -> Result<String> {
    let mut table: toml::Table = config
        .parse()
        .context("the node image's containerd configuration is no TOML")?;
    for patch in patches {
        merge(&mut table, patch);
    }
    toml::to_string_pretty(&table).context("write containerd's configuration")
}

fn merge(target: &mut toml::Table, patch: &toml::Table) {
    for (key, value) in patch {
        match (target.get_mut(key), value) {
            (Some(toml::Value::Table(target)), toml::Value::Table(patch)) => merge(target, patch),
            _ => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_reaches_into_nested_tables() {
        let patch = "[plugins.cri]\nsandbox = 'b'".parse().unwrap();
        let text = patched("version = 2\n[plugins.cri]\nsandbox = 'a'\nx = 1", &[patch]).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["plugins"]["cri"]["sandbox"].as_str(), Some("b"));
        assert_eq!(table["plugins"]["cri"]["x"].as_integer(), Some(1));
    }
}

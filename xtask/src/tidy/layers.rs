//! The harness is layered: a module uses its own layer and lower ones, never a higher one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, TextFile, Tree, code_lines};

/// The layers of `harness/src`, lowest first; docs/architecture.md tells what each is for.
const LAYERS: [&[&str]; 8] = [
    &[
        "background",
        "debian",
        "diagnosis",
        "error",
        "file",
        "lock",
        "process",
        "random",
        "settings",
        "store",
        "telemetry",
        "wait",
    ],
    &["component", "docker", "engine", "objects", "recipe"],
    &["parent"],
    &["compat", "node"],
    &["health", "image", "images"],
    &["evidence"],
    &["cluster", "doctor", "lockfile", "verdict"],
    &["case", "cri_client", "tools"],
];
const TABLE: &str = "xtask/src/tidy/layers.rs";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    for file in tree.rust() {
        let Some(module) = module_of(&file.path) else {
            continue;
        };
        let Some(own) = layer_of(module) else {
            findings.push(unknown(file, module));
            continue;
        };
        for (line, used) in uses(&file.text) {
            let Some(layer) = layer_of(&used).filter(|_| used != module) else {
                continue;
            };
            let place = format!("{}:{line}", file.path);
            if layer > own {
                findings.push(upward(&place, (module, own), (&used, layer)));
            } else if layer == own {
                seen.entry((module.to_owned(), used)).or_insert(place);
            }
        }
        findings.extend(bollard(file, module));
        findings.extend(cut_off(file, module));
    }
    findings.extend(circles(&seen));
    findings.extend(tree.files.iter().flat_map(crates));
    findings
}

/// The module a file of the harness belongs to; None for the crate's root and its programs.
fn module_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("harness/src/")?;
    let module = below.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    (!matches!(module, "lib" | "main" | "bin")).then_some(module)
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules named after `crate::`, with their lines.
fn uses(text: &str) -> BTreeSet<(usize, String)> {
    let mut uses = BTreeSet::new();
    let code = code_lines(text);
    for (at, (line, words)) in code.iter().enumerate() {
        for (start, _) in words.match_indices("crate::") {
            let rest = &words[start + "crate::".len()..];
            if rest.starts_with('{') {
                let below = code[at + 1..].iter().map(|(_, words)| *words);
                let group: Vec<_> = std::iter::once(rest).chain(below).collect();
                let names = group_names(&group.join("\n"));
                uses.extend(names.into_iter().map(|name| (*line, name)));
            } else {
                uses.insert((*line, first_name(rest).to_owned()));
            }
        }
    }
    uses
}

/// The first names in `{a, b::{c, d}, e}`: a, b and e.
fn group_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = Vec::new();
    let mut entry = String::new();
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(std::mem::take(&mut entry)),
            _ if depth == 1 => entry.push(letter),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.push(entry);
    names
        .iter()
        .map(|entry| first_name(entry.trim()).to_owned())
        .collect()
}

fn first_name(path: &str) -> &str {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
    &path[..end.unwrap_or(path.len())]
}

fn upward(place: &str, own: (&str, usize), used: (&str, usize)) -> Finding {
    Finding {
        place: place.to_owned(),
        expected: format!("{} (layer {}) uses layers 0 to {}", own.0, own.1, own.1),
        actual: format!("it uses {} (layer {})", used.0, used.1),
        cure: "move what both need into the lower layer, or pass it in as a value".to_owned(),
    }
}

fn unknown(file: &TextFile, module: &str) -> Finding {
    Finding {
        place: file.path.clone(),
        expected: "a module that has a layer".to_owned(),
        actual: format!("{module} has none"),
        cure: format!("add it to LAYERS in {TABLE} and to docs/architecture.md"),
    }
}

/// Modules of one layer may use each other one way only.
fn circles(seen: &BTreeMap<(String, String), String>) -> Vec<Finding> {
    let back = |a: &String, b: &String| seen.get(&(b.clone(), a.clone()));
    let circles = seen.iter().filter(|((a, b), _)| a < b);
    circles
        .filter_map(|((a, b), place)| {
            back(a, b).map(|other| Finding {
                place: place.clone(),
                expected: format!("{a} and {b}, of one layer, use each other one way only"),
                actual: format!("{a} uses {b}, and {b} uses {a} at {other}"),
                cure: "move what both need into a lower layer".to_owned(),
            })
        })
        .collect()
}

fn bollard(file: &TextFile, module: &str) -> Option<Finding> {
    let code = code_lines(&file.text);
    let named = code.iter().find(|(_, words)| words.contains("bollard"));
    let (line, _) = named.filter(|_| module != "docker")?;
    Some(Finding {
        place: format!("{}:{line}", file.path),
        expected: "only harness/src/docker names bollard".to_owned(),
        actual: format!("{module} names it"),
        cure: "add what is missing to harness/src/docker and call that".to_owned(),
    })
}

/// A deadline that `wait` does not know of is not scaled, and tells nothing when it is missed.
fn cut_off(file: &TextFile, module: &str) -> Option<Finding> {
    let code = code_lines(&file.text);
    let named = code
        .iter()
        .find(|(_, words)| words.contains("time::timeout"));
    let (line, _) = named.filter(|_| module != "wait")?;
    Some(Finding {
        place: format!("{}:{line}", file.path),
        expected: "only harness/src/wait cuts work off".to_owned(),
        actual: format!("{module} does it itself"),
        cure: "use wait::within, wait::at_most or wait::Deadline".to_owned(),
    })
}

/// Crates point one way: suites to fixtures to harness; xtask to none of them.
fn crates(file: &TextFile) -> Vec<Finding> {
    let Some(folder) = file.path.strip_suffix("/Cargo.toml") else {
        return vec![];
    };
    let forbidden: &[&str] = match folder {
        "harness" => &["kubenest-fixtures"],
        "xtask" => &["kubenest", "kubenest-fixtures"],
        _ => &[],
    };
    let lines = file.text.lines().enumerate();
    let named = lines.filter_map(|(at, line)| {
        let name = line.split(['.', ' ', '=']).next()?;
        forbidden.contains(&name).then(|| (at + 1, name.to_owned()))
    });
    named
        .map(|(line, name)| Finding {
            place: format!("{}:{line}", file.path),
            expected: "suites use fixtures and harness, fixtures use harness, xtask uses none"
                .to_owned(),
            actual: format!("{folder} depends on {name}"),
            cure: "remove the dependency".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;
    use super::*;

    #[test]
    fn lower_layers_and_own_parts_may_be_used() {
        let files = [
            ("harness/src/lib.rs", "pub use crate::case::case;"),
            (
                "harness/src/cluster/boot.rs",
                "use crate::{Error, cluster::spec, node::{self, Node}};",
            ),
            (
                "harness/src/image/mod.rs",
                "/// See [crate::case].\nuse crate::recipe::Recipe;",
            ),
            ("suites/a/tests/b.rs", "use crate::cluster;"),
        ];
        assert_eq!(told(check, &files), "");
    }

    #[test]
    fn a_higher_layer_and_an_unknown_module_are_named() {
        let grouped =
            "//! Node.\nuse crate::{\n    Error,\n    docker::{Docker, cluster},\n    health,\n};";
        insta::assert_snapshot!(told(
            check,
            &[
                ("harness/src/node/mod.rs", grouped),
                ("harness/src/store.rs", "fn a() { crate::case::b() }"),
                ("harness/src/helpers.rs", "//! Helpers."),
            ]
        ));
    }

    #[test]
    fn deadlines_outside_of_wait_are_named() {
        insta::assert_snapshot!(
            told(
                check,
                &[
                    ("harness/src/wait.rs", "tokio::time::timeout(left, work).await"),
                    ("harness/src/health/collect.rs", "use tokio::time::timeout;"),
                ]
            ),
            @r"
        tidy: harness/src/health/collect.rs:1
          expected  only harness/src/wait cuts work off
          actual    health does it itself
          cure      use wait::within, wait::at_most or wait::Deadline
        "
        );
    }

    #[test]
    fn circles_and_forbidden_crates_are_named() {
        insta::assert_snapshot!(told(
            check,
            &[
                (
                    "harness/src/docker/mod.rs",
                    "use crate::engine::Engine;\nuse bollard::Docker;"
                ),
                (
                    "harness/src/engine/mod.rs",
                    "use crate::docker;\nuse bollard::Docker;"
                ),
                (
                    "harness/Cargo.toml",
                    "[dependencies]\nkubenest-fixtures.workspace = true\n"
                ),
                (
                    "xtask/Cargo.toml",
                    "[dependencies]\nkubenest = { path = \"../harness\" }\n"
                ),
                (
                    "suites/a/Cargo.toml",
                    "[dependencies]\nkubenest.workspace = true\n"
                ),
            ]
        ));
    }
}

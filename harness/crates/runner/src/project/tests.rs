//! Tests: which packages of a workspace are chosen.

use super::*;
use crate::sample::Sample;

fn offline() -> [String; 1] {
    ["--offline".to_owned()]
}

fn names(project: &Project, named: &[&str]) -> Result<Vec<String>, String> {
    let named: Vec<_> = named.iter().map(|name| (*name).to_owned()).collect();
    let packages = project.packages(&named, Duration::from_secs(60));
    let packages = packages.map_err(|error| error.to_string())?;
    Ok(packages.into_iter().map(|package| package.name).collect())
}

#[test]
fn a_package_is_chosen_by_its_folder_or_its_name() {
    let sample = Sample::new();
    let find = |package: &str| Project::find(Some(&sample.manifest(package)), &offline()).unwrap();
    assert_eq!(names(&find("operator"), &[]).unwrap(), ["operator"]);
    assert_eq!(names(&find("plain"), &["empty"]).unwrap(), ["empty"]);
    let all = ["empty", "endless", "kubenest", "making", "operator"];
    assert_eq!(names(&find("."), &[]).unwrap(), all);
    let below = sample.path().join("operator/src");
    let mut within = find("operator");
    within.folder = below.canonicalize().unwrap();
    assert_eq!(names(&within, &[]).unwrap(), ["operator"]);
    assert_eq!(
        find("operator").root(),
        sample.path().canonicalize().unwrap()
    );
}

#[test]
fn one_that_does_not_use_kubenest_is_refused_with_the_cure() {
    let sample = Sample::new();
    let project = Project::find(Some(&sample.manifest("plain")), &offline()).unwrap();
    insta::assert_snapshot!(
        names(&project, &["plain"]).unwrap_err(),
        @"package plain does not use kubenest: its tests are `cargo test`'s; to write one on a real cluster, begin with `cargo add --dev kubenest`"
    );
    let around = names(&project, &[]).unwrap_err();
    assert_eq!(around, names(&project, &["plain"]).unwrap_err());
    insta::assert_snapshot!(
        names(&project, &["oprator"]).unwrap_err(),
        @r#"there is no package "oprator"; the packages are empty, endless, kubenest, making, operator, plain"#
    );
}

#[test]
fn a_folder_without_a_project_is_told_by_cargo() {
    let folder = tempfile::tempdir().unwrap();
    let error = Project::find(Some(&folder.path().join("Cargo.toml")), &offline());
    let error = format!("{:#}", error.err().unwrap());
    assert!(error.contains("does not exist"), "{error}");
}

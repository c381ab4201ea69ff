//! Texts, files and folders are read into objects, and errors say where they stand.

use super::*;

/// The objects of these manifests, one a line.
fn shown(manifests: impl Into<Manifests>) -> String {
    match manifests.into().read() {
        Ok(all) => all.iter().map(line).collect(),
        Err(error) => error.report(),
    }
}

fn line(manifest: &Manifest) -> String {
    let Manifest {
        kind, name, place, ..
    } = manifest;
    let namespace = manifest.namespace.as_deref().unwrap_or("-");
    let version = kind.api_version();
    format!("{version} {} {namespace}/{name}: {place}\n", kind.kind)
}

const MANY: &str = "\
# Of the operator.
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
--- # the next
# a comment

{apiVersion: v1, kind: Namespace, metadata: {name: other}}
---
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: text
  namespace: other
data:
  script: |
    --- no marker
    ...
...
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ducks.example.com}
";

#[test]
fn definitions_come_first_then_namespaces_then_the_rest_as_it_stands() {
    insta::assert_snapshot!(shown(MANY), @r"
    apiextensions.k8s.io/v1 CustomResourceDefinition -/ducks.example.com: document 4 at line 23
    v1 Namespace -/other: document 2 at line 9
    apps/v1 Deployment -/web: document 1 at line 3
    v1 ConfigMap other/text: document 3 at line 12
    ");
    let text = Manifests::from(MANY).read().unwrap().pop().unwrap();
    assert_eq!(text.object["data"]["script"], "--- no marker\n...\n");
}

#[test]
fn the_items_of_lists_are_objects() {
    let list = "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: key}}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleList
  items: [{metadata: {name: reader}}]
";
    insta::assert_snapshot!(shown(list), @r"
    v1 Secret -/key: document 1 at line 1, item 1
    rbac.authorization.k8s.io/v1 Role -/reader: document 1 at line 1, item 1
    ");
    let value = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    insta::assert_snapshot!(shown(value), @"v1 Pod -/p: the given value");
}

#[test]
fn a_mode_is_an_octal_number() {
    let text = "{apiVersion: v1, kind: A, metadata: {name: a}, mode: 0644, yes: \"0644\"}";
    let object = Manifests::from(text).read().unwrap().pop().unwrap().object;
    assert_eq!(
        (&object["mode"], &object["yes"]),
        (&420.into(), &"0644".into())
    );
}

#[test]
fn a_folder_is_read_file_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let object =
        |name| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    for (file, text) in [
        ("2-b.yml", object("b")),
        ("1-a.yaml", object("a") + &object("a2")),
        (
            "3.json",
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"c"}}"#.to_owned(),
        ),
        ("README.md", "no manifest".to_owned()),
    ] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    fs::create_dir(folder.path().join("sub.yaml")).unwrap();
    let here = folder.path().display().to_string();
    insta::assert_snapshot!(shown(folder.path()).replace(&here, "deploy"), @r"
    v1 ConfigMap -/a: 'deploy/1-a.yaml', document 1 at line 2
    v1 ConfigMap -/a2: 'deploy/1-a.yaml', document 2 at line 6
    v1 ConfigMap -/b: 'deploy/2-b.yml', document 1 at line 2
    v1 Pod -/c: 'deploy/3.json', document 1 at line 1
    ");
    let file = folder.path().join("2-b.yml");
    fs::write(&file, object("b") + "---\nb: [1,\n---\n").unwrap();
    let said = shown(file).replace(&here, "deploy");
    insta::assert_snapshot!(said, @"'deploy/2-b.yml', document 2 at line 6 is not valid YAML: unclosed bracket '[' at line 6, column 4");
    let missing = shown(folder.path().join("gone.yaml")).replace(&here, "deploy");
    insta::assert_snapshot!(missing, @"read 'deploy/gone.yaml': No such file or directory (os error 2)");
}

#[test]
fn an_error_names_document_line_and_field() {
    let good = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n";
    let said = |bad: &str| shown(format!("{good}{bad}"));
    insta::assert_snapshot!(said("kind: Pod\n  a: b\n"), @"document 2 at line 5 is not valid YAML: mapping values are not allowed in this context at line 6, column 4");
    insta::assert_snapshot!(said("kind: Pod\nkind: Pod\n"), @"document 2 at line 5 is not valid YAML: duplicate mapping key: kind at line 6, column 1");
    insta::assert_snapshot!(said("kind: Pod"), @"document 2 at line 5: apiVersion is missing");
    insta::assert_snapshot!(said("{apiVersion: v1, kind: {a: b}}"), @"document 2 at line 5: kind is an object, not a text");
    insta::assert_snapshot!(said("{apiVersion: v1, kind: Pod}"), @"document 2 at line 5: metadata is missing");
    insta::assert_snapshot!(said("{apiVersion: v1, kind: Pod, metadata: {name: 1}}"), @"document 2 at line 5: metadata.name is a number, not a text");
    insta::assert_snapshot!(said("{apiVersion: v1, kind: Job, metadata: {generateName: a-}}"), @r"
    document 2 at line 5: metadata.name is missing
    cure: give it a name, or create it, which takes a generateName
    ");
    insta::assert_snapshot!(said("- a"), @"document 2 at line 5 is no object but a list");
    insta::assert_snapshot!(said("{kind: List, items: [{kind: A}]}"), @"document 2 at line 5, item 1: apiVersion is missing");
    insta::assert_snapshot!(shown("deploy/crds.yaml"), @r#"
    document 1 at line 1 is no object but a text
    cure: give a file or folder as a path, such as `Path::new("deploy")`: a string is read as YAML text
    "#);
    insta::assert_snapshot!(shown("---\n# nothing\n"), @"there is no object in the given text");
}

//! Recipe files: valid ones, and the messages for invalid ones.

use std::path::Path;

use super::*;

const BASE: &str = "extend: v1.32.1-containerd-2.0.2\n";

fn read(text: &str) -> Result<Recipe> {
    resolve("r.yaml", text, Path::new("."))
}

fn parts(text: &str) -> Parts {
    match read(text).unwrap().content {
        Content::Parts(parts) => *parts,
        Content::Image(image) => panic!("must be built of parts, is {image}"),
    }
}

/// Reads a recipe that must be refused, and returns message and cure.
fn refusal(text: &str) -> (String, String) {
    let error = read(text).unwrap_err();
    let cure = error
        .cure_text()
        .expect("a refused recipe must have a cure")
        .to_owned();
    (error.report(), cure)
}

#[test]
fn an_extension_keeps_all_other_fields() {
    let text = format!("{BASE}settings: {{snapshotter: native}}\n");
    let (changed, base) = (parts(&text), parts(BASE));
    assert_eq!(changed.settings.snapshotter, "native");
    assert!(changed.settings.systemd_cgroup);
    assert_eq!(changed.kubernetes, base.kubernetes);
    assert_ne!(read(&text).unwrap().hash(), read(BASE).unwrap().hash());
}

#[test]
fn without_a_shim_the_shim_is_that_of_the_extending_daemon() {
    let text =
        format!("{BASE}containerd: {{go: github.com/containerd/containerd, version: v1.7.24}}");
    let parts = parts(&text);
    let RuntimeParts::Containerd { daemon, shim } = parts.runtime else {
        panic!("must be containerd")
    };
    assert_eq!((shim.version.as_str(), shim.role), ("1.7.24", Role::Shim));
    assert_eq!(shim.source, daemon.source);
}

#[test]
fn the_hash_ignores_name_comments_and_order() {
    let text = "# words\nextend: v1.32.1-containerd-1.7.24\nallow_tag: false\n";
    let embedded = Recipe::named("v1.32.1-containerd-1.7.24").unwrap();
    assert_eq!(read(text).unwrap().hash(), embedded.hash());
    let explicit_default = format!(
        "{BASE}containerd: {{version: 1.7.24, go: github.com/containerd/containerd}}\n\
         shim: {{go: github.com/containerd/containerd, version: 1.7.24}}"
    );
    assert_eq!(read(&explicit_default).unwrap().hash(), embedded.hash());
}

#[test]
fn a_version_that_looks_like_a_number_stays_text() {
    let parts = parts(&format!(
        "{BASE}pause: {{go: kubenest/pause, version: 3.10}}"
    ));
    assert_eq!(parts.pause.version, "3.10");
}

#[test]
fn each_source_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{BASE}runc: {{archive: 'https://example.org/runc', sha256: {}, version: 1.2.4}}\n\
         cni: {{folder: {}, version: 1.6.2}}\n",
        "0a".repeat(32),
        folder.path().display(),
    );
    let parts = parts(&text);
    assert!(matches!(parts.runc.unwrap().source, Source::Archive { .. }));
    assert!(matches!(parts.cni.unwrap().source, Source::Folder { .. }));
    assert!(matches!(parts.etcd.source, Source::Debian { .. }));
    assert!(matches!(parts.kubernetes.source, Source::Go(_)));
}

#[test]
fn a_debian_version_is_pinned_with_revision_and_reported_without() {
    let sum = "0a".repeat(32);
    let line = "etcd: {debian: trixie, packages: [etcd-server], version: 3.5.16-4, sha256: ";
    let etcd = parts(&format!("{BASE}{line}{sum}}}")).etcd;
    assert_eq!(etcd.version, "3.5.16");
    let Source::Debian {
        version, sha256, ..
    } = etcd.source
    else {
        panic!("must be Debian's")
    };
    assert_eq!((version.as_deref(), sha256), (Some("3.5.16-4"), Some(sum)));
}

#[test]
fn a_relative_folder_starts_from_the_recipe() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("out")).unwrap();
    let file = place.path().join("mine.yaml");
    std::fs::write(
        &file,
        format!("{BASE}runc: {{folder: out, version: 1.2.4}}"),
    )
    .unwrap();
    assert!(Recipe::file(&file).is_ok());
}

#[test]
fn whole_images_must_be_pinned() {
    let tag = "image: kindest/node:v1.32.1\n";
    let (message, cure) = refusal(tag);
    assert!(
        message.contains("recipe r.yaml line 1, image:"),
        "{message}"
    );
    assert!(cure.contains("allow_tag: true"), "{cure}");
    assert!(read(&format!("{tag}allow_tag: true\n")).is_ok());
    let pinned = format!("image: kindest/node:v1.32.1@sha256:{}\n", "ab".repeat(32));
    assert!(matches!(read(&pinned).unwrap().content, Content::Image(_)));
    assert!(
        refusal(&format!("{pinned}{BASE}"))
            .0
            .contains("taken as it is")
    );
}

#[test]
fn mistakes_name_file_line_field_and_cure() {
    let mistakes = [
        (
            "shim: {go: x, debian: y, version: 1}",
            "line 2, shim: the source is not clear",
        ),
        (
            "shim: {version: 1}",
            "line 2, shim: the source is not clear",
        ),
        ("shim: {go: x}", "line 2, shim: the version is missing"),
        (
            "shim: {go: x, version: 1}",
            "line 2, shim: no Go build is kept for x 1",
        ),
        (
            "runc: {archive: 'https://h/x', version: 1}",
            "line 2, runc: an archive needs its sha256",
        ),
        (
            "runc: {archive: 'ftp://h/x', version: 1}",
            "`ftp://h/x` is no address",
        ),
        (
            "runc: {archive: 'file:///x', sha256: 12, version: 1}",
            "`12` is no sha256",
        ),
        (
            "runc: {debian: trixie, version: 1}",
            "line 2, runc: no package is named",
        ),
        (
            "runc: {debian: trixie, packages: [-x], version: 1}",
            "`-x` is no package",
        ),
        (
            "runc: {debian: ../x, packages: [x], version: 1}",
            "`../x` is no suite",
        ),
        (
            "runc: {folder: /nowhere, version: 1}",
            "cannot read folder /nowhere",
        ),
        (
            "runc: {folder: /, version: 1, sha256: 12}",
            "`sha256` means nothing for a folder",
        ),
        (
            "os: {folder: /etc, version: 1, }",
            "a root file system is no program",
        ),
        (
            "os: {debian: trixie, packages: [x], version: 1}",
            "`version` means nothing for a debian source",
        ),
        (
            "kubernets: {go: x, version: 1}",
            "unknown field `kubernets`",
        ),
        ("shim: {go: x, versoin: 1}", "unknown field `versoin`"),
        ("shim: 2.0.2", "line 2, column"),
    ];
    for (line, wanted) in mistakes {
        let (message, cure) = refusal(&format!("{BASE}{line}\n"));
        assert!(message.starts_with("recipe r.yaml"), "{message}");
        assert!(message.contains(wanted), "`{wanted}` not in `{message}`");
        assert!(!cure.is_empty(), "{line}");
    }
}

/// A recipe with CRI-O from a folder, and more lines.
fn cri_o(folder: &Path, rest: &str) -> String {
    let folder = folder.display();
    format!("{BASE}runtime: cri-o\ncrio: {{folder: {folder}, version: 1.31.0}}\n{rest}")
}

#[test]
fn cri_o_takes_the_place_of_containerd() {
    let folder = tempfile::tempdir().unwrap();
    let text = cri_o(folder.path(), "");
    let (parts, base) = (parts(&text), parts(BASE));
    let roles: Vec<_> = parts.runtime.components().map(|part| part.role).collect();
    assert_eq!(roles, [Role::Crio]);
    assert_eq!(parts.runtime.version(Role::Crio), Some("1.31.0"));
    assert_eq!(parts.kubernetes, base.kubernetes);
    let packages = |parts: &Parts| match &parts.os.source {
        Source::Debian { packages, .. } => packages.clone(),
        other => panic!("must be Debian's, is {other:?}"),
    };
    let more = packages(&parts).split_off(packages(&base).len());
    assert_eq!(more, ["conmon", "skopeo", "nftables"]);
    assert_ne!(read(&text).unwrap().hash(), read(BASE).unwrap().hash());

    // The content of the folder determines the hash, its path does not.
    let hash = read(&text).unwrap().hash();
    let other = tempfile::tempdir().unwrap();
    assert_eq!(read(&cri_o(other.path(), "")).unwrap().hash(), hash);
    std::fs::write(other.path().join("crio"), "another").unwrap();
    assert_ne!(read(&cri_o(other.path(), "")).unwrap().hash(), hash);
}

#[test]
fn conmon_and_crun_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "crun: {{archive: 'https://example.org/crun', sha256: {}, version: '1.17'}}\n\
         conmon: {{debian: trixie, packages: [conmon], version: 2.1.12-4}}\n",
        "0a".repeat(32)
    );
    let parts = parts(&cri_o(folder.path(), &rest));
    let versions = [Role::Crio, Role::Conmon, Role::Crun].map(|role| parts.runtime.version(role));
    assert_eq!(versions, [Some("1.31.0"), Some("2.1.12"), Some("1.17")]);
    let Source::Debian { packages, .. } = &parts.os.source else {
        panic!("must be Debian's")
    };
    assert!(!packages.contains(&"conmon".to_owned()), "{packages:?}");
    assert!(!packages.contains(&"crun".to_owned()), "{packages:?}");
}

#[test]
fn a_runtime_without_its_own_parts_is_refused() {
    let (message, cure) = refusal(&format!("{BASE}runtime: cri-o\n"));
    assert!(message.contains("names no crio"), "{message}");
    assert!(cure.contains("crio and pinns"), "{cure}");
    for (line, wanted) in [
        ("runtime: docker", "unknown variant `docker`"),
        (
            "crun: {folder: /, version: 1}",
            "line 2, crun: it means nothing to the runtime containerd",
        ),
        (
            "runtime: cri-o\ncrio: {debian: trixie, packages: [x], version: 1}",
            "line 3, crio: CRI-O is no package of Debian",
        ),
    ] {
        let (message, _) = refusal(&format!("{BASE}{line}\n"));
        assert!(message.contains(wanted), "`{wanted}` not in `{message}`");
    }
    let folder = tempfile::tempdir().unwrap();
    let mistakes = [
        (
            "containerd: {go: x, version: 1}",
            "line 4, containerd: it means nothing",
        ),
        (
            "shim: {go: x, version: 1}",
            "line 4, shim: it means nothing",
        ),
        (
            "settings: {snapshotter: native}",
            "only containerd has a snapshotter",
        ),
    ];
    for (line, wanted) in mistakes {
        let (message, _) = refusal(&cri_o(folder.path(), line));
        assert!(message.contains(wanted), "`{wanted}` not in `{message}`");
    }
}

#[test]
fn an_incomplete_recipe_names_what_is_missing() {
    let (message, cure) = refusal("kubernetes: {go: k8s.io/kubernetes, version: 1.32.1}");
    assert!(message.contains("names no "), "{message}");
    assert!(cure.contains("extend:"));
    assert!(
        refusal("extend: nothing\n")
            .1
            .contains("v1.32.1-containerd-2.0.2")
    );
}

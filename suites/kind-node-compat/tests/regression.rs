//! Which kind releases can load images into which node images.
//!
//! A node image belongs to the kind release it was built for. With another release `kind load`
//! breaks whenever containerd writes its configuration in a newer version (3 since 2.0, 4 since
//! 2.3) than kind reads; and a tag does not identify an image, because tags are pushed again. Here
//! each real CLI is run against each real containerd, and kubenest's compatibility table and health
//! gate must predict the result.
//!
//! Regression test for <https://github.com/kubernetes-sigs/kind/issues/3853>,
//! <https://github.com/kubernetes-sigs/kind/releases/tag/v0.32.0>,
//! <https://github.com/velero-io/velero/issues/9878>,
//! <https://github.com/kubernetes-sigs/kind/issues/4032> and
//! <https://github.com/containerd/containerd/issues/11606>. Obsolete when kind loads images
//! without reading containerd's configuration.

/// Pairs that fail, and ambiguous image references.
mod affected {
    use kind_node_compat::{
        CONTAINERD_2_0, CONTAINERD_2_1, CONTAINERD_2_3, CONTAINERD_2_4, Loads, NOT_DETECTED,
        UNKNOWN_VERSION, assert_agreement, cells, is_refused_by_loader, publish,
    };
    use kubenest::{
        ClusterSpec, ErrorKind,
        health::Expected,
        recipe::{NodeImage, Recipe},
    };
    use kubenest_fixtures::registry::LocalRegistry;
    use kubenest_recipe::recipe::ImageRef;
    use rstest::rstest;

    #[rstest]
    #[case::containerd_2_0(CONTAINERD_2_0, &[("0.26.0", NOT_DETECTED)])]
    #[case::containerd_2_3(CONTAINERD_2_3, &[
        ("0.26.0", NOT_DETECTED), ("0.27.0", UNKNOWN_VERSION), ("0.31.0", UNKNOWN_VERSION),
    ])]
    #[case::containerd_2_4(CONTAINERD_2_4, &[
        ("0.26.0", NOT_DETECTED), ("0.30.0", UNKNOWN_VERSION), ("0.31.0", UNKNOWN_VERSION),
    ])]
    #[tokio::test]
    async fn kind_cannot_load_into(
        #[case] recipe: &str,
        #[case] failing: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let spec = ClusterSpec::single_node().with_recipe(recipe)?;
        let cluster = spec.boot().await?;
        cluster
            .case(async |case| {
                let kinds: Vec<_> = failing.iter().map(|(kind, _)| *kind).collect();
                let cells = cells(case, &kinds).await?;
                assert_agreement(&cells);
                for (cell, (_, words)) in cells.iter().zip(failing) {
                    assert_eq!(cell.seen, Loads::No((*words).to_owned()));
                }
                let kept = case.evidence().await?;
                kept.assert_cause("kind-snapshotter-not-detected");
                let other = "kind-config-version-unknown";
                let named = kept.causes.iter().any(|cause| cause.id == other);
                assert_eq!(
                    named,
                    failing.iter().any(|(_, words)| *words == UNKNOWN_VERSION)
                );
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }

    /// The kind release is unknown, so the gate tries an import: containerd's transfer service
    /// unpacks for its default snapshotter only.
    #[tokio::test]
    async fn an_unknown_kind_is_probed_and_refused_where_imports_fail() -> anyhow::Result<()> {
        let native = "[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native'";
        let expected = Expected::default().with_snapshotter("native");
        let spec = ClusterSpec::single_node().with_recipe(CONTAINERD_2_1)?;
        let spec = spec.with_containerd_patch(native)?.with_expected(expected);
        let error = spec.with_kind_loader("0.99.0")?.expect_refusal().await?;
        assert!(is_refused_by_loader(&error), "{error:?}");
        let words = "unable to initialize unpacker: no unpack platforms defined";
        assert!(error.report().contains(words), "{error:?}");
        let cure = error.cure_text().unwrap_or_default();
        assert!(cure.contains("snapshotter overlayfs"), "{error:?}");
        Ok(())
    }

    #[tokio::test]
    async fn a_known_bad_pair_is_refused_before_anything_is_pulled() -> anyhow::Result<()> {
        let docker = kubenest::engine::find().await?;
        let registry = LocalRegistry::start(&docker).await?;
        // The image that a tag of kind v0.26 pointed to in January 2025.
        let image = format!(
            "{}/kindest/node:v1.32.1@sha256:\
             6afef2b7f69d627ea7bf27ee6696b6868d18e03bf98167c420df486da4662db6",
            registry.address()
        );
        let name = format!("known-bad-{}", std::process::id());
        let spec = ClusterSpec::single_node().with_name(&name);
        let spec = spec.with_custom_recipe(Recipe::image(&image)?);
        let error = spec.with_kind_loader("0.26.0")?.expect_refusal().await?;
        assert!(error.report().contains("containerd 2.0.2"), "{error:?}");
        assert!(!registry.was_asked_for("kindest/node").await?);
        assert!(docker.image(&image).await?.is_none());
        let label = format!("dev.kubenest.cluster={name}");
        assert!(docker.labelled(&label).await?.is_empty());
        Ok(registry.stop().await?)
    }

    #[tokio::test]
    async fn a_tag_is_refused_and_one_pushed_again_is_named() -> anyhow::Result<()> {
        let docker = kubenest::engine::find().await?;
        let registry = LocalRegistry::start(&docker).await?;
        let tag = format!("{}/team/node:v1", registry.address());
        let error = Recipe::image(&tag).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(&tag), "{error:?}");
        assert!(!registry.was_asked_for("team/node").await?);

        let (_, first) = publish(&docker, &registry, "first").await?;
        assert!(registry.was_asked_for("team/node").await?);
        let (_, second) = publish(&docker, &registry, "second").await?;
        assert_ne!(first, second);
        let pinned = format!("{tag}@{first}");
        let now = NodeImage::pushed_again(&docker, &ImageRef::pinned(&pinned)?).await?;
        assert_eq!(now.as_ref(), Some(&second));

        // The registry's next clean-up removes untagged images.
        registry.collect_garbage().await?;
        let error = NodeImage::ensure(&docker, &Recipe::image(&pinned)?)
            .await
            .unwrap_err();
        let told = format!("'{tag}' was pushed again and is {second} now");
        assert!(error.report().contains(&told), "{error:?}");
        assert!(
            docker.image(&tag).await?.is_none(),
            "the other one was used"
        );
        Ok(registry.stop().await?)
    }
}

/// Pairs that work, and unambiguous image references.
mod fixed {
    use anyhow::Context;
    use kind_node_compat::{
        CONTAINERD_1_7, CONTAINERD_2_0, CONTAINERD_2_3, CONTAINERD_2_4, Loads, assert_agreement,
        cells, publish,
    };
    use kubenest::{
        ClusterSpec,
        engine::Docker,
        health::{Expected, Verdict},
        images::SmallImage,
        node::{Node, Role},
        recipe::{NodeImage, Recipe},
    };
    use kubenest_docker::{Scope, sweep};
    use kubenest_fixtures::{kind::Kind, registry::LocalRegistry};
    use kubenest_health::health;
    use kubenest_recipe::compat::{self, Stack};
    use rstest::rstest;

    /// The second case is booted for an unknown kind release: kubenest warns, tries an import, and
    /// passes the node.
    #[rstest]
    #[case::containerd_1_7(CONTAINERD_1_7, "0.26.0", &["0.26.0", "0.27.0", "0.31.0", "0.33.0"])]
    #[case::containerd_2_0(CONTAINERD_2_0, "0.99.0", &["0.27.0", "0.30.0", "0.31.0", "0.33.0"])]
    #[case::containerd_2_4(CONTAINERD_2_4, "0.32.0", &["0.32.0", "0.33.0"])]
    #[tokio::test]
    async fn kind_loads_into(
        #[case] recipe: &str,
        #[case] planned: &str,
        #[case] kinds: &[&str],
    ) -> anyhow::Result<()> {
        let spec = ClusterSpec::single_node().with_recipe(recipe)?;
        let cluster = spec.with_kind_loader(planned)?.boot().await?;
        cluster
            .case(async |case| {
                let cells = cells(case, kinds).await?;
                assert_agreement(&cells);
                for cell in &cells {
                    assert_eq!(cell.seen, Loads::Yes, "kind {}", cell.kind);
                }
                let report = case.cluster().health().await?;
                let loader = report.findings.iter().find(|f| f.name == "loader");
                let loader = loader.context("the loader was not checked")?;
                assert_eq!(loader.verdict, Verdict::Passed);
                let unknown = loader.observed.contains("is not in the table");
                assert_eq!(unknown, planned == "0.99.0", "{}", loader.observed);
                Ok(())
            })
            .await?;
        Ok(cluster.down().await?)
    }

    /// The complete workflow of a kind user: create, then load.
    #[tokio::test]
    async fn kind_0_33_creates_a_node_of_containerd_2_3_and_loads_into_it() -> anyhow::Result<()> {
        let docker = kubenest::engine::find().await?;
        let name = format!("kind-node-compat-{}", std::process::id());
        let works = create_and_load(&docker, &name).await;
        sweep(&docker, Scope::Cluster(&name)).await?;
        works
    }

    async fn create_and_load(docker: &Docker, name: &str) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        let node = NodeImage::ensure(docker, &Recipe::named(CONTAINERD_2_3)?).await?;
        let kind = Kind::release("0.33.0").await?;
        kind.create(docker, name, &node.reference, &kubeconfig)
            .await?;

        let image = SmallImage::load(docker, name).await?;
        let load = kind.command(docker, name, &kubeconfig).await?;
        let load = load.args(["load", "docker-image", image.reference(), "--name", name]);
        let loaded = load.output().await?;
        image.remove().await?;
        assert!(loaded.status.success(), "{}", loaded.stderr);

        let container = format!("{name}-control-plane");
        let node = [Node::attach(docker, &container, Role::ControlPlane).await?];
        let expected = Expected::default().with_loader("0.33.0".parse()?);
        health::gate_runtime(&node, &expected).await?;
        let running = health::running_stack(&node[0]).await;
        assert_eq!(
            (running.config, &running.shim),
            (Some(4), &running.containerd)
        );
        // The same node is refused for a kind release that cannot read its configuration.
        let expected = Expected::default().with_loader("0.31.0".parse()?);
        let planned = Stack {
            kind: expected.loader.clone(),
            ..Stack::default()
        };
        assert!(health::gate_runtime(&node, &expected).await.is_err());
        let findings = compat::after_boot(&planned, &running);
        assert!(compat::refuse_known_bad(&findings, &[]).is_err());
        Ok(())
    }

    #[tokio::test]
    async fn a_digest_names_one_image_however_often_its_tag_is_pushed() -> anyhow::Result<()> {
        let docker = kubenest::engine::find().await?;
        let registry = LocalRegistry::start(&docker).await?;
        let tag = format!("{}/team/node:v1", registry.address());
        let (id, first) = publish(&docker, &registry, "first").await?;
        let (other, second) = publish(&docker, &registry, "second").await?;
        // A pull by tag gets the latest image.
        docker.pull(&tag).await?;
        let tagged = docker.image(&tag).await?.context("must be pulled")?;
        assert_eq!(tagged.id, other);

        for (digest, meant) in [(&first, &id), (&second, &other)] {
            let recipe = Recipe::image(&format!("{tag}@{digest}"))?;
            let node = NodeImage::ensure(&docker, &recipe).await?;
            let found = docker.image(&node.reference).await?;
            assert_eq!(&found.context("must be there")?.id, meant);
        }
        let name = tag.trim_end_matches(":v1");
        docker.remove_image(&tag).await?;
        docker.remove_image(&format!("{name}@{first}")).await?;
        Ok(registry.stop().await?)
    }
}

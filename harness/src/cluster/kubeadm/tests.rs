//! The documents, with patches of every form and for every version of kubeadm.

use super::*;

fn documents<'a>(kubernetes: &'a str, patches: &'a [Value]) -> Documents<'a> {
    Documents {
        kubernetes,
        cluster: "a",
        control_plane: "a-control-plane",
        runtime: Runtime::Containerd,
        addresses: Addresses::at_depth(0).unwrap(),
        token: "abcdef.0123456789abcdef",
        allow_cgroup_v1: false,
        tuned: false,
        patches,
    }
}

#[test]
fn a_patch_changes_the_document_of_its_kind() {
    let patches = [read(
        "{kind: KubeletConfiguration, maxPods: 20, failSwapOn: null}",
    )];
    let patches = patches.map(Result::unwrap);
    let text = documents("1.32.1", &patches)
        .init([10, 0, 0, 2].into())
        .unwrap();
    assert!(text.contains("maxPods: 20"), "{text}");
    assert!(!text.contains("failSwapOn"), "{text}");
}

#[test]
fn the_runtime_and_the_subnets_are_those_of_the_plan() {
    let text = |documents: &Documents| documents.init([10, 0, 0, 2].into()).unwrap();
    let usual = documents("1.32.1", &[]);
    let (socket, pods) = ("unix:///run/containerd/containerd.sock", "10.244.0.0/16");
    assert!(text(&usual).contains(socket) && text(&usual).contains(pods));
    let other = Documents {
        runtime: Runtime::CriO,
        addresses: Addresses::at_depth(1).unwrap(),
        ..usual
    };
    let text = text(&other);
    assert!(
        text.contains("criSocket: unix:///run/crio/crio.sock"),
        "{text}"
    );
    assert!(text.contains("podSubnet: 10.245.0.0/16"), "{text}");
    assert!(text.contains("serviceSubnet: 10.97.0.0/16"), "{text}");
}

#[test]
fn a_boot_is_tuned_in_words_that_its_kubeadm_reads_and_the_user_has_the_last_one() {
    let text = |kubernetes, tuned, patches: &[Value]| {
        let documents = Documents {
            tuned,
            ..documents(kubernetes, patches)
        };
        documents.init([10, 0, 0, 2].into()).unwrap()
    };
    let has = |text: &str, words: &[&str]| words.iter().all(|words| text.contains(words));
    let newer = text("1.32.1", true, &[]);
    assert!(
        has(
            &newer,
            &["encryptionAlgorithm: ECDSA-P256", "minSyncPeriod: 0s"]
        ),
        "{newer}"
    );
    let older = text("1.30.8", true, &[]);
    assert!(
        has(
            &older,
            &[
                "PublicKeysECDSA: true",
                "unsafe-no-fsync: ",
                "enable-hostpath-provisioner: ",
                "tls-cert-file: ",
            ]
        ),
        "{older}"
    );
    assert!(!older.contains("encryptionAlgorithm"), "{older}");
    let plain = text("1.32.1", false, &[]);
    assert!(!has(&plain, &["encryptionAlgorithm"]) && !has(&plain, &["unsafe-no-fsync"]));
    let rsa = read("{kind: ClusterConfiguration, encryptionAlgorithm: RSA-4096}").unwrap();
    let asked = text("1.32.1", true, &[rsa]);
    assert!(
        has(
            &asked,
            &["encryptionAlgorithm: RSA-4096", "unsafe-no-fsync"]
        ),
        "{asked}"
    );
    for minor in [30, 32, 37] {
        let release = Version::new(1, minor, 0);
        let tuning = tuning::patches(Api::of(&release));
        assert!(
            check_fit(&tuning, &release).is_ok(),
            "{release} would drop a part of it"
        );
    }
}

#[test]
fn a_worker_is_not_changed_by_what_is_for_the_control_plane() {
    let patches = [
        "{kind: InitConfiguration, nodeRegistration: {taints: [{key: only}]}}",
        "{kind: KubeletConfiguration, authentication: {webhook: {enabled: true}}}",
    ];
    let patches = patches.map(|patch| read(patch).unwrap());
    let text = documents("1.32.1", &patches).worker([10, 0, 0, 3].into());
    let text = text.unwrap();
    let has = |words| text.contains(words);
    assert!(
        has("enabled: true") && has("clientCAFile: /etc/kubernetes/pki/ca.crt") && has("10.0.0.3")
    );
    assert!(!has("only"), "{text}");
}

#[test]
fn a_patch_of_no_known_kind_is_refused() {
    let error = read("{kind: KubletConfiguration}").unwrap_err();
    assert!(
        error.report().contains("'KubletConfiguration'"),
        "{error:?}"
    );
    assert!(error.cure_text().unwrap().contains("KubeletConfiguration"));
}

#[test]
fn thresholds_no_kubelet_starts_with_are_refused_in_its_own_words() {
    let check = |patches: &[&str]| {
        let patches = patches.iter().map(|text| read(text).unwrap());
        check(&patches.collect::<Vec<_>>()).map_err(|error| error.to_string())
    };
    assert_eq!(check(&[]), Ok(()));
    let both = "{kind: KubeletConfiguration, imageGCHighThresholdPercent: 100, \
                 imageGCLowThresholdPercent: 100}";
    let words = "no kubelet starts with this: invalid configuration: \
         imageGCLowThresholdPercent (--image-gc-low-threshold) 100 must be less than \
         imageGCHighThresholdPercent (--image-gc-high-threshold) 100";
    assert_eq!(check(&[both]), Err(words.to_owned()));
    let low = "{kind: KubeletConfiguration, imageGCLowThresholdPercent: 100}";
    assert_eq!(check(&[low]), Err(words.to_owned()));
    let flag = "{kind: InitConfiguration, nodeRegistration: {kubeletExtraArgs: \
                 [{name: image-gc-low-threshold, value: '100'}]}}";
    assert_eq!(check(&[flag]), Err(words.to_owned()));
    // Without a high threshold it is the kubelet's own 85, without a low one 80.
    let none = "{kind: KubeletConfiguration, imageGCHighThresholdPercent: null, \
                 imageGCLowThresholdPercent: 85}";
    assert!(check(&[none]).unwrap_err().ends_with("85"));
    let high = "{kind: KubeletConfiguration, imageGCHighThresholdPercent: 80}";
    assert!(check(&[high]).unwrap_err().ends_with("80"));
    let lower = "{kind: KubeletConfiguration, imageGCLowThresholdPercent: 5}";
    assert_eq!(check(&[high, lower]), Ok(()));
}

#[test]
fn older_kubeadms_get_their_own_version() {
    let text = documents("1.30.8", &[]).init([10, 0, 0, 2].into()).unwrap();
    assert!(text.contains("kubeadm.k8s.io/v1beta3"), "{text}");
    assert!(!text.contains("v1beta4"), "{text}");
    assert!(text.contains("leader-elect: "), "{text}");
}

/// Patches of public reports: <https://github.com/kubernetes/kubernetes/issues/139405>,
/// <https://github.com/etcd-io/etcd/pull/21888>,
/// <https://github.com/kubernetes-sigs/kubespray/issues/13125>.
const MAP: &str = r#"
kind: ClusterConfiguration
apiServer:
  extraArgs:
    runtime-config: "resource.k8s.io/v1beta1=true"
"#;
const LIST: &str = r#"
kind: ClusterConfiguration
controllerManager:
  extraArgs:
    - {name: v, value: "4"}
"#;
const KUBELET_LIST: &str = r#"
kind: InitConfiguration
nodeRegistration:
  kubeletExtraArgs:
    - {name: v, value: "4"}
"#;
const OLD_API: &str = r#"
apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
apiServer:
  extraArgs:
    v: "4"
"#;
const REMOVED_FLAG: &str = r#"
kind: InitConfiguration
nodeRegistration:
  kubeletExtraArgs:
    - {name: pod-infra-container-image, value: "registry.k8s.io/pause:3.10.1"}
"#;

/// The document of a kind that kubeadm of this release is given with these patches.
fn document(kubernetes: &str, patches: &[&str], kind: &str) -> Value {
    let patches: Vec<Value> = patches.iter().map(|patch| read(patch).unwrap()).collect();
    check_fit(&patches, &kubernetes.parse().unwrap()).unwrap();
    let documents = documents(kubernetes, &patches);
    let ip = [10, 0, 0, 2].into();
    let text = match kind {
        "JoinConfiguration" => documents.join(ip, "/discovery").unwrap(),
        _ => documents.init(ip).unwrap(),
    };
    let mut all = text.split("---\n").filter(|part| !part.is_empty());
    let found = all.find_map(|part| {
        let document: Value = serde_saphyr::from_str(part).unwrap();
        (document["kind"] == kind).then_some(document)
    });
    found.expect("there must be one")
}

/// Why a patch is refused for this release.
fn refusal(kubernetes: &str, patch: &str) -> String {
    let refused = read(patch).and_then(|patch| check_fit(&[patch], &kubernetes.parse().unwrap()));
    refused.unwrap_err().report()
}

#[test]
fn mappings_and_lists_of_arguments_are_what_this_kubeadm_reads() {
    let api_server = |kubernetes, patch| {
        let document = document(kubernetes, &[patch], "ClusterConfiguration");
        document["apiServer"]["extraArgs"].clone()
    };
    let as_list = "{kind: ClusterConfiguration, apiServer: {extraArgs: \
                    [{name: runtime-config, value: 'resource.k8s.io/v1beta1=true'}]}}";
    for patch in [MAP, as_list] {
        for new in ["1.31.0", "1.32.1", "1.37.0", "1.38.0"] {
            let expected = json!([
                {"name": "runtime-config", "value": "resource.k8s.io/v1beta1=true"},
            ]);
            assert_eq!(api_server(new, patch), expected, "{new}");
        }
        let expected = json!({"runtime-config": "resource.k8s.io/v1beta1=true"});
        assert_eq!(api_server("1.30.8", patch), expected);
    }
}

#[test]
fn a_versioned_patch_is_translated_to_the_version_that_is_read() {
    let (map, list) = (json!({"v": "4"}), json!([{"name": "v", "value": "4"}]));
    for (kubernetes, api, arguments) in [
        ("1.30.8", "kubeadm.k8s.io/v1beta3", &map),
        ("1.32.1", "kubeadm.k8s.io/v1beta4", &list),
        ("1.37.0", "kubeadm.k8s.io/v1beta4", &list),
    ] {
        let document = document(kubernetes, &[OLD_API], "ClusterConfiguration");
        assert_eq!(document["apiVersion"], api, "{kubernetes}");
        assert_eq!(
            document["apiServer"]["extraArgs"], *arguments,
            "{kubernetes}"
        );
    }
    let newer = OLD_API.replace("v1beta3", "v1beta4");
    let document = document("1.30.8", &[&newer], "ClusterConfiguration");
    assert_eq!(document["apiVersion"], "kubeadm.k8s.io/v1beta3");
    assert_eq!(document["apiServer"]["extraArgs"], map);
}

#[test]
fn arguments_are_added_to_the_boots_own_and_the_users_win() {
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|one| format!("{}={}", one["name"].as_str().unwrap(), one["value"]))
            .collect()
    };
    let manager = |patches: &[&str]| {
        let document = document("1.32.1", patches, "ClusterConfiguration");
        names(&document["controllerManager"]["extraArgs"])
    };
    let own = manager(&[]);
    assert!(
        own.contains(&"allocate-node-cidrs=\"false\"".to_owned()),
        "{own:?}"
    );
    let with = manager(&[LIST]);
    assert_eq!(with[..own.len()], own);
    assert_eq!(with[own.len()..], ["v=\"4\""]);
    // By name, whatever the form; a second patch adds to the first.
    let theirs = "{kind: ClusterConfiguration, controllerManager: {extraArgs: \
                   {leader-elect: true, kube-api-qps: null}}}";
    let with = manager(&[LIST, theirs]);
    for (name, there) in [
        ("leader-elect=\"true\"", true),
        ("leader-elect=\"false\"", false),
        ("allocate-node-cidrs=\"false\"", true),
        ("v=\"4\"", true),
        ("kube-api-qps=\"300\"", false),
        ("kube-api-qps=null", false),
    ] {
        assert_eq!(with.contains(&name.to_owned()), there, "{name} in {with:?}");
    }

    let init = document("1.32.1", &[KUBELET_LIST], "InitConfiguration");
    let kubelet = names(&init["nodeRegistration"]["kubeletExtraArgs"]);
    assert_eq!(kubelet, ["node-ip=\"10.0.0.2\"", "v=\"4\""]);
    let join = KUBELET_LIST.replace("Init", "Join");
    let join = document("1.30.8", &[&join], "JoinConfiguration");
    let expected = json!({"node-ip": "10.0.0.2", "v": "4"});
    assert_eq!(join["nodeRegistration"]["kubeletExtraArgs"], expected);
}

#[test]
fn lists_that_the_boot_needs_are_added_to_and_others_replaced() {
    let names = "{kind: ClusterConfiguration, apiServer: {certSANs: [localhost, my.example]}}";
    let document_of = |patch, kind| document("1.32.1", &[patch], kind);
    let cluster = document_of(names, "ClusterConfiguration");
    let expected = json!(["127.0.0.1", "a-control-plane", "localhost", "my.example"]);
    assert_eq!(cluster["apiServer"]["certSANs"], expected);

    let token = "{kind: InitConfiguration, bootstrapTokens: [{token: 'aaaaaa.0123456789abcdef'}]}";
    let init = document_of(token, "InitConfiguration");
    let tokens = init["bootstrapTokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 2, "workers join by the boot's own");

    let taints = "{kind: InitConfiguration, nodeRegistration: {taints: [{key: a, effect: b}]}}";
    let init = document_of(taints, "InitConfiguration");
    assert_eq!(
        init["nodeRegistration"]["taints"],
        json!([{"key": "a", "effect": "b"}])
    );
}

#[test]
fn what_would_be_dropped_without_a_word_is_refused_with_the_cure() {
    for (kubernetes, patch, words, cure) in [
        (
            "1.32.1",
            "{kind: ClusterConfiguration, apiServer: {extraArg: {v: 4}}}",
            "ClusterConfiguration has no 'apiServer.extraArg'",
            "extraArgs, ",
        ),
        (
            "1.32.1",
            "{kind: ClusterConfiguration, etcd: {local: {extraArg: {}}}}",
            "no 'etcd.local.extraArg'",
            "dataDir, extraArgs",
        ),
        (
            "1.32.1",
            "{kind: ClusterConfiguration, scheduler: {extraVolumes: [{name: a, path: /b}]}}",
            "no 'scheduler.extraVolumes.path'",
            "hostPath",
        ),
        (
            "1.32.1",
            "{kind: KubeletConfiguration, maxPod: 20}",
            "KubeletConfiguration has no 'maxPod'",
            "maxPods",
        ),
        (
            "1.32.1",
            "{kind: KubeProxyConfiguration, proxyMode: ipvs}",
            "no 'proxyMode'",
            "mode",
        ),
        (
            "1.30.8",
            "{kind: ClusterConfiguration, encryptionAlgorithm: ECDSA-P256}",
            "reads kubeadm.k8s.io/v1beta3, which has no 'encryptionAlgorithm'",
            "Kubernetes 1.31",
        ),
        (
            "1.32.1",
            "{kind: ClusterConfiguration, apiServer: {timeoutForControlPlane: 2m}}",
            "reads kubeadm.k8s.io/v1beta4, which has no 'apiServer.timeoutForControlPlane'",
            "timeouts.controlPlaneComponentHealthCheck",
        ),
        (
            "1.30.8",
            "{kind: ClusterConfiguration, apiServer: {extraArgs: \
              [{name: v, value: '4'}, {name: v, value: '5'}]}}",
            "gives 'v' twice",
            "1.31 or newer",
        ),
        (
            "1.36.1",
            REMOVED_FLAG,
            "has no flag --pod-infra-container-image, which was removed by 1.35",
            "sandbox image",
        ),
    ] {
        let told = refusal(kubernetes, patch);
        assert!(told.contains(words) && told.contains(cure), "{told}");
    }
}

#[test]
fn wrong_kinds_versions_and_forms_are_refused_at_once() {
    for (patch, words, cure) in [
        (
            "{kind: ResetConfiguration}",
            "'ResetConfiguration'",
            "JoinConfiguration",
        ),
        (
            "{kind: ClusterConfiguration, apiVersion: kubeadm.k8s.io/v1beta2}",
            "apiVersion 'kubeadm.k8s.io/v1beta2'",
            "leave it out, or write kubeadm.k8s.io/v1beta4",
        ),
        (
            "{kind: KubeletConfiguration, apiVersion: kubeadm.k8s.io/v1beta4}",
            "KubeletConfiguration has apiVersion 'kubeadm.k8s.io/v1beta4'",
            "kubelet.config.k8s.io/v1beta1",
        ),
        (
            "{kind: ClusterConfiguration, apiVersion: 4}",
            "apiVersion '4'",
            "leave it out",
        ),
        (
            "{kind: ClusterConfiguration, apiServer: {extraArgs: [v=4]}}",
            "ClusterConfiguration.apiServer.extraArgs",
            "{name: NAME, value: VALUE}",
        ),
        (
            "{kind: ClusterConfiguration, apiServer: {extraArgs: {v: [4]}}}",
            "extraArgs 'v'",
            "{name: value}",
        ),
    ] {
        let told = read(patch).unwrap_err().report();
        assert!(told.contains(words) && told.contains(cure), "{told}");
    }
}

#[test]
fn what_a_later_kubernetes_may_know_is_left_to_its_own_kubeadm() {
    let patch = read("{kind: KubeletConfiguration, newInLater: true}").unwrap();
    let fits = |release: &str| check_fit(std::slice::from_ref(&patch), &release.parse().unwrap());
    assert!(fits("1.37.2").is_err());
    assert!(fits("1.38.0-alpha.2").is_ok());
}

#[test]
fn a_flag_is_refused_only_where_it_is_gone() {
    for (kubernetes, works) in [("1.32.1", true), ("1.34.3", true), ("1.35.0", false)] {
        let patch = read(REMOVED_FLAG).unwrap();
        let fits = check_fit(&[patch], &kubernetes.parse().unwrap());
        assert_eq!(fits.is_ok(), works, "{kubernetes}");
    }
}

#[test]
fn kubelets_are_told_to_run_on_cgroup_v1_unless_the_user_says_otherwise() {
    let told = |allow_cgroup_v1, patches: &[&str]| {
        let patches: Vec<Value> = patches.iter().map(|patch| read(patch).unwrap()).collect();
        let documents = Documents {
            allow_cgroup_v1,
            ..documents("1.36.1", &patches)
        };
        documents.init([10, 0, 0, 2].into()).unwrap()
    };
    assert!(told(true, &[]).contains("failCgroupV1: false"));
    assert!(!told(false, &[]).contains("failCgroupV1"));
    let theirs = "{kind: KubeletConfiguration, failCgroupV1: true}";
    assert!(told(true, &[theirs]).contains("failCgroupV1: true"));
}

#[tokio::test]
async fn kubeadms_own_deadlines_are_scaled_in_the_version_that_it_reads() {
    let patch = read("{kind: InitConfiguration, timeouts: {etcdAPICall: 9s}}").unwrap();
    let text = |kubernetes: &'static str| {
        let patches = std::slice::from_ref(&patch);
        let documents = documents(
            kubernetes,
            if kubernetes == "1.32.1" { patches } else { &[] },
        );
        let ip = [10, 0, 0, 2].into();
        (
            documents.init(ip).unwrap(),
            documents.join(ip, "/d").unwrap(),
        )
    };
    let (init, join) = wait::with_factor(3.0, async { text("1.32.1") }).await;
    assert!(
        init.contains("controlPlaneComponentHealthCheck: 450s"),
        "{init}"
    );
    assert!(
        init.contains("etcdAPICall: 9s"),
        "the user's counts: {init}"
    );
    assert!(join.contains("tlsBootstrap: 450s"), "{join}");
    let (init, join) = wait::with_factor(3.0, async { text("1.30.8") }).await;
    assert!(init.contains("timeoutForControlPlane: 450s"), "{init}");
    assert!(join.contains("timeout: 450s"), "{join}");
    assert!(
        !init.contains("timeouts:") && !join.contains("timeouts:"),
        "{init}{join}"
    );
}

//! The fields of kubeadm's documents. They are checked because kubeadm ignores fields that it does
//! not know.
//!
//! For kubeadm's own kinds all levels are listed (from `types.go` of v1beta3 in 1.32.1 and of
//! v1beta4 in 1.32.1 and 1.37.2), for kubelet and kube-proxy the first level (from the API modules
//! of 0.22.17, 0.32.1 and 0.37.2). Deeper levels and later fields are judged by kubeadm itself in
//! the node.

use semver::Version;
use serde_json::Value;

use super::Api;

/// The last minor release of Kubernetes whose fields are all listed here.
const UNTIL: (u64, u64) = (1, 37);

/// A fault in a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no such field.
    Unknown {
        path: String,
        known: Vec<&'static str>,
    },
    /// Another version of kubeadm's API has it.
    OfOtherApi { path: String, instead: &'static str },
}

/// A field of a document.
struct Field {
    name: &'static str,
    within: Within,
    /// The only version that has it, and what to do about the other.
    only: Option<(Api, &'static str)>,
}

enum Within {
    /// The content of the field is not checked.
    Anything,
    Fields(&'static [Field]),
    Each(&'static [Field]),
}
use Within::{Anything, Each, Fields};

const fn of(name: &'static str, within: Within) -> Field {
    let only = None;
    Field { name, within, only }
}

const fn any(name: &'static str) -> Field {
    of(name, Anything)
}

const fn new(name: &'static str) -> Field {
    let only = Some((
        Api::V1beta4,
        "use Kubernetes 1.31 or newer, or leave it out",
    ));
    let within = Anything;
    Field { name, within, only }
}

const fn old(name: &'static str, instead: &'static str) -> Field {
    let (within, only) = (Anything, Some((Api::V1beta3, instead)));
    Field { name, within, only }
}

const CLUSTER: &[Field] = &[
    of("etcd", Fields(ETCD)),
    of(
        "networking",
        Fields(&[any("serviceSubnet"), any("podSubnet"), any("dnsDomain")]),
    ),
    any("kubernetesVersion"),
    any("controlPlaneEndpoint"),
    of("apiServer", Fields(API_SERVER)),
    of("controllerManager", Fields(COMPONENT)),
    of("scheduler", Fields(COMPONENT)),
    of(
        "dns",
        Fields(&[any("imageRepository"), any("imageTag"), new("disabled")]),
    ),
    new("proxy"),
    any("certificatesDir"),
    any("imageRepository"),
    any("featureGates"),
    any("clusterName"),
    new("encryptionAlgorithm"),
    new("certificateValidityPeriod"),
    new("caCertificateValidityPeriod"),
];
const COMPONENT: &[Field] = &[
    any("extraArgs"),
    of("extraVolumes", Each(VOLUME)),
    new("extraEnvs"),
];
const API_SERVER: &[Field] = &[
    any("extraArgs"),
    of("extraVolumes", Each(VOLUME)),
    new("extraEnvs"),
    any("certSANs"),
    old(
        "timeoutForControlPlane",
        "write it as timeouts.controlPlaneComponentHealthCheck of InitConfiguration",
    ),
];
const VOLUME: &[Field] = &[
    any("name"),
    any("hostPath"),
    any("mountPath"),
    any("readOnly"),
    any("pathType"),
];
const ETCD: &[Field] = &[
    of(
        "local",
        Fields(&[
            any("imageRepository"),
            any("imageTag"),
            any("dataDir"),
            any("extraArgs"),
            new("extraEnvs"),
            any("serverCertSANs"),
            any("peerCertSANs"),
        ]),
    ),
    of(
        "external",
        Fields(&[
            any("endpoints"),
            new("httpEndpoints"),
            any("caFile"),
            any("certFile"),
            any("keyFile"),
        ]),
    ),
];
const INIT: &[Field] = &[
    any("bootstrapTokens"),
    new("dryRun"),
    of("nodeRegistration", Fields(REGISTRATION)),
    of("localAPIEndpoint", Fields(ENDPOINT)),
    any("certificateKey"),
    any("skipPhases"),
    of("patches", Fields(&[any("directory")])),
    new("timeouts"),
];
const ENDPOINT: &[Field] = &[any("advertiseAddress"), any("bindPort")];
const REGISTRATION: &[Field] = &[
    any("name"),
    any("criSocket"),
    any("taints"),
    any("kubeletExtraArgs"),
    any("ignorePreflightErrors"),
    any("imagePullPolicy"),
    new("imagePullSerial"),
];
const JOIN: &[Field] = &[
    new("dryRun"),
    of("nodeRegistration", Fields(REGISTRATION)),
    any("caCertPath"),
    of("discovery", Fields(DISCOVERY)),
    of(
        "controlPlane",
        Fields(&[
            of("localAPIEndpoint", Fields(ENDPOINT)),
            any("certificateKey"),
        ]),
    ),
    any("skipPhases"),
    of("patches", Fields(&[any("directory")])),
    new("timeouts"),
];
const DISCOVERY: &[Field] = &[
    of(
        "bootstrapToken",
        Fields(&[
            any("token"),
            any("apiServerEndpoint"),
            any("caCertHashes"),
            any("unsafeSkipCAVerification"),
        ]),
    ),
    of("file", Fields(&[any("kubeConfigPath")])),
    any("tlsBootstrapToken"),
    old(
        "timeout",
        "write it as timeouts.discovery of JoinConfiguration",
    ),
];

const KUBELET: &str = "
    address allowedUnsafeSysctls authentication authorization cgroupDriver cgroupRoot
    cgroupsPerQOS clusterDNS clusterDomain configMapAndSecretChangeDetectionStrategy
    containerLogMaxFiles containerLogMaxSize containerLogMaxWorkers containerLogMonitorInterval
    containerRuntimeEndpoint contentType cpuCFSQuota cpuCFSQuotaPeriod cpuManagerPolicy
    cpuManagerPolicyOptions cpuManagerReconcilePeriod crashLoopBackOff defaultPodSysctls
    enableContentionProfiling enableControllerAttachDetach enableDebugFlagsHandler
    enableDebuggingHandlers enableProfilingHandler enableServer enableSystemLogHandler
    enableSystemLogQuery enforceNodeAllocatable eventBurst eventRecordQPS evictionHard
    evictionMaxPodGracePeriod evictionMinimumReclaim evictionPressureTransitionPeriod
    evictionSoft evictionSoftGracePeriod failCgroupV1 failSwapOn featureGates fileCheckFrequency
    hairpinMode healthzBindAddress healthzPort httpCheckFrequency imageGCHighThresholdPercent
    imageGCLowThresholdPercent imageMaximumGCAge imageMinimumGCAge
    imagePullCredentialsVerificationPolicy imageServiceEndpoint iptablesDropBit
    iptablesMasqueradeBit kernelMemcgNotification kubeAPIBurst kubeAPIQPS kubeReserved
    kubeReservedCgroup kubeletCgroups localStorageCapacityIsolation logging
    makeIPTablesUtilChains maxOpenFiles maxParallelImagePulls maxPods memoryManagerPolicy
    memoryReservationPolicy memorySwap memoryThrottlingFactor mergeDefaultEvictionSettings
    nodeLeaseDurationSeconds nodeStatusMaxImages nodeStatusReportFrequency
    nodeStatusUpdateFrequency oomScoreAdj podCIDR podLogsDir podPidsLimit podsPerCore port
    preloadedImagesVerificationAllowlist protectKernelDefaults providerID qosReserved
    readOnlyPort registerNode registerWithTaints registryBurst registryPullQPS reservedMemory
    reservedSystemCPUs resolvConf rotateCertificates runOnce runtimeRequestTimeout seccompDefault
    serializeImagePulls serverTLSBootstrap showHiddenMetricsForVersion shutdownGracePeriod
    shutdownGracePeriodByPodPriority shutdownGracePeriodCriticalPods singleProcessOOMKill
    staticPodPath staticPodURL staticPodURLHeader streamingConnectionIdleTimeout syncFrequency
    systemCgroups systemReserved systemReservedCgroup tlsCertFile tlsCipherSuites
    tlsCurvePreferences tlsMinVersion tlsPrivateKeyFile topologyManagerPolicy
    topologyManagerPolicyOptions topologyManagerScope tracing userNamespaces volumePluginDir
    volumeStatsAggPeriod";

const PROXY: &str = "
    bindAddress bindAddressHardFail clientConnection clusterCIDR configSyncPeriod conntrack
    detectLocal detectLocalMode enableProfiling featureGates healthzBindAddress hostnameOverride
    iptables ipvs logging metricsBindAddress mode nftables nodePortAddresses oomScoreAdj portRange
    showHiddenMetricsForVersion udpIdleTimeout windowsRunAsService winkernel";

/// The reason why kubeadm of this Kubernetes would not take a change of this kind as it is meant.
pub(super) fn fault(kind: &str, patch: &Value, api: Api, kubernetes: &Version) -> Option<Fault> {
    let fault = match kind {
        "ClusterConfiguration" => search(CLUSTER, patch, "", api),
        "InitConfiguration" => search(INIT, patch, "", api),
        "JoinConfiguration" => search(JOIN, patch, "", api),
        "KubeletConfiguration" => find_unlisted(KUBELET, patch),
        _ => find_unlisted(PROXY, patch),
    };
    let all_here = (kubernetes.major, kubernetes.minor) <= UNTIL;
    fault.filter(|fault| all_here || matches!(fault, Fault::OfOtherApi { .. }))
}

/// The first key of a document that is not among these words.
fn find_unlisted(words: &'static str, patch: &Value) -> Option<Fault> {
    let known: Vec<&str> = words.split_whitespace().collect();
    let mut keys = patch.as_object()?.keys().filter(|key| *key != "kind");
    let path = keys.find(|key| !known.contains(&key.as_str()))?.clone();
    Some(Fault::Unknown { path, known })
}

fn search(fields: &'static [Field], value: &Value, path: &str, api: Api) -> Option<Fault> {
    for (key, value) in value.as_object()? {
        let path = match path {
            "" if key == "kind" => continue,
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let Some(field) = fields.iter().find(|field| field.name == *key) else {
            let known = fields.iter().map(|field| field.name).collect();
            return Some(Fault::Unknown { path, known });
        };
        // A field that the change removes need not exist.
        if let Some((only, instead)) = field.only
            && only != api
            && !value.is_null()
        {
            return Some(Fault::OfOtherApi { path, instead });
        }
        let fault = match &field.within {
            Anything => None,
            Fields(fields) => search(fields, value, &path, api),
            Each(fields) => {
                let mut each = value.as_array().into_iter().flatten();
                each.find_map(|value| search(fields, value, &path, api))
            }
        };
        if fault.is_some() {
            return fault;
        }
    }
    None
}

//! Causes in the control plane: its certificates, its store, its memory, its webhooks.

use super::super::{
    Speaker::{Cli, Cri, Event, Kubelet, Pod, System, Unknown},
    rule::{
        Cause,
        Role::{After, Before, Detail, Proof},
        Sign,
    },
};

/// The same for lines of unknown source: only in the format of a program's log.
macro_rules! logged_request {
    () => {
        concat!(
            r#"^(?:"[A-Z][^"]*" .*|[^ ]+\.go:[0-9]+: .*|error(?: execution phase [^:]*)?: .*|"#,
            r"couldn't get current server API group list: )",
            request!()
        )
    };
}

/// The start of kubectl's message when it cannot reach the API server.
macro_rules! kubectl {
    () => {
        r"^Unable to connect to the server: (?:tls: failed to verify certificate: )?"
    };
}

macro_rules! after_its_end {
    () => {
        concat!(
            r"x509: certificate has expired or is not yet valid: current time (?<now>[^ ]+) ",
            r#"is after (?<end>[^ ",\]]+)"#
        )
    };
}

macro_rules! before_its_start {
    () => {
        concat!(
            r"x509: certificate has expired or is not yet valid: current time (?<now>[^ ]+) ",
            r#"is before (?<start>[^ ",\]]+)"#
        )
    };
}

macro_rules! unknown_authority {
    () => {
        concat!(
            r#"x509: certificate signed by unknown authority(?: \(possibly because of "[^"]*" "#,
            r#"while trying to verify candidate authority certificate "(?<ca>[^"]+)"\))?"#
        )
    };
}

/// The API server's message about a client that it does not know.
macro_rules! refused_client {
    () => {
        r#"^"Unable to authenticate the request" err="(?:\[?|.* failed: )"#
    };
}

/// Programs of the control plane usually run in pods, so their own logs are pod output.
const COMPONENT: &[super::Speaker] = &[Pod, System, Unknown];
const CLIENTS: &[super::Speaker] = &[Kubelet, Cli, Unknown];
/// Sources that quote an answer of the API server.
const CLIENTS_OF_API: &[super::Speaker] = &[Kubelet, Event, Cri, Cli, Pod, System, Unknown];

const SLOW_SYNC: &str = r#"(?:^|"msg":")slow fdatasync\b.*?\btook\W+(?<took>[0-9][0-9a-zµ.]*)"#;
const GAVE_UP: &str = concat!(
    r#"^(?:"(?:Error building controller context|Failed to wait for apiserver being "#,
    r#"healthy)" err="|error building controller context: )(?:failed to wait for "#,
    r"apiserver being healthy: )?timed out waiting for the condition",
    r#"(?:: (?<answer>failed to get apiserver /healthz.*))?"#
);

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "certificate-expired",
        title: "a certificate of the cluster is out of date",
        cause: "a certificate of the cluster is no longer valid[: it ended {end}][, and the \
                clock said {now}][ (asked was {server})]; kubeadm's certificates are good for \
                one year and are renewed by upgrades only[; {doubt}]",
        cure: "kubeadm certs check-expiration, then kubeadm certs renew all and a restart of \
               the control plane's pods; take the new admin.conf; a kubelet whose own \
               certificate is out of date needs a new kubelet.conf (kubeadm kubeconfig user \
               --org system:nodes --client-name system:node:NAME)",
        links: &[
            "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/",
            "https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/troubleshooting-kubeadm/#kubelet-client-cert",
        ],
        follows: None,
        signs: &[
            Sign::new(Proof, &[Kubelet], concat!(request!(), after_its_end!())),
            Sign::new(Proof, CLIENTS, concat!(logged_request!(), after_its_end!())),
            Sign::new(Proof, CLIENTS, concat!(kubectl!(), after_its_end!())),
            Sign::new(
                Proof,
                CLIENTS,
                concat!(
                    kubectl!(),
                    "x509: certificate has expired or is not yet valid$"
                ),
            )
            .with_facts(&[(
                "doubt",
                "the line gives no times, so it may as well not be valid yet: compare the clocks",
            )]),
            Sign::new(
                Proof,
                &[Cli, Unknown],
                concat!("^error execution phase .*", after_its_end!()),
            ),
            Sign::new(
                Proof,
                &[Kubelet, Unknown],
                concat!(
                    r#"^(?:"Unhandled Error" err=")?[Pp]art of the existing bootstrap client "#,
                    r"certificate .*is expired: (?<end>[0-9-]{10} [0-9:]{8})"
                ),
            ),
            Sign::new(
                Proof,
                COMPONENT,
                concat!(refused_client!(), after_its_end!()),
            ),
        ],
    },
    Cause {
        id: "clock-skew",
        title: "clocks differ: a certificate is not valid yet",
        cause: "a certificate is valid only from {start} on[, and the clock said {now}]: the \
                clock of this machine is behind that of the one that made the certificate (a \
                VM that was suspended, a wrong time zone written to the hardware clock)",
        cure: "set the clocks by NTP on all machines, then start again; certificates that were \
               made by a clock that was ahead have to be made anew",
        links: &["https://github.com/kubernetes/minikube/issues/16183"],
        follows: None,
        signs: &[
            Sign::new(Proof, &[Kubelet], concat!(request!(), before_its_start!())),
            Sign::new(
                Proof,
                CLIENTS,
                concat!(logged_request!(), before_its_start!()),
            ),
            Sign::new(Proof, CLIENTS, concat!(kubectl!(), before_its_start!())),
            Sign::new(
                Proof,
                &[Cli, Unknown],
                concat!("^error execution phase .*", before_its_start!()),
            ),
            Sign::new(
                Proof,
                &[Cli, Unknown],
                concat!(
                    r"^(?:WARNING: could not validate bounds for certificate |error execution ",
                    r"phase ).*the certificate is not valid yet: NotBefore: ",
                    r"(?<start>[0-9-]{10} [0-9:]{8})"
                ),
            ),
            Sign::new(
                Proof,
                COMPONENT,
                concat!(refused_client!(), before_its_start!()),
            ),
        ],
    },
    Cause {
        id: "api-ca-unknown",
        title: "the API server and its client have different authorities",
        cause: "the API server's certificate (or the client's) was signed by a CA that the \
                other side does not have[; both are called {ca}, so the cluster was most \
                likely made anew, and a kubeconfig of the old one is in use]; else the address\
                [ {server}] is another cluster's, or a proxy in between shows its own certificate",
        cure: "take the kubeconfig of the cluster as it is now (/etc/kubernetes/admin.conf, \
               kind export kubeconfig); after kubeadm reset also remove ~/.kube/config and \
               /var/lib/kubelet/pki; with a proxy, except the server's address from it",
        links: &[
            "https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/troubleshooting-kubeadm/#tls-certificate-errors",
            "https://github.com/kubernetes/kubeadm/issues/2500",
        ],
        follows: None,
        signs: &[
            Sign::new(Proof, &[Kubelet], concat!(request!(), unknown_authority!())),
            Sign::new(
                Proof,
                CLIENTS,
                concat!(logged_request!(), unknown_authority!()),
            ),
            Sign::new(Proof, CLIENTS, concat!(kubectl!(), unknown_authority!())),
            Sign::new(
                Proof,
                COMPONENT,
                concat!(refused_client!(), unknown_authority!()),
            ),
        ],
    },
    Cause {
        id: "control-plane-out-of-memory",
        title: "the kernel killed a part of the cluster for want of memory",
        cause: "memory ran out, and the kernel killed {victim}; what needs it fails until it is \
                up again",
        cure: "give the machine (or the container that is the node) more memory, or run less on \
               it; a control plane with one small node needs 2 GiB",
        links: &[
            "https://kind.sigs.k8s.io/docs/user/quick-start/",
            "https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/#before-you-begin",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                &[System, Unknown],
                concat!(
                    r"^(?:\[[^\]]*\] )?(?:Memory cgroup out|Out) of memory: Kill(?:ed)? process ",
                    r"[0-9]+ \((?<victim>kube-[a-z-]+|etcd|kubelet|containerd|coredns|dockerd|",
                    r"k3s[a-z-]*|crio)\)"
                ),
            ),
            Sign::new(
                Proof,
                &[Kubelet, Event, Unknown],
                concat!(
                    r"^(?:.*message=.)?System OOM encountered, victim process: (?<victim>",
                    r"kube-[a-z-]+|etcd|kubelet|containerd|coredns|dockerd|k3s[a-z-]*|crio), pid:"
                ),
            ),
            Sign::new(
                Proof,
                &[Cli, Unknown],
                concat!(
                    r"^(?:kube-system +)?(?<victim>(?:kube-(?:apiserver|controller-manager|",
                    r"scheduler)|etcd)-[^ ]+) +0/1 +OOMKilled +[0-9]"
                ),
            ),
        ],
    },
    Cause {
        id: "etcd-disk-slow",
        title: "the disk is too slow for etcd",
        cause: "etcd waited too long for its disk[: one sync took {took}]; it then loses its \
                leader, and the API server's requests time out",
        cure: "put etcd's data (/var/lib/etcd) on an SSD, or in a test on tmpfs or with \
               etcd's --unsafe-no-fsync; run fewer clusters and builds on that disk at once",
        links: &["https://etcd.io/docs/v3.5/op-guide/hardware/#disks"],
        follows: None,
        signs: &[
            // A single slow sync is harmless: a second one, or a consequence of the first, is
            // needed.
            Sign::new(After, COMPONENT, SLOW_SYNC),
            Sign::new(Before, COMPONENT, SLOW_SYNC),
            Sign::new(
                Before,
                COMPONENT,
                r#"(?:^|"msg":")waiting for ReadIndex response took too long"#,
            ),
            Sign::new(
                Proof,
                COMPONENT,
                concat!(
                    r#"(?:^|"msg":")leader failed to send out heartbeat on time; took too long, "#,
                    "leader is overloaded likely from slow disk"
                ),
            ),
            Sign::new(
                Detail,
                COMPONENT,
                r#"(?:^|"msg":")apply request took too long"#,
            ),
            Sign::new(
                Detail,
                CLIENTS_OF_API,
                "etcdserver: (?:request timed out|leader changed|no leader)",
            ),
        ],
    },
    Cause {
        id: "etcd-out-of-space",
        title: "etcd's database has reached its quota",
        cause: "etcd takes no more writes: its database has reached the space it may use \
                (2 GiB unless --quota-backend-bytes says otherwise), mostly by revisions that \
                nobody compacted",
        cure: "etcdctl compact to the present revision, etcdctl defrag, then etcdctl alarm \
               disarm; a larger --quota-backend-bytes (8 GiB at most) if the objects are many",
        links: &["https://etcd.io/docs/v3.5/op-guide/maintenance/#space-quota"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                CLIENTS_OF_API,
                concat!(
                    r#"^(?:.*\.go:[0-9]+\] )?(?:"[A-Z][^"]*" .*|[Ee]rror(?: from server[^:]*)?: |"#,
                    r#"\{"level":.*|Failed to .*|Error creating: )"#,
                    r"\betcdserver: mvcc: database space exceeded"
                ),
            ),
            Sign::new(
                Proof,
                COMPONENT,
                r#"(?:^|"msg":")alarm raised\b.*\balarm\W+NOSPACE\b"#,
            ),
        ],
    },
    Cause {
        id: "etcd-data-broken",
        title: "etcd cannot read its own data",
        cause: "etcd stops when it starts: its files in the data directory are damaged or of \
                two different times ({broken}), as after a lost disk, a copy of a running \
                etcd, or a machine that went off",
        cure: "restore the member from a snapshot (etcdutl snapshot restore), or remove it and \
               add it again if others are well; a test's cluster is made anew",
        links: &["https://etcd.io/docs/v3.5/op-guide/recovery/"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMPONENT,
                concat!(
                    r#"(?:^panic: |^|"msg":")(?<broken>tocommit\([0-9]+\) is out of range "#,
                    r"\[lastIndex\([0-9]+\)\]|[0-9a-f]+ state\.commit [0-9]+ is out of range|",
                    r"freepages: failed to get all reachable pages|",
                    r"failed to recover v3 backend from snapshot)"
                ),
            ),
            Sign::new(
                Proof,
                COMPONENT,
                concat!(
                    r#"(?:^|"msg":")(?:failed to open database|discovery failed|failed to start "#,
                    r"etcd)\b.*?\berror\W+(?<broken>invalid database|checksum error|version ",
                    r"mismatch|walpb: crc mismatch|wal: [a-z][a-z ]+)"
                ),
            ),
        ],
    },
    Cause {
        id: "etcd-downgraded",
        title: "etcd's data is from a newer etcd",
        cause: "etcd {current} stops: its data was last written by a cluster of version {data}, \
                and it reads no newer ones",
        cure: "start the newer etcd again, or downgrade by its rules (etcdctl downgrade enable, \
               one minor at a time); a test's cluster is made anew",
        links: &["https://etcd.io/docs/v3.5/downgrades/"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMPONENT,
                concat!(
                    r#"(?:^|"msg":")invalid downgrade; server version is lower than determined "#,
                    r"cluster version\b.*?\bcurrent-server-version\W+(?<current>[0-9.]+).*?",
                    r"\bdetermined-cluster-version\W+(?<data>[0-9.]+[0-9])"
                ),
            ),
            Sign::new(
                Proof,
                COMPONENT,
                concat!(
                    r"^.*membership: cluster cannot be downgraded \(current version: ",
                    r"(?<current>[0-9.]+) is lower than determined cluster version: ",
                    r"(?<data>[0-9.]+[0-9])\)"
                ),
            ),
        ],
    },
    Cause {
        id: "controller-manager-gave-up",
        title: "the controller manager gave up waiting for the API server",
        cause: "kube-controller-manager left: it waits ten seconds for a healthy API server and \
                no longer[; the last answer: {answer}]. Until it is started again nothing \
                makes service accounts or pods",
        cure: "look at the API server's and etcd's logs if they do not come up; if they are \
               only slow, give the machine more processor and a faster disk",
        links: &["https://github.com/kubernetes/kubernetes/issues/95514"],
        follows: Some("etcd-disk-slow"),
        signs: &[
            Sign::new(Proof, &[Cli, System, Unknown], GAVE_UP),
            // A single exit is harmless: the kubelet restarts the controller manager.
            Sign::new(Before, &[Pod], GAVE_UP),
            Sign::new(
                After,
                &[Kubelet],
                concat!(
                    "back-off (?:20s|40s|1m20s|2m40s|5m0s) restarting failed container=",
                    "kube-controller-manager "
                ),
            ),
        ],
    },
    Cause {
        id: "webhook-unanswered",
        title: "an admission webhook does not answer",
        cause: "the API server refuses objects because the webhook {webhook} cannot be asked \
                ({why}): its pods are not up, its Service leads nowhere, or its certificate is \
                not the one that its configuration has",
        cure: "bring the webhook's pods up, or remove its Validating- or \
               MutatingWebhookConfiguration, which its pods may need themselves; give it a \
               namespaceSelector that leaves kube-system and its own namespace out, and wait \
               for it before objects are created",
        links: &[
            "https://kubernetes.io/docs/concepts/cluster-administration/admission-webhooks-good-practices/",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CLIENTS_OF_API,
            concat!(
                r#"^(?:"[A-Z][^"]*" .*|Error creating: |Failed calling webhook, failing closed .*|"#,
                r"(?:Error from server \(InternalError\)|error): .*)",
                r#"failed calling webhook "(?<webhook>[^"]+)": (?:failed to call webhook: )?"#,
                r#"(?:Post "?https://[^" ]+"?: )?(?<why>service "[^"]+" not found|[^"]+)"#
            ),
        )],
    },
];

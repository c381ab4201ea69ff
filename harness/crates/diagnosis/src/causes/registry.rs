//! Causes in registries, and between them and the node that pulls.

use super::super::rule::{
    Cause,
    Role::{Detail, Proof},
    Sign,
};
use super::{CALLS, COMMAND};

/// A failed pull of an image, by any client, up to the reason.
macro_rules! pulling {
    () => {
        concat!(
            r#"^(?:(?:docker: |ERROR: |Command Output: )*Error response from daemon: |"#,
            r#"Failed to pull image "|"(?:Failed to pull image|PullImage from image service "#,
            r#"failed|Error syncing pod, skipping)"|PullImage "|ctr: |FATA\[| ?\[ERROR "#,
            r#"ImagePull\]: |failed to pull image )"#,
            r#"(?:.*(?:pull and unpack image|resolve reference) "(?<image>[^"]+)")?.*?"#
        )
    };
}

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "pull-rate-limit",
        title: "the registry has had too many pulls from here",
        cause: "the registry refuses the pull[ of {image}] (429, too many requests): pulls without a login \
                are counted by address, and everybody behind this address counts together",
        cure: "log in (docker login; imagePullSecrets in the cluster), use a mirror or a \
               registry of your own, or load the images into the nodes beforehand; it passes \
               by itself after some hours",
        links: &["https://docs.docker.com/docker-hub/usage/"],
        follows: Some("image-collected"),
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(pulling!(), "(?:429 Too Many Requests|toomanyrequests: )"),
        )],
    },
    Cause {
        id: "pull-not-allowed",
        title: "the registry does not let this image be pulled",
        cause: "the registry gives no access to the image[ {image}]: it does not exist there, \
                or is private and no (or a wrong) login was sent; registries do not tell these \
                apart",
        cure: "check the name and the tag, then log in where the pull is made: an \
               imagePullSecret in the pod's namespace, docker login for docker; a docker login \
               on the host is not seen by the nodes",
        links: &[
            "https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/",
            "https://kind.sigs.k8s.io/docs/user/private-registries/",
        ],
        follows: Some("image-collected"),
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                pulling!(),
                r"(?:pull access denied|failed to authorize: failed to fetch (?:anonymous|oauth) ",
                r"token: .*\b40[13] |no basic auth credentials|unauthorized(?:: |$))"
            ),
        )],
    },
    Cause {
        id: "image-not-in-registry",
        title: "the registry does not have this image",
        cause: "the registry answers, and does not have the image[ {image}] under this name or tag",
        cure: "check the name and the tag; an image that was only built here has to be pushed \
               or loaded into the nodes, and needs a tag other than latest or \
               imagePullPolicy: IfNotPresent not to be pulled",
        links: &["https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy"],
        follows: Some("image-collected"),
        signs: &[
            Sign::new(Proof, CALLS, concat!(pulling!(), "manifest unknown")),
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    r#"^(?:Failed to pull image "|"(?:Failed to pull image|PullImage from image "#,
                    r#"service failed|Error syncing pod, skipping)"|PullImage "|ctr: |FATA\[).*"#,
                    r#"failed to resolve (?:reference|image)(?: "[^"]*")?: (?<image>[^" ]+): not found"#
                ),
            ),
        ],
    },
    Cause {
        id: "image-other-platform",
        title: "the image is not made for this platform",
        cause: "the image[ {image}] is there, but not for the platform of this machine[ \
                ({platform})]",
        cure: "build it for this platform too (docker buildx build --platform \
               linux/amd64,linux/arm64), or run a node of the image's platform",
        links: &["https://docs.docker.com/build/building/multi-platform/"],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    pulling!(),
                    "(?:no match for platform in manifest|no matching manifest for ",
                    "(?<platform>[^ ]+) )"
                ),
            ),
            Sign::new(
                Proof,
                COMMAND,
                "^no matching manifest for (?<platform>[^ ]+) in the manifest list entries",
            ),
        ],
    },
    Cause {
        id: "registry-speaks-http",
        title: "the registry speaks HTTP, and is asked by HTTPS",
        cause: "the registry[ {registry}] has no TLS, and the runtime asks it by HTTPS: only \
                registries on localhost are asked by HTTP without being told",
        cure: "in containerd write /etc/containerd/certs.d/HOST:PORT/hosts.toml with \
               server = \"http://HOST:PORT\" in every node, and set config_path to that \
               folder; in Docker name it in insecure-registries; or give the registry TLS",
        links: &[
            "https://kind.sigs.k8s.io/docs/user/local-registry/",
            "https://github.com/containerd/containerd/blob/main/docs/hosts.md",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                pulling!(),
                r#"(?:https://(?<registry>[^/" ]+)/v2/[^ ]*: )?"#,
                "(?:http: server gave HTTP response to HTTPS client|tls: first record does not look like a TLS handshake)"
            ),
        )],
    },
    Cause {
        id: "registry-name-unresolved",
        title: "the registry's name is not found by DNS",
        cause: "the runtime cannot find the address of {registry}[: the resolver {resolver} \
                answers {why}]: the node has no working resolver, the name is known on the host \
                only, or there is no way out at all",
        cure: "try it in the node (getent hosts NAME), not on the host; put the node into the \
               network where the name is known (docker network connect kind kind-registry), or \
               repair its /etc/resolv.conf",
        links: &["https://kind.sigs.k8s.io/docs/user/local-registry/"],
        follows: Some("image-collected"),
        signs: &[
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    pulling!(),
                    r"https://[^ ]+ dial tcp: lookup (?<registry>[^ :]+)(?: on (?<resolver>[^ ]+:",
                    r"[0-9]+))?: (?<why>no such host|server misbehaving|i/o timeout|",
                    r"read udp [^ ]+: (?:i/o timeout|read: connection refused)|Temporary failure ",
                    r"in name resolution|dial udp [^ ]+: connect: network is unreachable)"
                ),
            ),
            Sign::new(
                Detail,
                CALLS,
                r#"^Failed to pull image "(?<image>[^"]+)".* dial tcp: lookup "#,
            ),
        ],
    },
    Cause {
        id: "registry-proxy-unreachable",
        title: "the proxy to the registry is not reached from the node",
        cause: "the runtime asks the registry through the proxy {proxy}, which HTTPS_PROXY names, \
                and the node cannot reach it[: {why}]; 127.0.0.1 is the node itself there, not \
                the host",
        cure: "name the proxy by an address that nodes reach (of the host on Docker's bridge), \
               let it listen there, and put registries in the same network into NO_PROXY",
        links: &["https://kind.sigs.k8s.io/docs/user/quick-start/#configure-kind-to-use-a-proxy"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                pulling!(),
                r#"proxyconnect tcp: dial tcp (?:: )?(?:lookup )?(?<proxy>[^ ]+?):? (?<why>[^"]+)"#
            ),
        )],
    },
    Cause {
        id: "registry-ca-unknown",
        title: "the runtime does not trust the registry's certificate",
        cause: "the certificate of the registry[ {registry}] is signed by an authority that the \
                node does not know: the registry has one of its own, or a company's proxy \
                breaks TLS open and shows its own certificate",
        cure: "put that CA into every node (/etc/containerd/certs.d/HOST/hosts.toml with ca = …, \
               or /usr/local/share/ca-certificates and update-ca-certificates, then restart \
               containerd); what the host trusts is not trusted in nodes",
        links: &[
            "https://github.com/containerd/containerd/blob/main/docs/hosts.md",
            "https://kind.sigs.k8s.io/docs/user/known-issues/",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            CALLS,
            concat!(
                pulling!(),
                r#"(?:https://(?<registry>[^/" ]+)/v2/[^ ]*: )?(?:tls: failed to verify "#,
                "certificate: )?x509: certificate signed by unknown authority"
            ),
        )],
    },
];

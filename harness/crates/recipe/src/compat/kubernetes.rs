//! What each release of Kubernetes requires of the parts around it.

use jiff::civil::Date;
use semver::Version;

use super::{
    Stack, Verdict,
    table::{minor, table},
};

/// Whether containerd and this Kubernetes' kubelet share a version of the CRI, and containerd's
/// documentation recommends the pair. A pair that is only not recommended is unknown, not bad.
pub fn kubernetes(kubernetes: &Version, containerd: &Version) -> Verdict {
    let spoken = cri(kubernetes, containerd);
    if spoken != Verdict::KnownGood {
        return spoken;
    }
    let Some(row) = table().recommended(kubernetes) else {
        return Verdict::unknown(format!(
            "Kubernetes {} is not in the table",
            minor(kubernetes)
        ));
    };
    let line = minor(containerd);
    let oldest = row.containerd.iter().find(|oldest| minor(oldest) == line);
    match (oldest, row.containerd.last()) {
        (Some(oldest), _) if containerd >= oldest => Verdict::KnownGood,
        (Some(oldest), _) => Verdict::unknown(format!(
            "for Kubernetes {} containerd recommends {oldest} or newer of its {line} line",
            row.minor
        )),
        (None, Some(newest)) if containerd > newest => Verdict::KnownGood,
        (None, _) => Verdict::unknown(format!(
            "for Kubernetes {} containerd recommends no release of its {line} line",
            row.minor
        )),
    }
}

/// Whether kubelet and containerd have a version of the CRI in common.
fn cri(kubernetes: &Version, containerd: &Version) -> Verdict {
    let known = &table().cri;
    let bad = |version: &str, cure: String| {
        let says = format!("unknown service runtime.{version}.RuntimeService");
        Verdict::KnownBad {
            cause: format!(
                "the kubelet of Kubernetes {kubernetes} speaks CRI {version} only, which \
                 containerd {containerd} does not have (`{says}`)"
            ),
            says,
            cure,
            link: known.link.clone(),
        }
    };
    let (v1, v2) = (&known.containerd_v1, &known.containerd_without_v1alpha2);
    if is_of_minor_or_later(kubernetes, &known.kubelet_v1_only) && containerd < v1 {
        let older = &known.kubelet_v1_only;
        return bad(
            "v1",
            format!(
                "use containerd {v1} or newer, or a Kubernetes older than {}",
                minor(older)
            ),
        );
    }
    if !is_of_minor_or_later(kubernetes, &known.kubelet_v1) && is_of_minor_or_later(containerd, v2)
    {
        return bad(
            "v1alpha2",
            format!(
                "use Kubernetes {} or newer, or containerd 1.7",
                minor(&known.kubelet_v1)
            ),
        );
    }
    let announced = &known.runtime_config;
    if is_of_minor_or_later(kubernetes, &announced.kubelet)
        && !is_of_minor_or_later(containerd, &announced.containerd)
    {
        return Verdict::unknown(format!(
            "from Kubernetes {} on, upstream has announced, no kubelet starts with a runtime that \
             lacks CRI's RuntimeConfig, as every containerd before {} does; see {}",
            minor(&announced.kubelet),
            announced.containerd,
            announced.link
        ));
    }
    Verdict::KnownGood
}

/// Whether a kind release can make clusters of this Kubernetes: kind has to write a version of
/// kubeadm's API that kubeadm reads.
///
/// ```
/// # use kubenest_recipe as kubenest;
/// use kubenest::compat::{Verdict, kubeadm};
///
/// let kubernetes = "1.37.0".parse()?;
/// assert!(matches!(kubeadm(&"0.31.0".parse()?, &kubernetes), Verdict::KnownBad { .. }));
/// assert_eq!(kubeadm(&"0.32.0".parse()?, &kubernetes), Verdict::KnownGood);
/// # Ok::<(), semver::Error>(())
/// ```
pub fn kubeadm(kind: &Version, kubernetes: &Version) -> Verdict {
    if let Err(unknown) = super::known_kind(kind) {
        return unknown;
    }
    let known = &table().kubeadm;
    let newer = &known.kind_writes_v1beta4;
    if !is_of_minor_or_later(kubernetes, &known.without_v1beta3) || kind >= newer {
        return Verdict::KnownGood;
    }
    let (gone, last) = (minor(&known.without_v1beta3), &known.without_v1beta3);
    let last = format!("{}.{}", last.major, last.minor.saturating_sub(1));
    let says = "your configuration file uses an old API spec: \"kubeadm.k8s.io/v1beta3\"";
    Verdict::KnownBad {
        cause: format!(
            "kind {kind} cannot make a cluster of Kubernetes {kubernetes}: it writes \
             kubeadm.k8s.io/v1beta3, which kubeadm does not read since {gone} (`{says}`)"
        ),
        says: says.to_owned(),
        cure: format!("use kind {newer} or newer, or a node of Kubernetes {last} or older"),
        link: known.link.clone(),
    }
}

/// Whether a kubelet starts on a host with cgroup v1, when its configuration does not say
/// `failCgroupV1: false`. A boot of kubenest sets that.
pub fn cgroup_v1(kubernetes: &Version) -> Verdict {
    if !refuses_cgroup_v1(kubernetes) {
        return Verdict::KnownGood;
    }
    let known = &table().cgroup_v1;
    Verdict::KnownBad {
        cause: format!(
            "the kubelet of Kubernetes {kubernetes} does not start on a host with cgroup v1 \
             (`{}`)",
            known.says
        ),
        says: known.says.clone(),
        cure: "set failCgroupV1: false in KubeletConfiguration, boot the host with cgroup v2 \
               (systemd.unified_cgroup_hierarchy=1), or use a node of Kubernetes 1.34 or older"
            .to_owned(),
        link: known.link.clone(),
    }
}

/// Whether kubelets of this release refuse cgroup v1 by default.
pub fn refuses_cgroup_v1(kubernetes: &Version) -> bool {
    is_of_minor_or_later(kubernetes, &table().cgroup_v1.kubelet)
}

/// Whether the kubelet of this release still has a flag; `flag` has no leading dashes.
pub fn kubelet_flag(kubernetes: &Version, flag: &str) -> Verdict {
    let known = &table().removed_flags;
    let mut removed = known.flags.iter();
    let Some(removed) = removed.find(|known| known.flag == flag) else {
        return Verdict::unknown(format!("the flag --{flag} is not in the table"));
    };
    if !is_of_minor_or_later(kubernetes, &removed.since) {
        return Verdict::KnownGood;
    }
    let says = format!("unknown flag: --{flag}");
    Verdict::KnownBad {
        cause: format!(
            "the kubelet of Kubernetes {kubernetes} has no flag --{flag}, which was removed by \
             {}: it would end with `{says}`",
            minor(&removed.since)
        ),
        says,
        cure: removed.cure.clone(),
        link: known.link.clone(),
    }
}

/// Whether this containerd loads its CRI plugin when its configuration has registry mirrors and
/// no `config_path`.
pub fn registry_mirrors(containerd: &Version) -> Verdict {
    let known = &table().mirrors;
    if !known.broken.contains(containerd) {
        return Verdict::KnownGood;
    }
    Verdict::KnownBad {
        cause: format!(
            "containerd {containerd} adds a config_path of its own to a configuration with \
             registry mirrors, and then has no CRI plugin (`{}`)",
            known.says
        ),
        says: known.says.clone(),
        cure: format!(
            "move the mirrors to /etc/containerd/certs.d/HOST/hosts.toml, or use containerd {} \
             or newer",
            known.fixed
        ),
        link: known.link.clone(),
    }
}

/// Notes for people about parts that no longer get patches on this day; no reason to refuse them.
pub fn end_of_life(stack: &Stack, today: Date) -> Vec<String> {
    let kubernetes = stack.kubernetes().and_then(|version| {
        let row = table().recommended(&version)?;
        Some(("Kubernetes", version, &row.until))
    });
    let containerd = stack.containerd().and_then(|version| {
        let line = table().line(version)?;
        Some(("containerd", version.clone(), &line.until))
    });
    let parts = [kubernetes, containerd].into_iter().flatten();
    let ended = parts.filter(|(_, _, until)| until.parse().is_ok_and(|until: Date| until < today));
    ended
        .map(|(part, version, until)| {
            format!("{part} {version} gets no patches since {until}: its line is at its end")
        })
        .collect()
}

/// Whether a version is of this minor or a later one; release candidates count.
fn is_of_minor_or_later(version: &Version, since: &Version) -> bool {
    (version.major, version.minor) >= (since.major, since.minor)
}

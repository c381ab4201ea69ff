//! What each release of CRI-O goes with.

use semver::Version;

use super::{
    Check, Finding, Stack, Verdict,
    table::{minor, table},
};

/// The verdicts on a stack's CRI-O and the parts around it; none without CRI-O.
pub(super) fn findings(stack: &Stack) -> Vec<Finding> {
    let Some(crio) = &stack.crio else {
        return Vec::new();
    };
    let kubernetes = stack.kubernetes().map(|release| Finding {
        name: Check::Kubernetes.name(),
        pair: format!("Kubernetes {release} with CRI-O {crio}"),
        verdict: kubernetes(&release, crio),
    });
    let client = stack.cri_api.as_ref().map(|revision| Finding {
        name: Check::ImageVolume.name(),
        pair: format!("a CRI client of cri-api {revision} with CRI-O {crio}"),
        verdict: image_volume(crio),
    });
    kubernetes.into_iter().chain(client).collect()
}

/// Whether this CRI-O is made for this Kubernetes: it has the same minor.
fn kubernetes(kubernetes: &Version, crio: &Version) -> Verdict {
    match minor(kubernetes) == minor(crio) {
        true => Verdict::KnownGood,
        false => Verdict::unknown(format!(
            "CRI-O {crio} is made for Kubernetes {}",
            minor(crio)
        )),
    }
}

/// Whether a pod can mount an image as a volume with this CRI-O.
fn image_volume(crio: &Version) -> Verdict {
    let known = &table().crio;
    let (first, says) = (&known.image_volume, &known.says);
    if (crio.major, crio.minor) >= (first.major, first.minor) {
        return Verdict::KnownGood;
    }
    Verdict::KnownBad {
        cause: format!(
            "CRI-O {crio} cannot mount an image as a volume: it takes the mount for an empty host \
             path (`{says}`)"
        ),
        says: says.clone(),
        cure: format!("use CRI-O {} or newer in the node", minor(first)),
        link: known.image_volume_link.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(kubernetes: &str, crio: &str) -> Stack {
        Stack {
            kubernetes: Some(kubernetes.parse().unwrap()),
            crio: Some(crio.parse().unwrap()),
            ..Stack::default()
        }
    }

    fn told(stack: &Stack) -> Vec<String> {
        findings(stack).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn cri_o_is_made_for_the_kubernetes_of_its_minor() {
        let good = ["Kubernetes 1.34.3 with CRI-O 1.34.0 is known to work"];
        assert_eq!(told(&stack("1.34.3", "1.34.0")), good);
        let other = "Kubernetes 1.35.4 with CRI-O 1.34.0 is untested: CRI-O 1.34.0 is made for \
                     Kubernetes 1.34";
        assert_eq!(told(&stack("1.35.4", "1.34.0")), [other]);
        assert!(told(&Stack::default()).is_empty());
    }

    #[test]
    fn images_are_mounted_from_the_documented_release_on() {
        let mounting = |crio| Stack {
            cri_api: Some("0.34.0".parse().unwrap()),
            ..stack(crio, crio)
        };
        assert!(told(&mounting("1.31.0"))[1].ends_with("is known to work"));
        let old = &told(&mounting("1.30.9"))[1];
        assert!(old.contains("mount.HostPath is empty"), "{old}");
    }
}

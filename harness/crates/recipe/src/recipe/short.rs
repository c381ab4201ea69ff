//! Short names of embedded recipes: a minor of Kubernetes, a runtime, or `latest`.

use semver::Version;

/// The newest recipe.
const LATEST: &str = "latest";
/// The newest recipe with CRI-O.
const CRI_O: [&str; 2] = ["cri-o", "crio"];

/// The recipe that a short name means, of those with these names: the newest Kubernetes that fits,
/// with its newest containerd unless the name says CRI-O.
pub(super) fn resolve<'n>(names: &[&'n str], short: &str) -> Option<&'n str> {
    let wants_crio = CRI_O.contains(&short);
    let minor = short.strip_prefix('v').unwrap_or(short);
    let fits = |kubernetes: &Version| {
        wants_crio
            || short == LATEST
            || minor == format!("{}.{}", kubernetes.major, kubernetes.minor)
            || minor == kubernetes.to_string()
    };
    let runtime = if wants_crio { "cri-o" } else { "containerd" };
    let all = names
        .iter()
        .filter_map(|name| Some((versions(name, runtime)?, *name)));
    let fitting = all.filter(|((kubernetes, _), _)| fits(kubernetes));
    fitting.max().map(|(_, name)| name)
}

/// The short names that mean one of these recipes.
pub(super) fn all(names: &[&str]) -> Vec<String> {
    let minors = names.iter().filter_map(|name| {
        let (kubernetes, _) = versions(name, "containerd")?;
        Some((kubernetes.major, kubernetes.minor))
    });
    let minors: std::collections::BTreeSet<_> = minors.collect();
    let minors = minors
        .iter()
        .map(|(major, minor)| format!("{major}.{minor}"));
    let words = [LATEST, CRI_O[0]].map(str::to_owned);
    minors.chain(words).collect()
}

/// The versions of Kubernetes and of the runtime in a name such as `v1.34.3-containerd-2.3.4`;
/// `None` for another runtime, and for recipes with something special.
fn versions(name: &str, runtime: &str) -> Option<(Version, Version)> {
    let (kubernetes, rest) = name.strip_prefix('v')?.split_once('-')?;
    let runtime = rest.strip_prefix(runtime)?.strip_prefix('-')?;
    let runtime: Version = runtime.parse().ok()?;
    let plain = runtime.pre.is_empty();
    Some((kubernetes.parse().ok()?, runtime)).filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = [
        "skew-1.7.24-shim-2.0.2",
        "v1.32.1-containerd-2.0.2",
        "v1.32.1-containerd-2.1.9-native",
        "v1.34.3-containerd-1.7.30",
        "v1.34.3-containerd-2.3.4",
        "v1.34.10-containerd-2.1.9",
        "v1.34.3-cri-o-1.34.0",
    ];

    #[test]
    fn a_short_name_means_the_newest_that_fits() {
        for (short, wanted) in [
            ("1.32", Some("v1.32.1-containerd-2.0.2")),
            ("1.34", Some("v1.34.10-containerd-2.1.9")),
            ("v1.34", Some("v1.34.10-containerd-2.1.9")),
            ("1.34.3", Some("v1.34.3-containerd-2.3.4")),
            ("latest", Some("v1.34.10-containerd-2.1.9")),
            ("crio", Some("v1.34.3-cri-o-1.34.0")),
            ("cri-o", Some("v1.34.3-cri-o-1.34.0")),
            ("1.3", None),
            ("1", None),
            ("", None),
            ("skew", None),
        ] {
            assert_eq!(resolve(&NAMES, short), wanted, "{short}");
        }
    }

    #[test]
    fn every_short_name_means_something() {
        assert_eq!(all(&NAMES), ["1.32", "1.34", "latest", "cri-o"]);
        assert!(
            all(&NAMES)
                .iter()
                .all(|name| resolve(&NAMES, name).is_some())
        );
    }
}

//! The one reader of the environment: every setting of the crate, read once.

pub mod trust;

use std::{
    collections::HashMap,
    ffi::OsString,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::unistd::{User, geteuid};

use crate::{Error, Result, random};

/// Names one run: everything that one call of the runner, or one bare test process, creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// A run that nothing else belongs to.
    pub fn random() -> Self {
        Self(new_run())
    }

    /// The identifier as text; letters, digits and dashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which Docker engine to use (`KUBENEST_ENGINE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// The engine that Docker's own clients would find, else the embedded one.
    Auto,
    /// Always the embedded engine of this release.
    Embedded(EngineRelease),
    /// Never an embedded engine.
    Host,
}

impl EngineChoice {
    /// The embedded release to use if an embedded engine is used.
    pub fn release(self) -> EngineRelease {
        match self {
            Self::Embedded(release) => release,
            Self::Auto | Self::Host => EngineRelease::Docker26,
        }
    }
}

/// An embedded Docker engine; both can run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineRelease {
    /// Debian's Docker 26, with its classic image store (overlay2).
    Docker26,
    /// Docker 29, built with Go. It keeps images in containerd, the default since that release.
    Docker29,
}

/// What Docker's own clients read from the environment.
#[derive(Debug, Clone, Default)]
pub struct DockerEnv {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// `DOCKER_CONFIG`, else `~/.docker`.
    pub config_dir: Option<PathBuf>,
    /// `DOCKER_TLS_VERIFY` is set and not empty.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`.
    pub cert_path: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `HOME`, else the home in the user's account.
    pub home: Option<PathBuf>,
}

/// The proxy variables, in upper or lower case.
#[derive(Debug, Clone, Default)]
pub struct ProxyEnv {
    /// The names of those of `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` that are set.
    pub set: Vec<String>,
    /// `NO_PROXY`: hosts, domains and address ranges to reach without a proxy.
    pub no_proxy: Option<String>,
}

/// Every setting, from the environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of components, parts of images and the embedded engine (`KUBENEST_CACHE`, else
    /// `$XDG_CACHE_HOME/kubenest`, else `~/.cache/kubenest`); see [`check`](Settings::check).
    pub cache: PathBuf,
    /// The id of this run (`KUBENEST_RUN`, else generated).
    pub run: RunId,
    /// `KUBENEST_ENGINE`: `auto`, `embedded`, `embedded-29` or `host`.
    pub engine: EngineChoice,
    /// `KUBENEST_NODE`: a recipe's name or a node image by digest, for cluster specs without one.
    pub node: Option<String>,
    /// `KUBENEST_REGISTRY`: `host:port/path` that is asked for a node image before it is built.
    pub registry: Option<String>,
    /// `KUBENEST_KEEP=1`: leave clusters running and say how to look inside.
    pub keep: bool,
    /// `KUBENEST_UP_ONLY`: file to which the first case writes how to look at its cluster, and ends
    /// the process instead of running its body.
    pub up_only: Option<PathBuf>,
    /// `KUBENEST_LOCK`: file that records the versions of nodes; a node that differs is refused.
    pub lock: Option<PathBuf>,
    /// `KUBENEST_VERDICTS`: folder to which each test writes its verdict.
    pub verdicts: Option<PathBuf>,
    /// `KUBENEST_PARENT`: `<pid>-<start ticks>` of the process whose death ends this one.
    pub parent: Option<String>,
    /// `KUBENEST_EVIDENCE`: folder for the evidence of failed tests.
    pub evidence: Option<PathBuf>,
    /// `KUBENEST_EVIDENCE_ALWAYS=1`: collect evidence of passed tests too.
    pub evidence_always: bool,
    /// `KUBENEST_REDACT`: regular expressions, separated by newlines or `;`; matches are removed
    /// from all evidence.
    pub redact: Option<String>,
    /// `KUBENEST_PATIENCE`: the factor of every deadline, 0.5 to 20; measured if not set
    /// (`wait::patience`).
    pub patience: Option<f64>,
    /// `KUBENEST_IDLE`: how long a leased cluster stays when nobody holds it: seconds, or a number
    /// with `s`, `m` or `h`, at most a day. Ten minutes if not set, one minute if `CI` is set.
    pub idle: Duration,
    /// `KUBENEST_LOG`: log levels by target, such as `kubenest=debug`.
    pub log: Option<String>,
    /// What Docker's own clients read.
    pub docker: DockerEnv,
    /// `PATH`.
    pub path: OsString,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// Unknown `KUBENEST_*` variables, and known ones with an invalid value (`NAME=value`).
    pub unknown: Vec<String>,
    /// The proxies between this process and the network.
    pub proxy: ProxyEnv,
    /// Why the settings cannot be used, and the cure.
    refused: Option<(String, String)>,
}

/// No folder can be made below it, so nothing is cached by accident.
const NOWHERE: &str = "/dev/null/kubenest";

/// Variables that hold paths. A relative path would name another file in each test program, because
/// cargo runs each in the folder of its crate.
const PATHS: [&str; 4] = [
    "KUBENEST_CACHE",
    "KUBENEST_LOCK",
    "KUBENEST_VERDICTS",
    "KUBENEST_EVIDENCE",
];

const KNOWN: [&str; 16] = [
    "KUBENEST_CACHE",
    "KUBENEST_RUN",
    "KUBENEST_ENGINE",
    "KUBENEST_NODE",
    "KUBENEST_REGISTRY",
    "KUBENEST_KEEP",
    "KUBENEST_UP_ONLY",
    "KUBENEST_LOCK",
    "KUBENEST_VERDICTS",
    "KUBENEST_PARENT",
    "KUBENEST_EVIDENCE",
    "KUBENEST_EVIDENCE_ALWAYS",
    "KUBENEST_REDACT",
    "KUBENEST_PATIENCE",
    "KUBENEST_IDLE",
    "KUBENEST_LOG",
];

/// The allowed values of `KUBENEST_PATIENCE`.
const PATIENCE: RangeInclusive<f64> = 0.5..=20.0;

/// How long a leased cluster stays unheld on a person's machine, who may run the tests again.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// The same where a machine runs the tests.
const IDLE_IN_CI: Duration = Duration::from_secs(60);
/// The longest value of `KUBENEST_IDLE`.
const LONGEST_IDLE: Duration = Duration::from_secs(24 * 60 * 60);

impl Settings {
    /// Reads the environment of this process. Each reading without `KUBENEST_RUN` makes up another
    /// run: a program reads once and hands the settings on.
    pub fn from_env() -> Self {
        let account = User::from_uid(geteuid()).ok().flatten();
        Self::from_vars(std::env::vars_os(), account.map(|user| user.dir))
    }

    /// Refuses unusable settings, and a cache that other users can write to.
    ///
    /// # Errors
    /// A relative path, no place for a cache, or a cache that other users can write to.
    pub fn check(&self) -> Result<()> {
        if let Some((what, cure)) = &self.refused {
            return Err(Error::input(what).cure(cure));
        }
        trust::check(&self.cache)
    }

    /// The folder for what all processes of this user share until the machine is started again,
    /// whatever their caches: `/run/kubenest` for root, `kubenest` in `XDG_RUNTIME_DIR` for others,
    /// and that of the cache where there is neither.
    pub fn run_folder(&self) -> PathBuf {
        let root = Path::new("/run");
        let shared = match geteuid().is_root() && root.is_dir() {
            true => Some(root),
            false => self.docker.runtime_dir.as_deref(),
        };
        match shared {
            Some(shared) => shared.join("kubenest"),
            None => self.cache.join("run"),
        }
    }

    /// `account_home` is the home in the user's account, used if there is no `HOME`.
    fn from_vars(
        vars: impl Iterator<Item = (OsString, OsString)>,
        account_home: Option<PathBuf>,
    ) -> Self {
        let vars: HashMap<OsString, OsString> = vars.filter(|(_, v)| !v.is_empty()).collect();
        let get = |name: &str| vars.get(&OsString::from(name)).cloned();
        let text = |name: &str| get(name).and_then(|v| v.into_string().ok());
        let flag = |name: &str| text(name).is_some_and(|v| v != "0" && v != "false");
        let path = |name: &str| get(name).map(PathBuf::from);
        let home = path("HOME").or(account_home);
        // The XDG specification says to ignore a relative XDG_CACHE_HOME.
        let whole = |path: &PathBuf| path.is_absolute();
        let cache = path("KUBENEST_CACHE")
            .or_else(|| Some(path("XDG_CACHE_HOME").filter(whole)?.join("kubenest")))
            .or_else(|| Some(home.as_ref().filter(|h| whole(h))?.join(".cache/kubenest")));
        let refused = PATHS
            .into_iter()
            .find_map(|name| relative_path_error(name, &path(name)?))
            .or_else(|| cache.is_none().then(no_cache_error));
        let cache = cache.unwrap_or_else(|| NOWHERE.into());
        let mut unknown: Vec<String> = vars
            .keys()
            .filter_map(|name| name.to_str())
            .filter(|name| name.starts_with("KUBENEST_") && !KNOWN.contains(name))
            .map(str::to_owned)
            .collect();
        let engine = parse_engine(text("KUBENEST_ENGINE"), &mut unknown);
        let patience = text("KUBENEST_PATIENCE").and_then(|text| {
            let factor = text.parse().ok().filter(|factor| PATIENCE.contains(factor));
            if factor.is_none() {
                unknown.push(format!("KUBENEST_PATIENCE={text}"));
            }
            factor
        });
        let usual = if flag("CI") { IDLE_IN_CI } else { IDLE };
        let idle = parse_idle(text("KUBENEST_IDLE"), usual, &mut unknown);
        unknown.sort();
        Self {
            cache: std::path::absolute(&cache).unwrap_or(cache),
            run: RunId(
                text("KUBENEST_RUN")
                    .filter(|id| is_run_id(id))
                    .unwrap_or_else(new_run),
            ),
            engine,
            node: text("KUBENEST_NODE"),
            registry: text("KUBENEST_REGISTRY"),
            keep: flag("KUBENEST_KEEP"),
            up_only: path("KUBENEST_UP_ONLY"),
            lock: path("KUBENEST_LOCK"),
            verdicts: path("KUBENEST_VERDICTS"),
            parent: text("KUBENEST_PARENT"),
            evidence: path("KUBENEST_EVIDENCE"),
            evidence_always: flag("KUBENEST_EVIDENCE_ALWAYS"),
            redact: text("KUBENEST_REDACT"),
            patience,
            idle,
            log: text("KUBENEST_LOG"),
            docker: DockerEnv {
                host: text("DOCKER_HOST"),
                context: text("DOCKER_CONTEXT"),
                config_dir: path("DOCKER_CONFIG")
                    .or_else(|| home.as_ref().map(|home| home.join(".docker"))),
                tls_verify: get("DOCKER_TLS_VERIFY").is_some(),
                cert_path: path("DOCKER_CERT_PATH"),
                runtime_dir: path("XDG_RUNTIME_DIR"),
                home,
            },
            path: get("PATH").unwrap_or_default(),
            no_color: get("NO_COLOR").is_some(),
            unknown,
            proxy: proxy_env(text),
            refused,
        }
    }
}

/// The requested engine; an invalid value is added to `unknown`.
fn parse_engine(asked: Option<String>, unknown: &mut Vec<String>) -> EngineChoice {
    match asked.as_deref() {
        None | Some("auto") => EngineChoice::Auto,
        Some("embedded") => EngineChoice::Embedded(EngineRelease::Docker26),
        Some("embedded-29") => EngineChoice::Embedded(EngineRelease::Docker29),
        Some("host") => EngineChoice::Host,
        Some(other) => {
            unknown.push(format!("KUBENEST_ENGINE={other}"));
            EngineChoice::Auto
        }
    }
}

/// The idle time that was asked for; an invalid value is added to `unknown`.
fn parse_idle(asked: Option<String>, usual: Duration, unknown: &mut Vec<String>) -> Duration {
    let Some(asked) = asked else {
        return usual;
    };
    parse_time(&asked).unwrap_or_else(|| {
        unknown.push(format!("KUBENEST_IDLE={asked}"));
        usual
    })
}

/// Reads a time such as `90`, `90s`, `10m` or `1h`.
fn parse_time(text: &str) -> Option<Duration> {
    let units = [("s", 1), ("m", 60), ("h", 60 * 60)];
    let unit = units
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, seconds) = unit.unwrap_or((text, 1));
    let plain = number.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| plain)?;
    let idle = Duration::from_secs(number.checked_mul(seconds)?);
    (idle <= LONGEST_IDLE).then_some(idle)
}

fn proxy_env(text: impl Fn(&str) -> Option<String>) -> ProxyEnv {
    let either = |name: &str| {
        let names = [name.to_owned(), name.to_lowercase()];
        names
            .into_iter()
            .find_map(|name| Some((text(&name)?, name)))
    };
    let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    ProxyEnv {
        set: proxies
            .into_iter()
            .filter_map(|name| Some(either(name)?.1))
            .collect(),
        no_proxy: either("NO_PROXY").map(|(value, _)| value),
    }
}

/// The message and cure for a relative path; the cure shows the absolute path.
fn relative_path_error(name: &str, path: &Path) -> Option<(String, String)> {
    let absolute = (!path.is_absolute()).then(|| std::path::absolute(path).ok())??;
    let what = format!(
        "{name}={} is relative, and cargo runs each crate's tests in a folder of their own",
        path.display()
    );
    Some((what, format!("{name}={}", absolute.display())))
}

fn no_cache_error() -> (String, String) {
    let what = "there is no place for the cache: no HOME is set, and this user's account has none";
    let cure = "set KUBENEST_CACHE to a folder that only this user can write to";
    (what.to_owned(), cure.to_owned())
}

fn is_run_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn new_run() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // In containers that start in one second every process may have the same number.
    let (second, process) = (now.as_secs(), std::process::id());
    format!("{second}-{process}-{}", random::hex(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Settings {
        read_as(vars, Some("/home/account"))
    }

    fn read_as(vars: &[(&str, &str)], account_home: Option<&str>) -> Settings {
        let vars = vars.iter();
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Settings::from_vars(vars, account_home.map(PathBuf::from))
    }

    #[test]
    fn cache_follows_the_usual_order() {
        let home = ("HOME", "/home/u");
        let xdg = ("XDG_CACHE_HOME", "/xdg");
        assert_eq!(
            read(&[home]).cache,
            PathBuf::from("/home/u/.cache/kubenest")
        );
        assert_eq!(read(&[home, xdg]).cache, PathBuf::from("/xdg/kubenest"));
        assert_eq!(
            read(&[home, xdg, ("KUBENEST_CACHE", "/c")]).cache,
            PathBuf::from("/c")
        );
    }

    #[test]
    fn without_home_the_cache_is_in_the_accounts_home_or_nowhere() {
        let own = PathBuf::from("/home/account/.cache/kubenest");
        assert_eq!(read(&[]).cache, own);
        assert_eq!(read(&[("HOME", "")]).cache, own);
        assert_eq!(read(&[("XDG_CACHE_HOME", "cache")]).cache, own);
        let nowhere = read_as(&[("HOME", "relative")], None);
        let error = nowhere.check().unwrap_err();
        assert!(error.cure_text().unwrap().contains("KUBENEST_CACHE"));
        assert!(!nowhere.cache.starts_with(std::env::temp_dir()));
        assert!(std::fs::create_dir_all(&nowhere.cache).is_err());
    }

    #[test]
    fn a_relative_path_is_refused_with_the_absolute_one() {
        for name in PATHS {
            let error = read(&[(name, "some/where")]).check().unwrap_err();
            let absolute = std::path::absolute("some/where").unwrap();
            assert!(error.to_string().starts_with(name), "{error}");
            let cure = format!("{name}={}", absolute.display());
            assert_eq!(error.cure_text(), Some(cure.as_str()));
        }
    }

    #[test]
    fn a_proxy_is_read_in_either_case() {
        let proxy = read(&[
            ("https_proxy", "p:1"),
            ("ALL_PROXY", "p:2"),
            ("no_proxy", "a,b"),
        ])
        .proxy;
        assert_eq!(proxy.set, ["https_proxy", "ALL_PROXY"]);
        assert_eq!(proxy.no_proxy.as_deref(), Some("a,b"));
    }

    #[test]
    fn misspelt_settings_are_reported() {
        let settings = read(&[("KUBENEST_CASHE", "/c"), ("KUBENEST_KEEP", "1")]);
        assert_eq!(settings.unknown, ["KUBENEST_CASHE"]);
        assert!(settings.keep);
        let settings = read(&[("KUBENEST_ENGINE", "embeded")]);
        assert_eq!(settings.unknown, ["KUBENEST_ENGINE=embeded"]);
        assert!(read(&[("KUBENEST_ENGINE", "auto")]).unknown.is_empty());
    }

    #[test]
    fn an_invalid_patience_is_reported() {
        let of = |text| read(&[("KUBENEST_PATIENCE", text)]);
        assert_eq!(of("3").patience, Some(3.0));
        assert_eq!(of("0.5").patience, Some(0.5));
        for wrong in ["fast", "0", "-1", "21", "NaN", "inf", "3x"] {
            let settings = of(wrong);
            assert_eq!(settings.patience, None, "{wrong}");
            assert_eq!(settings.unknown, [format!("KUBENEST_PATIENCE={wrong}")]);
        }
        assert_eq!(read(&[]).patience, None);
    }

    #[test]
    fn a_leased_cluster_stays_longer_for_a_person_than_for_ci() {
        let idle = |vars: &[_]| read(vars).idle.as_secs();
        assert_eq!(idle(&[]), 600);
        assert_eq!(idle(&[("CI", "true")]), 60);
        assert_eq!(idle(&[("CI", "false")]), 600);
        for (text, seconds) in [("0", 0), ("90", 90), ("5s", 5), ("3m", 180), ("24h", 86400)] {
            assert_eq!(idle(&[("CI", "1"), ("KUBENEST_IDLE", text)]), seconds);
        }
        for wrong in ["soon", "-1", "+1", "1.5m", "m", "10 m", "25h", "1d"] {
            let settings = read(&[("KUBENEST_IDLE", wrong)]);
            assert_eq!(settings.idle, IDLE, "{wrong}");
            assert_eq!(settings.unknown, [format!("KUBENEST_IDLE={wrong}")]);
        }
    }

    #[test]
    fn a_run_id_that_cannot_be_a_label_is_replaced() {
        assert_eq!(read(&[("KUBENEST_RUN", "a-1")]).run.as_str(), "a-1");
        assert_ne!(read(&[("KUBENEST_RUN", "a b;c")]).run.as_str(), "a b;c");
    }

    #[test]
    fn two_runs_in_the_same_second_have_different_ids() {
        let (one, other) = (new_run(), new_run());
        assert_ne!(one, other);
        assert!(is_run_id(&one), "{one}");
    }
}

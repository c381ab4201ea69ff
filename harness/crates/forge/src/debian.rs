//! Unpacks Debian packages of any suite into a folder; installs nothing.
//!
//! apt runs on a private folder in the cache (its own lists, its own sources), with the mirror and
//! the proxy of the machine's own apt. Debian's keys verify the index, the index verifies each
//! package, and a pinned package is also checked against its own checksum.

use std::{
    borrow::Cow,
    fmt::Write as _,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::package::Package;
use kubenest_base::digest::sha256_hex;

use kubenest_base::{
    Context, Error, Result, lock::FileLock, process::Command, progress, store::Store,
};

/// The file with Debian's signing keys on a Debian machine.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Package lists older than this are fetched again before they are used.
const LISTS_AGE: Duration = Duration::from_secs(24 * 3600);

/// Downloads packages of a suite and unpacks them, one on top of the other, below `into`.
///
/// # Errors
/// This machine has no apt or no Debian mirror, the suite lacks a package, or a checksum is not the
/// pinned one.
pub async fn fetch(store: &Store, suite: &str, packages: &[Package], into: &Path) -> Result<()> {
    let names: Vec<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !is_package_name(name)) {
        return Err(Error::input(format!("'{name}' is no Debian package name")));
    }
    let area = Area::new(store, suite)?;
    let _lock = FileLock::exclusive(&area.root.join("lock"), &format!("apt for {suite}")).await?;
    let start = Instant::now();
    let fresh = area.refresh_if_old().await?;
    let files = match area.download(packages, &names).await {
        // Old lists may name files that the mirror has replaced since.
        Err(_) if !fresh => {
            area.refresh().await?;
            area.download(packages, &names).await?
        }
        files => files?,
    };
    for (package, file) in packages.iter().zip(&files) {
        verify(package, file)?;
    }
    for file in &files {
        let unpack = Command::new("dpkg-deb").arg("-x").arg(file).arg(into);
        unpack.run().await?;
    }
    area.forget_files()?;
    progress!(
        "fetched {} from Debian {suite} ({:.1} s)",
        names.join(" "),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The address of the Debian archive that this machine's apt uses, for example for mmdebstrap.
///
/// # Errors
/// The machine has no apt, or its sources contain no Debian archive.
pub(crate) async fn mirror() -> Result<String> {
    let format = "$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let targets = Command::new("apt-get")
        .args(["indextargets", "--no-release-info", "--format", format])
        .run()
        .await
        .map_err(|error| no_debian("apt-get does not run here").because(error))?;
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    archive_of(&targets.stdout, debian_codename(&os))
        .ok_or_else(|| no_debian("apt's sources name no Debian archive"))
}

/// The Debian codename in `/etc/os-release`. The codename of another distribution names a release
/// of that distribution's archive, so it does not count.
fn debian_codename(os_release: &str) -> &str {
    let field = |name: &str| {
        let mut lines = os_release.lines();
        let value = lines.find_map(|line| line.strip_prefix(name));
        value.unwrap_or_default().trim_matches('"')
    };
    match field("ID=") {
        "debian" => field("VERSION_CODENAME="),
        _ => "",
    }
}

/// A private apt: sources, lists and cache of one suite.
struct Area {
    root: PathBuf,
    suite: String,
}

impl Area {
    fn new(store: &Store, suite: &str) -> Result<Self> {
        if suite.is_empty()
            || !suite
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(Error::input(format!("'{suite}' is no Debian suite")));
        }
        let root = store.root().join("apt").join(suite);
        // apt's configuration cannot escape a quote.
        if root.to_string_lossy().contains(['"', '\n']) {
            return Err(Error::input(format!(
                "the path '{}' has a quote",
                root.display()
            )));
        }
        Ok(Self {
            root,
            suite: suite.to_owned(),
        })
    }

    fn configuration(&self) -> PathBuf {
        self.root.join("apt.conf")
    }

    /// Fetches the lists if there are none or they are old; returns whether it fetched them.
    async fn refresh_if_old(&self) -> Result<bool> {
        let age = fs::metadata(self.root.join("fresh"))
            .and_then(|stamp| stamp.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age < LISTS_AGE) {
            return Ok(false);
        }
        self.refresh().await?;
        Ok(true)
    }

    async fn refresh(&self) -> Result<()> {
        let mirror = mirror().await?;
        if !Path::new(KEYS).exists() {
            return Err(no_debian(&format!("'{KEYS}' is missing")));
        }
        progress!("fetching Debian {}'s index", self.suite);
        for dir in [
            "lists/partial",
            "cache/archives/partial",
            "sources",
            "state",
        ] {
            self.make(dir)?;
        }
        self.write("apt.conf", &apt_conf(&self.root))?;
        self.write("status", "")?;
        self.write(
            "sources/debian.sources",
            &format!(
                "Types: deb\nURIs: {mirror}\nSuites: {}\nComponents: main\nTargets: Packages\n\
             Signed-By: {KEYS}\n",
                self.suite
            ),
        )?;
        self.apt("apt-get", &["update"])
            .run()
            .await
            .with_context(|| format!("fetch the index of Debian {}", self.suite))?;
        self.write("fresh", "")
    }

    /// Downloads the packages; their files stay until `forget_files`.
    async fn download(&self, packages: &[Package], names: &[&str]) -> Result<Vec<PathBuf>> {
        self.forget_files()?;
        self.make("debs")?;
        let madison = self.apt("apt-cache", &["madison"]).args(names);
        let table = madison.run().await?.stdout;
        let mut download = self.apt("apt-get", &["download"]);
        let mut versions = Vec::new();
        for package in packages {
            let version = choose(
                &available_versions(&table, &package.name),
                package,
                &self.suite,
            )?;
            download = download.arg(format!("{}={version}", package.name));
            versions.push(version);
        }
        let debs = self.root.join("debs");
        download.dir(&debs).run().await?;
        let named = names.iter().zip(&versions);
        named
            .map(|(name, version)| deb_file(&debs, name, version))
            .collect()
    }

    fn forget_files(&self) -> Result<()> {
        let debs = self.root.join("debs");
        match fs::remove_dir_all(&debs) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(e).with_context(|| format!("remove '{}'", debs.display()))
            }
            _ => Ok(()),
        }
    }

    fn apt(&self, program: &str, args: &[&str]) -> Command {
        Command::new(program)
            .arg("-q")
            .arg("-c")
            .arg(self.configuration())
            .args(args)
            .env("LC_ALL", "C.UTF-8")
    }

    fn make(&self, dir: &str) -> Result<()> {
        let dir = self.root.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("make '{}'", dir.display()))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.root.join(name);
        fs::write(&file, text).with_context(|| format!("write '{}'", file.display()))
    }
}

fn no_debian(why: &str) -> Error {
    Error::setup(format!("no Debian packages can be had: {why}"))
        .cure("use a Debian machine, or add a Debian archive to apt's sources and its keyring")
}

/// Private apt configuration on top of the machine's own, which may name a proxy. It disables the
/// machine's hooks, which would change the machine's own apt cache.
fn apt_conf(root: &Path) -> String {
    let mut text = String::from("#clear APT::Update;\n#clear DPkg;\n");
    let root = root.to_string_lossy();
    for (name, value) in [
        ("Dir::State", format!("{root}/state")),
        ("Dir::State::lists", format!("{root}/lists")),
        ("Dir::State::status", format!("{root}/status")),
        ("Dir::Cache", format!("{root}/cache")),
        ("Dir::Cache::archives", format!("{root}/cache/archives")),
        ("Dir::Cache::pkgcache", "pkgcache.bin".to_owned()),
        ("Dir::Cache::srcpkgcache", String::new()),
        ("Dir::Etc::SourceList", "/dev/null".to_owned()),
        ("Dir::Etc::SourceParts", format!("{root}/sources")),
        ("Dir::Etc::Preferences", "/dev/null".to_owned()),
        ("Dir::Etc::PreferencesParts", "/dev/null".to_owned()),
        ("APT::Sandbox::User", "root".to_owned()),
        ("APT::Update::Error-Mode", "any".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        ("Acquire::Retries", "3".to_owned()),
    ] {
        writeln!(text, "{name} \"{value}\";").expect("a string takes writes");
    }
    text
}

/// The archive in apt's list of index targets, with lines of creator, address, release, component.
fn archive_of(targets: &str, codename: &str) -> Option<String> {
    let releases = [
        codename,
        "stable",
        "oldstable",
        "testing",
        "unstable",
        "sid",
    ];
    targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (creator, uri) = (words.next()?, words.next()?);
        let (release, component) = (words.next()?, words.next()?);
        let debian = creator == "Packages" && component == "main" && releases.contains(&release);
        debian.then(|| uri.trim_end_matches('/').to_owned())
    })
}

/// The versions of a package in the table that `apt-cache madison` prints, best first.
fn available_versions(table: &str, name: &str) -> Vec<String> {
    table
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim);
            let (package, version) = (cells.next()?, cells.next()?);
            (package == name).then(|| version.to_owned())
        })
        .collect()
}

fn choose(available: &[String], package: &Package, suite: &str) -> Result<String> {
    let Package { name, version, .. } = package;
    let first = || {
        available
            .first()
            .cloned()
            .ok_or_else(|| Error::not_found(format!("Debian {suite} has no package '{name}'")))
    };
    let Some(wanted) = version else {
        return first();
    };
    if available.contains(wanted) {
        return Ok(wanted.clone());
    }
    let rebuild = available
        .iter()
        .find(|have| upstream(have) == upstream(wanted));
    if let Some(version) = rebuild {
        tracing::warn!("Debian {suite} has {name} {version} in place of the pinned {wanted}");
        return Ok(version.clone());
    }
    Err(Error::not_found(format!(
        "Debian {suite} has {name} {}, not {wanted}",
        first()?
    )))
}

/// A Debian version without its last part, which is the revision of the packaging.
fn upstream(version: &str) -> &str {
    version
        .rsplit_once('-')
        .map_or(version, |(upstream, _)| upstream)
}

fn is_package_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    name.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(fine)
}

/// The file that `apt-get download` made; the colon of an epoch is escaped in its name.
fn deb_file(dir: &Path, name: &str, version: &str) -> Result<PathBuf> {
    let start = deb_start(name, version);
    let files = fs::read_dir(dir).with_context(|| format!("read '{}'", dir.display()))?;
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| file_name(path).starts_with(&start))
        .ok_or_else(|| Error::not_found(format!("apt made no file '{start}*.deb'")))
}

fn deb_start(name: &str, version: &str) -> String {
    format!("{name}_{}_", version.replace(':', "%3a"))
}

fn file_name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Checks a file against the package's pinned checksum, if the file has the pinned version.
fn verify(package: &Package, file: &Path) -> Result<()> {
    let (Some(version), Some(wanted)) = (&package.version, &package.sha256) else {
        return Ok(());
    };
    let name = file_name(file);
    let pinned = name.strip_prefix(&deb_start(&package.name, version));
    if !matches!(pinned, Some("amd64.deb" | "all.deb")) {
        return Ok(());
    }
    let bytes = fs::read(file).with_context(|| format!("read '{}'", file.display()))?;
    let sum = sha256_hex(&bytes);
    if sum != *wanted {
        return Err(Error::refused(format!(
            "{name} has sha256 {sum}, not {wanted}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
containerd | 1.7.24~ds1-6+deb13u2 | mirror trixie/main amd64 Packages
      tini | 0.19.0-3+b8 | mirror trixie/main amd64 Packages
";

    fn package(name: &str, version: Option<&str>) -> Package {
        Package {
            name: name.into(),
            version: version.map(str::to_owned),
            sha256: None,
        }
    }

    fn choose_version(name: &str, version: Option<&str>) -> Result<String> {
        choose(
            &available_versions(TABLE, name),
            &package(name, version),
            "trixie",
        )
    }

    #[test]
    fn the_archive_is_the_one_with_the_machines_release() {
        let targets = "\
Packages mirror/security/ bookworm-security main
Packages mirror/extra/ bookworm stable
DEP-11 mirror/debian/ bookworm main
Packages mirror/debian/ bookworm main
";
        assert_eq!(
            archive_of(targets, "bookworm").as_deref(),
            Some("mirror/debian")
        );
        assert_eq!(archive_of(targets, "noble"), None);
        let os = "VERSION_CODENAME=bookworm\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(debian_codename(os), "bookworm");
        let os = os.replace("ID=debian", "ID=ubuntu");
        assert_eq!(archive_of(targets, debian_codename(&os)), None);
    }

    #[test]
    fn a_rebuild_of_the_pinned_upstream_version_is_taken() {
        let version = choose_version("containerd", Some("1.7.24~ds1-6+deb13u1")).unwrap();
        assert_eq!(version, "1.7.24~ds1-6+deb13u2");
    }

    #[test]
    fn another_upstream_version_is_not() {
        let error = choose_version("containerd", Some("1.7.23~ds1-1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Debian trixie has containerd 1.7.24~ds1-6+deb13u2, not 1.7.23~ds1-1"
        );
    }

    #[test]
    fn without_a_version_the_suites_own_is_taken() {
        assert_eq!(choose_version("tini", None).unwrap(), "0.19.0-3+b8");
        let error = choose_version("cri-tools", None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Debian trixie has no package 'cri-tools'"
        );
    }

    #[test]
    fn options_are_no_package_names() {
        for name in ["", "-o", "a b", "a=1", "../x", "A"] {
            assert!(!is_package_name(name), "{name}");
        }
        assert!(is_package_name("libstdc++6") && is_package_name("docker.io"));
    }

    #[test]
    fn a_file_with_an_epoch_in_its_version_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libbpf1_1%3a1.1.2-0_amd64.deb");
        fs::write(&path, "").unwrap();
        assert_eq!(deb_file(dir.path(), "libbpf1", "1:1.1.2-0").unwrap(), path);
    }

    #[test]
    fn a_pinned_file_with_another_sum_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tini_1%3a2-3_amd64.deb");
        fs::write(&file, "x").unwrap();
        let mut tini = package("tini", Some("1:2-3"));
        tini.sha256 = Some("00".into());
        let error = verify(&tini, &file).unwrap_err();
        assert!(error.to_string().ends_with(", not 00"), "{error}");
        // The sha256 of "x".
        let sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        tini.sha256 = Some(sum.into());
        verify(&tini, &file).unwrap();
    }

    #[test]
    fn a_rebuild_or_another_machines_file_is_not_the_pinned_one() {
        let mut tini = package("tini", Some("2-3"));
        tini.sha256 = Some("00".into());
        for name in ["tini_2-3+b1_amd64.deb", "tini_2-3_arm64.deb"] {
            verify(&tini, Path::new(name)).unwrap();
        }
    }
}

//! The images that critest's specs run, made of Debian's packages and served by a registry under the
//! names that critest has for them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use kubenest::{engine::Docker, node::FileEntry};
use kubenest_base::{digest::sha256_hex, store::Store};
use kubenest_fixtures::{debian, registry::LocalRegistry};
use kubenest_forge::image::{ImageSpec, Layer, architecture};

/// The registries whose names critest has in its images, and the one of the images that it is given.
pub(crate) const REGISTRIES: [&str; 3] = ["registry.k8s.io", "gcr.io", OWN];
const OWN: &str = "kubenest.local";

const LATEST: &[&str] = &["latest"];
const BUSYBOX: &str = "conformance/busybox";
const WEB_SERVER: &str = "conformance/nginx";
/// The image that critest knows only by digest.
const BY_DIGEST: &str = "k8s-staging-cri-tools/test-image-digest";

/// What the images are made of. A root file system is not built without iptables.
const PACKAGES: [&str; 7] = [
    "apache2-bin",
    "busybox",
    "coreutils",
    "iptables",
    "nginx",
    "procps",
    "util-linux",
];

/// The programs of the packages that all images have, beside libraries.
const PROGRAMS: [&str; 5] = [
    "bin/busybox",
    "usr/bin/ipcs",
    "usr/bin/pgrep",
    "usr/sbin/apache2",
    "usr/sbin/nginx",
];

/// The names of busybox that specs call. They are hard links: a mask on one must not cover the others.
const APPLETS: &str = "brctl cat chmod cp dd df echo env false grep head hostname id kill ln ls mkdir \
    mount mv nc netstat pidof ping printf ps rm sh sleep stat sync tail test top touch true umount \
    wget";

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/sh
";
const GROUP: &str = "\
root:x:0:
www-data:x:33:
users:x:100:
nogroup:x:65534:
";

/// The servers' configurations; Apache's names the server in each line of its log.
const NGINX: &str = include_str!("nginx.conf");
const HTTPD: &str = include_str!("httpd.conf");

/// A program that says with whose rights it runs, owned by root and with the bit that gives these.
const EFFECTIVE_ID: &str = "bin/effective-id";

/// An image by its name in a registry, without the registry.
struct Image {
    name: &'static str,
    tags: &'static [&'static str],
    entrypoint: &'static [&'static str],
    user: &'static str,
    files: Vec<FileEntry>,
}

/// What critest is told of the images.
pub(crate) struct Published {
    /// For `--test-images-file`.
    pub(crate) file: String,
    /// The digest of the image that critest knows only by digest.
    pub(crate) digest: String,
}

/// Makes all images and pushes them to the registry.
pub(crate) async fn publish(docker: &Docker, registry: &LocalRegistry) -> Result<Published> {
    let store = Store::of(docker.settings());
    let rootfs = debian::rootfs(&store, &PACKAGES).await?;
    let base = base(&store, &rootfs).await?;
    let mut digest = String::new();
    for image in images(&rootfs)? {
        let pushed = push(docker, registry, &store, &base, &image).await?;
        if image.name == BY_DIGEST {
            let (_, pushed) = pushed.rsplit_once('@').context("an image has a digest")?;
            pushed.clone_into(&mut digest);
        }
    }
    Ok(Published {
        file: format!(
            "defaultTestContainerImage: {OWN}/{BUSYBOX}:1\nwebServerTestImage: {OWN}/{WEB_SERVER}:1\n"
        ),
        digest,
    })
}

/// The layer of all images: the programs, with the libraries that they load.
async fn base(store: &Store, rootfs: &Path) -> Result<Layer> {
    let made_of = format!("{}{APPLETS}{PASSWD}{GROUP}", rootfs.display());
    let key = format!("conformance-{}", &sha256_hex(made_of.as_bytes())[..16]);
    let layer = Layer::cached(store, &key, async |layer| {
        layer.archive(rootfs, needed)?;
        for applet in APPLETS.split_whitespace() {
            layer.hard_link(&Path::new("bin").join(applet), Path::new("bin/busybox"))?;
        }
        for (folder, mode) in [
            ("root", 0o700),
            ("run", 0o755),
            ("srv", 0o755),
            ("tmp", 0o1777),
        ] {
            layer.folder(folder, mode)?;
        }
        layer.symlink(Path::new("var/run"), Path::new("/run"))?;
        layer.file(&FileEntry::new("/etc/passwd", PASSWD))?;
        layer.file(&FileEntry::new("/etc/group", GROUP))
    });
    Ok(layer.await?)
}

/// The name in an image of a file of the root file system, if images need it.
fn needed(path: &Path) -> Option<PathBuf> {
    let name = path.strip_prefix(".").unwrap_or(path);
    let is_program = PROGRAMS.iter().any(|program| Path::new(program) == name);
    let is_library = name.to_str()?.contains(".so");
    let folder = name.parent()?;
    let loads = ["lib64", "usr/lib/apache2/modules"].map(Path::new);
    let is_loaded = loads.contains(&folder)
        || folder.to_str()?.ends_with("-linux-gnu") && folder.components().count() <= 3;
    (is_program || is_library && is_loaded).then(|| name.to_owned())
}

fn images(rootfs: &Path) -> Result<Vec<Image>> {
    let mut images = servers(rootfs)?;
    let shell = |name, tags, files| Image {
        name,
        tags,
        entrypoint: &["/bin/sh"],
        user: "",
        files,
    };
    images.push(shell(BUSYBOX, &["1"], vec![]));
    let groups = [
        FileEntry::new(
            "/etc/passwd",
            format!("{PASSWD}default-user:x:1000:1000::/:/bin/sh\n"),
        ),
        FileEntry::new(
            "/etc/group",
            format!("{GROUP}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"),
        ),
    ];
    images.push(Image {
        user: "1000",
        ..shell(
            "k8s-staging-cri-tools/test-image-predefined-group",
            LATEST,
            groups.into(),
        )
    });
    let marked = [
        (BY_DIGEST, LATEST),
        ("k8s-staging-cri-tools/test-image-latest", LATEST),
        ("k8s-staging-cri-tools/test-image-tag", &["test", "all"]),
        ("k8s-staging-cri-tools/test-image-1", LATEST),
        ("k8s-staging-cri-tools/test-image-2", LATEST),
        ("k8s-staging-cri-tools/test-image-3", LATEST),
        ("k8s-staging-cri-tools/test-image-tags", &["1", "2", "3"]),
    ];
    // Each differs from the others: the same content would be one image of several names.
    let marked = marked.map(|(name, tags)| shell(name, tags, vec![FileEntry::new("/mark", name)]));
    let of_users = [
        ("k8s-staging-cri-tools/test-image-user-uid", "1002"),
        ("k8s-staging-cri-tools/test-image-user-username", "www-data"),
        (
            "k8s-staging-cri-tools/test-image-user-uid-group",
            "1003:users",
        ),
        (
            "k8s-staging-cri-tools/test-image-user-username-group",
            "www-data:100",
        ),
    ];
    let of_users = of_users.map(|(name, user)| Image {
        user,
        ..shell(name, LATEST, vec![])
    });
    images.extend(marked.into_iter().chain(of_users));
    Ok(images)
}

/// The images whose first process is a program of their own.
fn servers(rootfs: &Path) -> Result<Vec<Image>> {
    let image = |name, tags, entrypoint, files| Image {
        name,
        tags,
        entrypoint,
        user: "",
        files,
    };
    let page = || FileEntry::new("/srv/index.html", "conformance\n");
    let nginx = |port: &str| {
        let config = FileEntry::new("/etc/nginx.conf", NGINX.replace("PORT", port));
        vec![page(), config]
    };
    let host_nginx = match architecture() {
        "arm64" => "k8s-staging-cri-tools/hostnet-nginx-arm64",
        _ => "k8s-staging-cri-tools/hostnet-nginx-amd64",
    };
    let run_nginx = &["/usr/sbin/nginx", "-c", "/etc/nginx.conf"];
    let run_httpd = &[
        "/usr/sbin/apache2",
        "-f",
        "/etc/httpd.conf",
        "-D",
        "FOREGROUND",
    ];
    let say_id = &[
        "/bin/sh",
        "-c",
        "echo \"Effective uid: $(effective-id -u)\"",
    ];
    let id = read(rootfs, "usr/bin/id")?;
    let id = FileEntry::new(format!("/{EFFECTIVE_ID}"), id).with_mode(0o4755);
    let httpd = vec![page(), FileEntry::new("/etc/httpd.conf", HTTPD)];
    Ok(vec![
        image(WEB_SERVER, &["1"], run_nginx, nginx("80")),
        image("e2e-test-images/nginx", &["1.14-2"], run_nginx, nginx("80")),
        image(host_nginx, LATEST, run_nginx, nginx("12003")),
        image("e2e-test-images/httpd", &["2.4.39-4"], run_httpd, httpd),
        image("e2e-test-images/nonewprivs", &["1.3"], say_id, vec![id]),
    ])
}

/// Puts an image into the registry under all its tags; returns its reference by digest.
async fn push(
    docker: &Docker,
    registry: &LocalRegistry,
    store: &Store,
    base: &Layer,
    image: &Image,
) -> Result<String> {
    let mut layers = vec![base.clone()];
    if !image.files.is_empty() {
        let made_of = image
            .files
            .iter()
            .flat_map(|file| [file.path.as_bytes(), &file.content]);
        let made_of: Vec<u8> = made_of.flatten().copied().collect();
        let key = format!("conformance-files-{}", &sha256_hex(&made_of)[..16]);
        let top = Layer::cached(store, &key, async |layer| {
            image.files.iter().try_for_each(|file| layer.file(file))
        });
        layers.push(top.await?);
    }
    let loaded = format!("kubenest.local/{}:own", image.name);
    let spec = ImageSpec {
        tags: vec![loaded.clone()],
        layers,
        labels: docker
            .labels("conformance-image")
            .map()
            .into_iter()
            .collect(),
        entrypoint: image
            .entrypoint
            .iter()
            .map(|&word| word.to_owned())
            .collect(),
        user: image.user.to_owned(),
        ..ImageSpec::default()
    };
    spec.load(docker).await?;
    let mut pushed = String::new();
    for tag in image.tags {
        pushed = registry.publish(&loaded, image.name, tag).await?;
    }
    docker.remove_image(&loaded).await?;
    Ok(pushed)
}

/// The content of a file in a tar.
fn read(tar: &Path, name: &str) -> Result<Vec<u8>> {
    let mut archive = tar::Archive::new(File::open(tar)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.strip_prefix(".").unwrap_or(&entry.path()?) == Path::new(name) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            return Ok(content);
        }
    }
    anyhow::bail!("Debian's packages have no '{name}'")
}

//! Loading images beside `kind load docker-image` and `docker save | ctr import`, in turns, on
//! the same nodes.
//!
//! Each loader gets images of its own, made of random bytes that no compression helps: first
//! load, reload unchanged, reload after the top layer has changed. What a round has loaded is
//! removed before the next. `cargo xtask bench images --help` tells the options.
#![expect(clippy::print_stdout, reason = "a program for people")]

mod bench;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use bench::{Options, median};
use clap::Parser;
use kubenest::{Cluster, ClusterSpec, engine::Docker, node::FileEntry, telemetry};
use kubenest_base::digest::{Sha256, hex, sha256_hex};
use kubenest_base::process::Command;
use kubenest_docker::Labels;
use kubenest_fixtures::{cri_client::CriClient, kind::Kind};
use kubenest_forge::{engine, image::architecture};
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;

/// Loads images with kubenest, with kind and through ctr, in turns, and compares medians.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench images")]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// Numbers of nodes, one cluster each
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    nodes: Vec<usize>,
    /// Sizes of the layers in MiB, the lowest first
    #[arg(long, value_delimiter = ',', default_value = "120,90,60,20,10")]
    layers: Vec<usize>,
    /// Also write the table here, as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

const STEPS: [&str; 3] = ["first load", "unchanged", "top layer changed"];
const LOADERS: [&str; 3] = ["kubenest", "kind", "ctr import"];

/// One load.
#[derive(Debug, Clone, Copy, Serialize)]
struct Reading {
    seconds: f64,
    /// To all nodes. What kind and ctr send is the saved archive, or nothing.
    sent_mib: f64,
}

/// By nodes, loader and step.
type Readings = BTreeMap<(usize, &'static str, &'static str), Vec<Reading>>;

struct Bench {
    docker: Docker,
    kind: Kind,
    cluster: Cluster,
    layers: Vec<usize>,
}

/// An image that lives for one round of one loader.
struct Image {
    name: String,
    folder: TempDir,
    layers: Vec<Layer>,
    ids: Vec<String>,
}

struct Layer {
    file: PathBuf,
    digest: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    telemetry::start();
    let cli = Cli::parse();
    ensure!(cli.layers.len() > 1, "a top layer needs one below it");
    let docker = kubenest::engine::find().await?;
    let kind = Kind::release(&cli.options.kind).await?;
    let mut readings = Readings::new();
    for &nodes in &cli.nodes {
        ensure!(nodes > 0, "a cluster needs a node");
        let spec = ClusterSpec::with_workers(nodes - 1).with_recipe(&cli.options.recipe)?;
        let bench = Bench {
            docker: docker.clone(),
            kind: kind.clone(),
            cluster: spec.boot().await?,
            layers: cli.layers.clone(),
        };
        bench.give_crictl().await?;
        for round in 1..=cli.options.rounds.get() {
            for loader in LOADERS {
                let got = Box::pin(bench.round(loader)).await?;
                for (step, reading) in STEPS.into_iter().zip(got) {
                    let Reading { seconds, sent_mib } = reading;
                    println!(
                        "{nodes} nodes, round {round}, {loader}, {step}: {seconds:.2} s, \
                         {sent_mib:.1} MiB"
                    );
                    readings
                        .entry((nodes, loader, step))
                        .or_default()
                        .push(reading);
                }
            }
        }
        bench.cluster.down().await?;
    }
    let table = table(&cli, &readings)?;
    println!("{table}");
    if let Some(path) = &cli.markdown {
        fs::write(path, &table).with_context(|| format!("write '{}'", path.display()))?;
    }
    let rows = readings.iter().map(|((nodes, loader, step), readings)| {
        json!({"nodes": nodes, "loader": loader, "step": step, "readings": readings})
    });
    cli.options.write_json(&rows.collect::<Vec<_>>())
}

/// Medians, and how many times faster kubenest is.
fn table(cli: &Cli, readings: &Readings) -> Result<String> {
    let median = |key: (usize, &'static str, &'static str), field: fn(&Reading) -> f64| {
        median(readings[&key].iter().map(field))
    };
    let mut text = String::new();
    let Options { rounds, kind, .. } = &cli.options;
    let size: usize = cli.layers.iter().sum();
    writeln!(
        text,
        "| {size} MiB image, median of {rounds}, s | kubenest | kind v{kind} | docker save, ctr \
         import | kind / kubenest | sent, MiB |"
    )?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- |")?;
    for &nodes in &cli.nodes {
        for step in STEPS {
            let seconds = |loader| median((nodes, loader, step), |r| r.seconds);
            let sent = |loader| median((nodes, loader, step), |r| r.sent_mib);
            let [ours, kinds, ctrs] = LOADERS.map(seconds);
            let [our_mib, kinds_mib, _] = LOADERS.map(sent);
            let s = if nodes == 1 { "" } else { "s" };
            writeln!(
                text,
                "| {nodes} node{s}, {step} | {ours:.2} | {kinds:.2} | {ctrs:.2} | {:.1} | \
                 {our_mib:.1} / {kinds_mib:.1} |",
                kinds / ours
            )?;
        }
    }
    if let (Some(few), Some(many)) = (cli.nodes.iter().min(), cli.nodes.iter().max())
        && few < many
    {
        let first = |loader, nodes| median((nodes, loader, STEPS[0]), |r| r.seconds);
        let [ours, kinds, ctrs] = LOADERS.map(|loader| first(loader, *many) / first(loader, *few));
        writeln!(
            text,
            "| first load, {many} nodes / {few} | {ours:.2} | {kinds:.2} | {ctrs:.2} | | |"
        )?;
    }
    Ok(text)
}

impl Bench {
    /// The three steps of one loader, with an image of its own.
    async fn round(&self, loader: &'static str) -> Result<[Reading; 3]> {
        let mut image = Image::new(&self.layers)?;
        image.load(&self.docker).await?;
        let first = self.load(loader, &image).await?;
        let unchanged = self.load(loader, &image).await?;
        image.change_top(*self.layers.last().expect("there must be layers"))?;
        image.load(&self.docker).await?;
        let changed = self.load(loader, &image).await?;
        self.has(&image).await?;
        self.clear(&image).await?;
        Ok([first, unchanged, changed])
    }

    /// kind asks a node's crictl whether an image is there already, and sends all of it to nodes
    /// that have none, as ours. A small CRI client answers in its place.
    async fn give_crictl(&self) -> Result<()> {
        for node in self.cluster.nodes() {
            let client = CriClient::install("0.34.0", node).await?;
            let socket = node.runtime().socket();
            let text = format!("#!/bin/sh\nexec {} {socket} \"$@\"\n", client.program());
            let crictl = FileEntry::new("/usr/local/bin/crictl", text).with_mode(0o755);
            node.write_files(&[crictl]).await?;
        }
        Ok(())
    }

    async fn load(&self, loader: &str, image: &Image) -> Result<Reading> {
        // A virtual machine gets its memory from its host when it first touches it, ten times
        // slower than afterwards: that is not what is compared.
        let bytes = image.bytes()? * 3 * self.cluster.nodes().len() as u64;
        let touched = image.folder.path().join("touched");
        io::copy(&mut io::repeat(1).take(bytes), &mut File::create(&touched)?)?;
        fs::remove_file(touched)?;
        // What was written to make the image must not be written while it is loaded.
        nix::unistd::sync();
        let begun = Instant::now();
        let mib = f64::from(1 << 20);
        let nodes = self.cluster.nodes().len() as f64;
        let sent_mib = match loader {
            "kubenest" => {
                let loaded = self.cluster.images().load(image.name.as_str()).await?;
                loaded
                    .nodes
                    .iter()
                    .map(|node| node.sent_bytes as f64 / mib)
                    .sum()
            }
            "kind" => {
                let output = self.kind.load(&self.cluster, &image.name).await?;
                ensure!(output.status.success(), "kind: {}", output.stderr);
                match output.stderr.contains("already present on all nodes") {
                    true => 0.0,
                    false => image.bytes()? as f64 / mib * nodes,
                }
            }
            _ => {
                self.save_and_import(image).await?;
                image.bytes()? as f64 / mib * nodes
            }
        };
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Reading { seconds, sent_mib })
    }

    /// What people write where there is no loader.
    async fn save_and_import(&self, image: &Image) -> Result<()> {
        const SCRIPT: &str = include_str!("bench/save-and-import.sh");
        let nodes = self.cluster.nodes().iter().map(|node| node.name());
        let mut command = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(engine::cli(kubenest::settings()).await?)
            .arg(&image.name)
            .args(nodes);
        for (name, value) in self.docker.endpoint().variables() {
            command = command.env(name, value);
        }
        command.run().await?;
        Ok(())
    }

    /// Every node has the newest image, unpacked: each loader must have done its work.
    async fn has(&self, image: &Image) -> Result<()> {
        let id = image.ids.last().context("it must have been loaded")?;
        for node in self.cluster.nodes() {
            let cri = node.cri().await?;
            let found = cri.image(&image.name).await?;
            let found = found.with_context(|| format!("{node} has no {}", image.name))?;
            ensure!(found.id == *id, "{node} has {} as {}", image.name, found.id);
        }
        Ok(())
    }

    async fn clear(&self, image: &Image) -> Result<()> {
        for node in self.cluster.nodes() {
            let argv = ["ctr", "-n", "k8s.io", "images", "rm", "--sync", &image.name];
            let ids = image.ids.iter().map(String::as_str);
            let argv: Vec<&str> = argv.into_iter().chain(ids).collect();
            node.exec_ok(&argv).await?;
        }
        self.docker.remove_image(&image.name).await?;
        for id in &image.ids {
            self.docker.remove_image(id).await?;
        }
        Ok(())
    }
}

impl Image {
    fn new(sizes: &[usize]) -> Result<Self> {
        let folder = tempfile::tempdir_in(&kubenest::settings().cache)?;
        let mut layers = Vec::new();
        for (at, size) in sizes.iter().enumerate() {
            layers.push(Layer::new(folder.path(), at, *size)?);
        }
        // Of its content, which no other image has.
        let name = format!("kubenest.local/bench:{}", &layers[0].digest[..16]);
        Ok(Self {
            name,
            folder,
            layers,
            ids: Vec::new(),
        })
    }

    fn change_top(&mut self, size: usize) -> Result<()> {
        let at = self.layers.len();
        self.layers.pop();
        self.layers.push(Layer::new(self.folder.path(), at, size)?);
        Ok(())
    }

    /// Into the engine.
    async fn load(&mut self, docker: &Docker) -> Result<()> {
        let diff_ids: Vec<String> = self
            .layers
            .iter()
            .map(|layer| format!("sha256:{}", layer.digest))
            .collect();
        let config = json!({
            "os": "linux", "architecture": architecture(),
            "config": {"Labels": Labels::new("small-image", &kubenest::settings().run).map()},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string();
        let id = sha256_hex(config.as_bytes());
        let names: Vec<String> = self
            .layers
            .iter()
            .map(|layer| format!("{}.tar", layer.digest))
            .collect();
        let manifest = json!([{
            "Config": format!("{id}.json"), "RepoTags": [self.name], "Layers": names,
        }]);
        let path = self.folder.path().join("image.tar");
        let mut tar = tar::Builder::new(File::create(&path)?);
        for (layer, name) in self.layers.iter().zip(&names) {
            tar.append_path_with_name(&layer.file, name)?;
        }
        for (name, text) in [
            (format!("{id}.json"), config),
            ("manifest.json".into(), manifest.to_string()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, name, text.as_bytes())?;
        }
        tar.into_inner()?;
        docker.load_archive(&path).await?;
        fs::remove_file(path)?;
        self.ids.push(format!("sha256:{id}"));
        Ok(())
    }

    /// Of all layers.
    fn bytes(&self) -> Result<u64> {
        let sizes = self
            .layers
            .iter()
            .map(|layer| Ok(fs::metadata(&layer.file)?.len()));
        sizes.sum()
    }
}

impl Layer {
    /// A tar of files of 1 MiB of random bytes.
    fn new(folder: &Path, at: usize, mib: usize) -> Result<Self> {
        let path = folder.join(format!("layer-{at}.tar"));
        let mut tar = tar::Builder::new(io::BufWriter::new(File::create(&path)?));
        let random = File::open("/dev/urandom")?;
        for file in 0..mib {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(1 << 20);
            let name = format!("layer-{at}/{file}");
            tar.append_data(&mut header, name, (&random).take(1 << 20))?;
        }
        tar.into_inner()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let mut hash = Sha256::new();
        let mut file = File::open(&path)?;
        let mut piece = vec![0; 1 << 20];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                read => hash.update(&piece[..read]),
            }
        }
        let digest = hex(&hash.finish());
        Ok(Self { file: path, digest })
    }
}

//! `test` and `report`: runs the tests of a cargo project, and makes reports of a run again.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use kubenest_runner::{
    Chosen, Front, Kubenest, Project, Request, RunArgs, Selection, exit, parse_duration, signals,
};

#[derive(Args)]
pub(crate) struct Test {
    /// Run only tests whose name, such as `package::module::test` or `file::module::test`,
    /// contains one of these
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Test this package [default: the one in this folder, else all that use kubenest]
    #[arg(short, long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// Test all packages of the workspace that use kubenest
    #[arg(long, conflicts_with = "packages")]
    workspace: bool,
    /// Test only this file of `tests/`
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
    /// Features to activate
    #[arg(short = 'F', long, value_name = "FEATURES")]
    features: Vec<String>,
    /// Activate all features
    #[arg(long)]
    all_features: bool,
    /// Do not activate the default feature
    #[arg(long)]
    no_default_features: bool,
    /// Build with optimizations
    #[arg(short, long)]
    release: bool,
    /// Hand this to cargo, for example --cargo-arg=--offline
    #[arg(long = "cargo-arg", value_name = "ARG", allow_hyphen_values = true)]
    cargo_args: Vec<String>,
    /// How long one test may take, without what has to be made for it first
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_duration)]
    timeout: Duration,
    /// Print the report as JSON, and all else on standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Args)]
pub(crate) struct Report {
    /// The folder of a run
    folder: PathBuf,
    /// Folders of further runs
    others: Vec<PathBuf>,
}

/// Runs the tests and prints an error if that fails.
pub(crate) fn run(test: &Test) -> ExitCode {
    exit_code(tokio::task::block_in_place(|| {
        signals::install()?;
        kubenest_runner::run(&test.request()?, &test.run)
    }))
}

/// Makes the reports of a run again.
pub(crate) fn report(report: &Report) -> ExitCode {
    exit_code(kubenest_runner::report(&report.folder, &report.others))
}

fn exit_code(ended: anyhow::Result<u8>) -> ExitCode {
    ExitCode::from(ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        signals::exit_code().unwrap_or(exit::USAGE)
    }))
}

impl Test {
    fn request(&self) -> anyhow::Result<Request> {
        let manifest = self.manifest_path.as_deref();
        let project = Project::find(manifest, &self.cargo_args)?;
        let named = match self.workspace {
            true => project.all()?,
            false => self.packages.clone(),
        };
        let packages = project.packages(&named, self.timeout)?;
        let names: Vec<_> = packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        Ok(Request {
            root: project.root(),
            folder: PathBuf::from("."),
            results: project.target().join("e2e"),
            build: self.build(&names),
            kubenest: Kubenest::At(std::env::current_exe()?),
            selection: Selection {
                chosen: self.chosen(),
                packages,
                side: None,
            },
            declares_all: false,
            front: front(manifest),
            json: self.json,
        })
    }

    /// The arguments for cargo.
    fn build(&self, packages: &[&str]) -> Vec<String> {
        let mut args = vec!["test".to_owned(), "--no-run".to_owned()];
        let mut option = |name: &str, value: &str| args.extend([name.into(), value.into()]);
        if let Some(path) = &self.manifest_path {
            option("--manifest-path", &path.display().to_string());
        }
        packages.iter().for_each(|name| option("--package", name));
        self.tests.iter().for_each(|name| option("--test", name));
        self.features
            .iter()
            .for_each(|some| option("--features", some));
        let flags = [
            (self.all_features, "--all-features"),
            (self.no_default_features, "--no-default-features"),
            (self.release, "--release"),
        ];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set);
        args.extend(flags.map(|(_, flag)| flag.to_owned()));
        args.extend(self.cargo_args.iter().cloned());
        args
    }

    fn chosen(&self) -> Vec<Chosen> {
        let of = |text| Chosen {
            package: None,
            text,
        };
        match self.filters.as_slice() {
            [] => vec![of(None)],
            filters => filters.iter().cloned().map(Some).map(of).collect(),
        }
    }
}

/// The commands that advice to users of this program shows.
fn front(manifest: Option<&Path>) -> Front {
    let manifest = manifest.map(|path| format!(" --manifest-path '{}'", path.display()));
    let manifest = manifest.unwrap_or_default();
    Front {
        again: Box::new(move |test| {
            let (package, name) = (&test.package.name, &test.name);
            let node = test.node().map(|node| format!(" --nodes {node}"));
            let node = node.unwrap_or_default();
            format!("kubenest test{manifest} -p {package} {name}{node} --keep")
        }),
        clean: "kubenest clean",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        test: Test,
    }

    fn parse(args: &str) -> Test {
        Cli::parse_from(std::iter::once("test").chain(args.split_whitespace())).test
    }

    #[test]
    fn what_cargo_knows_is_handed_to_cargo() {
        let test = parse("--manifest-path a/Cargo.toml --test upgrades -F x --release lost kept");
        let told = test.build(&["my-operator"]).join(" ");
        assert_eq!(
            told,
            "test --no-run --manifest-path a/Cargo.toml --package my-operator --test upgrades \
             --features x --release"
        );
        let test = parse("--cargo-arg=--locked --cargo-arg --offline");
        assert_eq!(
            test.build(&[]),
            ["test", "--no-run", "--locked", "--offline"]
        );
    }

    #[test]
    fn filters_choose_by_name_and_none_chooses_all() {
        let texts = |args: &str| -> Vec<_> {
            let chosen = parse(args).chosen();
            chosen.into_iter().map(|chosen| chosen.text).collect()
        };
        assert_eq!(texts(""), [None]);
        let two = ["lost", "kept"].map(|text| Some(text.to_owned()));
        assert_eq!(texts("lost kept"), two);
    }

    #[test]
    fn a_time_is_read_with_its_unit() {
        assert_eq!(parse("--timeout 90s").timeout, Duration::from_secs(90));
        assert_eq!(parse("").timeout, Duration::from_secs(900));
        assert!(Cli::try_parse_from(["test", "--timeout", "90"]).is_err());
    }
}

//! Whole runs of a small project's tests.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::*;
use crate::package::Package;
use crate::plan::{Chosen, Selection};
use crate::process;
use crate::project::Project;
use crate::request::Front;
use crate::sample::Sample;

/// Of the sample in the folder `root`.
fn request(root: &Path, package: &str, text: Option<&str>) -> Request {
    let offline = ["--offline".to_owned()];
    let manifest = root.join(package).join("Cargo.toml");
    let project = Project::find(Some(&manifest), &offline).unwrap();
    let limit = std::time::Duration::from_secs(60);
    let packages: Vec<Package> = project.packages(&[], limit).unwrap();
    let build = ["test", "--no-run", "--offline", "--package", package];
    Request {
        root: project.root(),
        folder: project.root(),
        results: root.join("results"),
        build: build.map(str::to_owned).into(),
        kubenest: Kubenest::At(root.join("program")),
        selection: Selection {
            packages,
            chosen: vec![Chosen {
                package: None,
                text: text.map(str::to_owned),
            }],
            side: None,
        },
        front: Front {
            again: Box::new(|test| format!("again {}", test.id())),
            clean: "clean",
        },
        json: false,
    }
}

fn latest(sample: &Sample) -> PathBuf {
    sample.path().join("results/latest")
}

fn report_of(sample: &Sample) -> Value {
    let text = std::fs::read(latest(sample).join("report.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// `target name verdict message`, of each test.
fn told(report: &Value) -> String {
    let tests = report["tests"].as_array().unwrap().iter();
    let lines = tests.map(|test| {
        let words = ["target", "test", "verdict", "message"];
        let words = words.map(|key| test[key].as_str().unwrap_or("-").replace('\n', " "));
        words.join("  ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_test_ends_with_the_verdict_that_it_left() {
    let sample = Sample::new();
    let code = run(
        &request(sample.path(), "operator", None),
        &RunArgs::default(),
    )
    .unwrap();
    assert_eq!(code, exit::SETUP_FAILED);
    let report = report_of(&sample);
    insta::assert_snapshot!(told(&report), @"
    lib-operator  it_adds  passed  -
    on_nodes  it_does_not_hold  failed  assertion `left == right` failed: one is two   left: 1  right: 2
    on_nodes  it_holds  passed  -
    on_nodes  it_is_left_out  ignored  -
    on_nodes  its_nodes_do_not_boot  setup  no engine
    ");
    let broken = &report["tests"][4];
    assert_eq!(broken["phases"]["boot"], 9.5);
    assert_eq!(broken["again"], "again operator::its_nodes_do_not_boot");
    let failed = &report["tests"][1];
    assert_eq!(failed["place"]["file"], "operator/tests/on_nodes.rs");

    // From the folder alone, the same reports come of it again.
    let made = std::fs::read(latest(&sample).join("report.html")).unwrap();
    for report in ["report.json", "report.html", "junit.xml"] {
        std::fs::remove_file(latest(&sample).join(report)).unwrap();
    }
    assert_eq!(super::report(&latest(&sample), &[]).unwrap(), code);
    assert_eq!(report_of(&sample), report);
    let again = std::fs::read(latest(&sample).join("report.html")).unwrap();
    assert!(made == again, "report.html differs");
    assert!(latest(&sample).join("junit.xml").is_file());
}

#[test]
fn a_name_narrows_the_run_and_one_of_no_test_is_told() {
    let sample = Sample::new();
    let named = |text| {
        run(
            &request(sample.path(), "operator", Some(text)),
            &RunArgs::default(),
        )
    };
    assert_eq!(named("operator::it_holds").unwrap(), exit::OK);
    assert_eq!(report_of(&sample)["totals"]["filtered_out"], 4);
    assert_eq!(named("on_nodes::it_does").unwrap(), exit::TEST_FAILED);
    assert_eq!(named("it_hodls").unwrap(), exit::NOTHING_RAN);
    assert_eq!(report_of(&sample)["nothing_ran"][0], "it_hodls");
}

#[test]
fn a_package_without_tests_and_one_that_does_not_build_are_no_success() {
    let sample = Sample::new();
    let run_empty = || run(&request(sample.path(), "empty", None), &RunArgs::default()).unwrap();
    assert_eq!(run_empty(), exit::NOTHING_RAN);
    assert!(!sample.path().join("results").exists(), "of no test");
    insta::assert_snapshot!(
        no_tests(&request(sample.path(), "empty", None)),
        @"NOTHING RAN  there is no test in empty, exit 4"
    );
    std::fs::write(sample.path().join("empty/src/lib.rs"), "no Rust").unwrap();
    assert_eq!(run_empty(), exit::SETUP_FAILED);
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn a_run_that_is_told_to_end() {
    signals::install().unwrap();
    let here = std::env::current_dir().unwrap();
    let code = run(&request(&here, "endless", None), &RunArgs::default()).unwrap();
    assert_eq!(code, 128 + Signal::SIGTERM as u8);
}

#[test]
fn an_interrupted_run_ends_its_tests_cleans_up_and_is_told() {
    let sample = Sample::new();
    let mut command = process::command(std::env::current_exe().unwrap());
    command
        .args(["--exact", "run::tests::a_run_that_is_told_to_end"])
        .args(["--ignored", "--nocapture"])
        .current_dir(sample.path())
        // Its words are those of a run, and not of the run that this test is a part of.
        .stdout(std::fs::File::create(sample.path().join("said")).unwrap())
        .stderr(std::fs::File::create(sample.path().join("told")).unwrap());
    let mut run = command.spawn().unwrap();
    let begun = sample.path().join("begun");
    let deadline = Instant::now() + std::time::Duration::from_secs(120);
    while !begun.exists() {
        assert!(
            run.try_wait().unwrap().is_none(),
            "it ended before its test"
        );
        assert!(Instant::now() < deadline, "waited 120 s for its test");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let process = Pid::from_raw(i32::try_from(run.id()).unwrap());
    kill(process, Signal::SIGTERM).unwrap();
    assert!(run.wait().unwrap().success());
    let asked = std::fs::read_to_string(sample.path().join("asked")).unwrap();
    let report = report_of(&sample);
    let clean = format!("clean --run {}", report["run"].as_str().unwrap());
    assert!(asked.lines().any(|line| line == clean), "{asked}");
    assert_eq!(report["tests"][0]["verdict"], "interrupted");
    assert_eq!(report["exit_code"], 143);
}

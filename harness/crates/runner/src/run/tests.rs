//! Tests: whole runs of a small project's tests.

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

/// A request for tests of the sample in the folder `root`.
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
        declares_all: false,
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

/// `target name verdict message` of each test, one line each.
fn verdict_lines(report: &Value) -> String {
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
    insta::assert_snapshot!(verdict_lines(&report), @"
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

    // The folder alone is enough to make the same reports again.
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
fn a_test_that_makes_what_nobody_prepared_gives_its_slot_to_another() {
    let sample = Sample::new();
    let args = RunArgs {
        jobs: std::num::NonZeroUsize::new(1),
        ..RunArgs::default()
    };
    let mut request = request(sample.path(), "making", None);
    for package in &mut request.selection.packages {
        package.limit = std::time::Duration::from_secs(600);
    }
    assert_eq!(run(&request, &args).unwrap(), exit::OK);
    let report = report_of(&sample);
    let making = &report["tests"][0];
    assert_eq!(making["unprepared"][0]["name"], "kind 9");
    let preparing = making["unprepared"][0]["seconds"].as_f64().unwrap();
    assert_eq!(making["phases"]["preparing"], preparing);
    assert_eq!(making["stints"].as_array().unwrap().len(), 2);
    let stints = making["stints"].as_array().unwrap().iter();
    let stints: f64 = stints.map(|stint| stint["seconds"].as_f64().unwrap()).sum();
    let own = making["seconds"].as_f64().unwrap();
    assert!(
        (own - stints).abs() < 0.5,
        "{own} s and {stints} s in slots"
    );
    assert!(
        report["tests"][1].get("stints").is_none(),
        "it kept its slot"
    );
}

#[test]
fn a_run_on_several_nodes_is_one_run_with_a_column_for_each() {
    let sample = Sample::new();
    let answer = |text: &str| std::fs::write(sample.path().join("nodes"), text).unwrap();
    answer(
        r#"{"event": "recalled", "memory": {"tests": {}}, "nodes": [
            {"name": "old", "versions": {}}, {"name": "new", "versions": {}}]}"#,
    );
    let args = RunArgs {
        nodes: vec!["1.0".to_owned(), "latest".to_owned()],
        ..RunArgs::default()
    };
    let request = request(sample.path(), "operator", Some("on_nodes::it_holds"));
    assert_eq!(run(&request, &args).unwrap(), exit::TEST_FAILED);
    let report = report_of(&sample);
    assert_eq!(report["nodes"][1]["name"], "new");
    let lines = report["tests"].as_array().unwrap().iter();
    let lines =
        lines.map(|test| format!("{} on {}: {}", test["test"], test["node"], test["verdict"]));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    "it_holds" on "new": "passed"
    "it_holds" on "old": "failed"
    "#);
    let page = std::fs::read_to_string(latest(&sample).join("report.html")).unwrap();
    assert!(page.contains("Fails on some nodes only"), "{page}");
    let asked = std::fs::read_to_string(sample.path().join("asked")).unwrap();
    assert!(
        asked.starts_with("prepare --json --recall --nodes=1.0 --nodes=latest\n"),
        "{asked}"
    );

    answer(r#"{"event": "refused", "message": "no recipe is named 1.0", "usage": true}"#);
    let error = run(&request, &args).unwrap_err().to_string();
    assert_eq!(error, "--nodes: no recipe is named 1.0");
}

#[test]
fn what_is_prepared_has_its_own_time_in_the_reports() {
    let sample = Sample::new();
    let events = sample.path().join("events");
    let piece = r#"{"name": "kind 9", "how": "Go build", "seconds": 40.0, "measured": false}"#;
    let plan = format!(
        r#"{{"event": "plan", "pieces": [{piece}], "seconds": 40.0, "needs": {{}}, "memory": {{"tests": {{}}}}}}"#
    );
    let made = r#"{"event": "made", "piece": 0, "seconds": 31.25}"#;
    let started = r#"{"event": "started", "piece": 0}"#;
    std::fs::write(&events, format!("{plan}\n{started}\n{made}\n")).unwrap();
    let run_one = || {
        let request = request(sample.path(), "operator", Some("it_holds"));
        run(&request, &RunArgs::default())
    };
    assert_eq!(run_one().unwrap(), exit::OK);
    let report = report_of(&sample);
    let piece = &report["preparing"][0]["pieces"][0];
    assert_eq!(
        (piece["name"].as_str(), piece["seconds"].as_f64()),
        (Some("kind 9"), Some(31.25))
    );
    let junit = std::fs::read_to_string(latest(&sample).join("junit.xml")).unwrap();
    assert!(junit.contains("kubenest.preparing.seconds"), "{junit}");
    let asked = std::fs::read_to_string(sample.path().join("asked")).unwrap();
    assert!(
        asked.starts_with("prepare --json --for "),
        "before all else: {asked}"
    );

    let refused = r#"{"event": "refused", "message": "nothing is named 'x'", "usage": true}"#;
    std::fs::write(&events, refused).unwrap();
    let error = run_one().unwrap_err().to_string();
    assert_eq!(error, "nothing is named 'x'");
    std::fs::write(&events, refused.replace("true", "false")).unwrap();
    assert_eq!(
        run_one().unwrap(),
        exit::OK,
        "tests say themselves what they lack"
    );
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
        no_tests_message(&request(sample.path(), "empty", None)),
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
        // The output is that of the inner run, and must not mix with the output of this test's own
        // run.
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

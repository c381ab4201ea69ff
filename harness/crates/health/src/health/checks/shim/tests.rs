//! Where shims are looked for, what they answer, and how that is judged.

use kubenest_base::wait::with_factor;

use super::generation::tests::ANSWERS;
use super::*;
use crate::health::{
    checks::tests::{self, fires, silent},
    report::Verdict,
};

/// A shim that answers in the format of its version.
pub(in super::super) fn shim(version: &str) -> Shim {
    let generation = Generation::of(version).expect("must be a version");
    let answer = ANSWERS.iter().find(|(of, _)| *of == generation);
    let (_, answer) = answer.expect("every generation must have an answer");
    shim_that(version, Ok(answer))
}

fn shim_that(version: &str, answer: Result<&[u8], &str>) -> Shim {
    Shim {
        runtime: "runc".to_owned(),
        found: Some(FoundShim {
            path: "/bin/shim".to_owned(),
            version: version.to_owned(),
            answer: answer.map(<[u8]>::to_vec).map_err(str::to_owned),
        }),
    }
}

fn daemon() -> Daemon {
    Daemon {
        exe: "/usr/local/bin/containerd (deleted)".to_owned(),
        cwd: "/".to_owned(),
        path: "/opt/bin::rel:/usr/bin".to_owned(),
    }
}

fn runtime(kind: &str, path: &str) -> OciRuntime {
    OciRuntime {
        runtime_type: kind.to_owned(),
        runtime_path: path.to_owned(),
        ..OciRuntime::default()
    }
}

#[test]
fn a_named_shim_is_looked_for_in_cwd_then_path_then_beside_the_daemon() {
    let found = candidates(&runtime("io.containerd.runc.v2", ""), &daemon(), "1.7.24");
    let expected = ["", "/opt/bin", "/usr/bin", "/usr/local/bin"]
        .map(|folder| format!("{folder}/containerd-shim-runc-v2"));
    assert_eq!(found.expect("must resolve"), expected);
}

#[test]
fn a_runtime_path_wins_where_the_daemon_honours_it() {
    let runtime = runtime("io.containerd.runc.v2", "/opt/shim");
    for (version, honoured) in [
        ("1.6.20~ds1", false),
        ("1.6.21", true),
        ("1.7.0", false),
        ("v1.7.1", true),
        ("2.0.2", true),
    ] {
        let found = candidates(&runtime, &daemon(), version).expect("must resolve");
        assert_eq!(found == ["/opt/shim"], honoured, "{version}");
    }
}

#[test]
fn an_absolute_type_is_the_shim_and_a_relative_one_is_an_error() {
    let absolute = candidates(&runtime("/abs/shim", ""), &daemon(), "1.6.20");
    assert_eq!(absolute.expect("must resolve"), ["/abs/shim"]);
    assert!(
        candidates(
            &runtime("bin/io.containerd.runc.v2", ""),
            &daemon(),
            "2.0.2"
        )
        .is_err()
    );
    assert!(candidates(&runtime("runc", ""), &daemon(), "2.0.2").is_err());
}

#[tokio::test]
async fn shims_name_their_path_and_version_and_answer() {
    let parse = |status, stdout: &[u8], stderr: &str| {
        Shim::parse("runc", &ExecOutput::new(status, stdout, stderr)).map(|shim| shim.found)
    };
    let told = "/usr/bin/containerd-shim-runc-v2\ncontainerd-shim-runc-v2:\n  \
                Version:  1.6.20~ds1\n  Revision:\n\n@@answer\n";
    let answered = [told.as_bytes(), b"\x08\x03\x12\xff"].concat();
    let found = parse(0, &answered, "")
        .expect("must parse")
        .expect("must be found");
    assert_eq!(found.path, "/usr/bin/containerd-shim-runc-v2");
    assert_eq!(found.version, "1.6.20~ds1");
    assert_eq!(found.answer.as_deref(), Ok(b"\x08\x03\x12\xff".as_slice()));

    let failed = [told.as_bytes(), b"no socket\n"].concat();
    let found = parse(1, &failed, "")
        .expect("must parse")
        .expect("must be found");
    assert_eq!(found.answer, Err("status 1: no socket".to_owned()));
    let late = with_factor(1.0, async { parse(137, told.as_bytes(), "") }).await;
    let late = late.map(|found| found.map(|found| found.answer));
    let late = late.expect("must parse").expect("must be found");
    insta::assert_snapshot!(
        late.unwrap_err(),
        @"it was killed, as is one that has not answered within 10 s"
    );
    assert_eq!(parse(0, b"", ""), Ok(None));
    insta::assert_snapshot!(
        parse(1, b"/usr/bin/shim\n", "unshare: not permitted").unwrap_err(),
        @"the shim was not tried (status 1): unshare: not permitted"
    );
    assert!(parse(137, b"", "").is_err());
}

#[test]
fn shim_may_be_older_than_the_daemon_and_never_newer() {
    let versions = ["1.6.20", "1.7.24", "2.0.2", "2.2.1", "2.3.1"];
    let generation = [0, 0, 1, 1, 2];
    for (daemon, at) in versions.iter().zip(generation) {
        for (version, of_shim) in versions.iter().zip(generation) {
            let mut facts = tests::good();
            facts.cri.version.as_mut().unwrap().runtime_version = (*daemon).to_owned();
            facts.shims = Ok(vec![shim(version)]);
            let verdict = tests::judge("shim", &facts, &Expected::default()).verdict;
            assert_eq!(
                verdict == Verdict::Passed,
                of_shim <= at,
                "{version} under {daemon}"
            );
        }
    }
    let finding = fires("shim", |facts| {
        facts.shims = Ok(vec![shim("2.0.2"), shim("v2.3.0")])
    });
    insta::assert_snapshot!(finding.observed.replace(", ", ",\n"), @r"
    shim v2.3.0 at /bin/shim answers in protobuf (2.3 and newer),
    daemon v2.0.2 reads JSON (2.0 to 2.2): no pod can start
    ");
    fires("shim", |facts| {
        facts.shims.as_mut().unwrap()[0].found = None
    });
    let mut facts = tests::good();
    facts.shims = Ok(Vec::new());
    assert!(matches!(
        tests::judge("shim", &facts, &Expected::default()).verdict,
        Verdict::Skipped(_)
    ));
}

#[test]
fn shim_is_judged_by_its_answer_whatever_version_it_names() {
    let [_, (_, json), (_, protobuf)] = ANSWERS;
    fires("shim", |facts| {
        facts.shims = Ok(vec![shim_that("2.0.2", Ok(protobuf))])
    });
    silent(|facts| facts.shims = Ok(vec![shim_that("2.3.4", Ok(json))]));
    silent(|facts| facts.shims = Ok(vec![shim_that("", Ok(json))]));
    let mut facts = tests::good();
    facts.shims = Ok(vec![shim_that("2.0.2", Ok(b"a warning"))]);
    assert_eq!(
        tests::judge("shim", &facts, &Expected::default()).verdict,
        Verdict::Unknown
    );
    let broken = shim_that("2.0.2", Err("status 127: not found"));
    let finding = fires("shim", |facts| facts.shims = Ok(vec![broken]));
    insta::assert_snapshot!(
        finding.observed,
        @"shim 2.0.2 at /bin/shim fails under daemon v2.0.2: status 127: not found"
    );
}

#[test]
fn shim_cure_names_the_setting_that_the_daemon_heeds() {
    for (version, setting) in [("1.6.20", "runtime_type"), ("1.7.24", "runtime_path")] {
        let mut facts = tests::good();
        facts.cri.version.as_mut().unwrap().runtime_version = version.to_owned();
        let cure = tests::judge("shim", &facts, &Expected::default()).cure;
        assert!(cure.is_some_and(|cure| cure.contains(setting)), "{version}");
    }
}

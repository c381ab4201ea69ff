//! How this machine forwards packets while embedded engines run, and afterwards.

use kubenest_base::process::Command;

/// Runs in a network namespace of its own, because other tests need this machine's forwarding.
#[tokio::test]
async fn the_machine_forwards_packets_only_while_engines_run() {
    let folder = tempfile::tempdir().unwrap();
    let told = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(env!("CARGO_BIN_EXE_routing"))
        .arg(folder.path())
        .run()
        .await
        .unwrap()
        .stdout;
    let seen: Vec<_> = told
        .lines()
        .map(|line| {
            let told: serde_json::Value = serde_json::from_str(line).unwrap();
            let flags = ["forwards", "forwards6", "ours"].map(|name| told[name] == true);
            let words = ["step", "policy"].map(|name| told[name].as_str().unwrap().to_owned());
            (words, flags)
        })
        .collect();
    let (accept, drop) = ("-P FORWARD ACCEPT", "-P FORWARD DROP");
    let expected = [
        (["before", accept], [false, false, false]),
        (["one runs", drop], [true, false, true]),
        (["the other runs", drop], [true, false, true]),
        (["after both", accept], [false, false, false]),
        (["needed by another", drop], [true, false, true]),
        (["not needed any more", accept], [false, false, false]),
        (["a router", accept], [true, false, true]),
        (["a router as before", accept], [true, false, false]),
    ];
    let expected = expected.map(|(words, flags)| (words.map(str::to_owned), flags));
    assert_eq!(seen, expected);
}

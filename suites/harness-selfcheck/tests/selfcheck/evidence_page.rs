//! The evidence page in a real browser, with as many lines as a large failure has.

#![expect(
    clippy::print_stdout,
    reason = "times and pictures are for whoever works on the page"
)]

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result};
use harness_selfcheck::browser::Page as Browser;
use kubenest::k8s_openapi::jiff::Timestamp;
use kubenest_evidence::page::{self, Entry, FileLink, Lane, Level, Line, Missing, Page, PageCause};

const LINES: usize = 50_000;
/// Texts whose effect on the page would be visible: scripts, markup, terminal escapes.
const HOSTILE: [&str; 4] = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror=\"window.hacked = 1\"><!-- <b>not bold</b>",
    "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} \u{9b}2J \u{202e}drawkcab",
    "{data}{script}${window.hacked = 1}`",
];
const REFUSED: &str = "failed to start shim: start failed: unsupported shim version (3)";

/// The time of the first line, 21 November 2026, 12:00:00 UTC, in microseconds.
const START: i64 = 1_795_262_400_000_000;

#[tokio::test]
async fn fifty_thousand_lines_are_read_filtered_and_searched() -> Result<()> {
    let begin = Instant::now();
    let html = page::render(&large_failure());
    println!("rendered {} bytes in {:?}", html.len(), begin.elapsed());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("evidence-page.html");
    fs::write(&file, html)?;
    let mut page = Browser::open(1440, 900).await?;

    let begin = Instant::now();
    page.go(&file, "").await?;
    println!("loaded in {:?}", begin.elapsed());
    assert_eq!(page.text("#shown").await?, "50,000 of 50,000 lines");
    assert_eq!(page.text("h1").await?, "image-gc::fixed::is_kept");
    let rows = page
        .value("document.querySelectorAll('.row').length")
        .await?;
    assert!(
        rows.as_u64().context("a number")? < 100,
        "{rows} rows are in the page"
    );

    check_search(&mut page).await?;
    check_filters(&mut page).await?;
    check_keys_and_links(&mut page, &file).await?;
    check_hostile_lines_stay_text(&mut page, &file).await?;
    print_times(&mut page).await?;
    assert_eq!(page.errors_and_requests(), Vec::<String>::new());
    take_pictures(&mut page, &file).await
}

/// Checks that the search box searches every line.
async fn check_search(page: &mut Browser) -> Result<()> {
    page.click("#query").await?;
    page.write("Needle").await?;
    page.until(SHOWN, "3 of 50,000 lines").await?;
    assert_eq!(
        page.text("#rows .row:first-child .text").await?,
        "needle one of three"
    );
    assert_eq!(page.text("#rows mark").await?, "needle");

    page.click("#regex").await?;
    page.press("/").await?;
    page.write(r"needle (one|two)\b").await?;
    page.until(SHOWN, "2 of 50,000 lines").await?;
    page.write(" (").await?;
    page.until(
        "$('problem').textContent",
        "This is no regular expression yet.",
    )
    .await?;
    page.until("$('query').getAttribute('aria-invalid')", "true")
        .await?;
    page.click("#reset").await?;
    page.until(SHOWN, "50,000 of 50,000 lines").await
}

/// Checks that a click hides sources, nodes and levels, and that the counts on the switches are
/// right.
async fn check_filters(page: &mut Browser) -> Result<()> {
    let kubelet = "#sources .chip:has(.dot.kubelet)";
    assert_eq!(page.text(&format!("{kubelet} small")).await?, "20,000");
    page.click(kubelet).await?;
    page.until(SHOWN, "30,000 of 50,000 lines").await?;
    page.until("document.querySelectorAll('.row .kubelet').length", 0)
        .await?;
    page.click("#nodes .chip:last-child").await?;
    page.until(SHOWN, "15,000 of 50,000 lines").await?;
    page.value("$('level').value = '0'; $('level').dispatchEvent(new Event('change'))")
        .await?;
    page.until(SHOWN, "1 of 50,000 lines").await?;
    page.until(
        "location.hash",
        "#level=error&without=kubelet&node-without=worker",
    )
    .await?;
    page.click("#reset").await?;
    page.until(SHOWN, "50,000 of 50,000 lines").await
}

/// Checks the links from causes to lines, the keys, and that the address restores the view.
async fn check_keys_and_links(page: &mut Browser, file: &Path) -> Result<()> {
    page.click("#diagnosis .support button").await?;
    page.until("document.activeElement.id", "list").await?;
    let selected = "document.querySelector('.row[aria-selected=true] .text')?.textContent";
    let refused = page.value(selected).await?;
    assert!(
        refused.as_str().is_some_and(|text| text.contains(REFUSED)),
        "{refused}"
    );
    page.press("Enter").await?;
    page.until("$('detail').hidden", false).await?;
    page.press("Escape").await?;
    page.until("$('detail').hidden", true).await?;
    page.press("ArrowDown").await?;
    page.until(selected, "GET /healthz 200 25008").await?;
    page.press("E").await?;
    page.until(selected, refused).await?;
    page.press("[").await?;
    page.until(SHOWN, "24,993 of 50,000 lines").await?;
    page.until("$('range').textContent", "25.0 s of 50.0 s")
        .await?;
    page.click("#reset").await?;
    page.until(SHOWN, "50,000 of 50,000 lines").await?;
    page.press("t").await?;
    page.until("location.hash", "#clock=relative&at=25007")
        .await?;
    page.press("/").await?;
    page.write("needle").await?;
    page.until("location.hash", "#q=needle&clock=relative&at=25007")
        .await?;

    page.go(file, "q=needle&without=pod&clock=relative&at=nonsense")
        .await?;
    page.until(SHOWN, "2 of 50,000 lines").await?;
    page.until("$('query').value", "needle").await?;
    page.until(
        "document.querySelector('.row .at').textContent",
        "+10.000 s",
    )
    .await
}

/// Checks that hostile output of a container is shown as text and has no effect.
async fn check_hostile_lines_stay_text(page: &mut Browser, file: &Path) -> Result<()> {
    page.go(
        file,
        "without=kubelet&without=containerd&without=event&q=hostile",
    )
    .await?;
    page.until(SHOWN, "4 of 50,000 lines").await?;
    for (row, wanted) in [
        (1, "hostile </script><script>window.hacked = 1</script>"),
        (
            2,
            r#"hostile <img src=x onerror="window.hacked = 1"><!-- <b>not bold</b>"#,
        ),
        (3, r"hostile red  \x9b2J \u{202e}drawkcab"),
        (4, "hostile {data}{script}${window.hacked = 1}`"),
    ] {
        let row = format!("document.querySelector('.row:nth-child({row}) .text').textContent");
        assert_eq!(page.value(&row).await?, wanted);
    }
    assert_eq!(page.value("typeof window.hacked").await?, "undefined");
    assert_eq!(page.value("document.scripts.length").await?, 2);
    assert_eq!(page.value("document.images.length").await?, 0);
    Ok(())
}

/// Prints how long the page takes for a reader's actions; not asserted, because machines differ.
async fn print_times(page: &mut Browser) -> Result<()> {
    page.click("#reset").await?;
    for (what, doing) in [
        (
            "search",
            "$('query').value = 'needle'; $('query').dispatchEvent(new Event('input'))",
        ),
        (
            "search of what is in every line",
            "$('query').value = 'o'; $('query').dispatchEvent(new Event('input'))",
        ),
        (
            "regular expression",
            "$('query').value = 'n.*e$'; $('regex').click()",
        ),
        ("all lines again", "$('reset').click()"),
        (
            "scroll to the middle",
            "$('list').scrollTop = $('list').scrollHeight / 2; showRows()",
        ),
    ] {
        let timed = format!(
            "(() => {{ const begin = performance.now(); {doing};
             document.body.offsetHeight; return performance.now() - begin; }})()"
        );
        println!(
            "{what}: {:.1} ms",
            page.value(&timed).await?.as_f64().context("a time")?
        );
    }
    Ok(())
}

/// Takes pictures for developers of the page, beside it in target/tmp.
async fn take_pictures(page: &mut Browser, file: &Path) -> Result<()> {
    let picture = |name: &str| file.with_file_name(format!("evidence-page-{name}.png"));
    page.go(file, "").await?;
    page.click("#diagnosis .support button").await?;
    page.press("Enter").await?;
    page.picture("light", &picture("light")).await?;
    page.picture("dark", &picture("dark")).await?;
    println!("see {}", file.display());
    Ok(())
}

/// The counter beside the search box.
const SHOWN: &str = "document.getElementById('shown').textContent";

/// A failure with all possible parts of evidence.
fn large_failure() -> Page {
    Page {
        title: "image-gc::fixed::is_kept".into(),
        case: Some("case-x7k2p".into()),
        reason: "test failed".into(),
        message: format!(
            "pod 'a' is not Ready after 60 s: ContainerCreating\n{}",
            HOSTILE[0]
        ),
        expected: Some("pod 'a' Ready on worker".into()),
        observed: Some("FailedCreatePodSandBox, 4 times".into()),
        versions: [
            ("containerd", "1.7.24"),
            ("kubernetes", "1.32.1"),
            ("runc", "1.1.5"),
        ]
        .map(|(name, version)| (name.into(), version.into()))
        .into(),
        made: Timestamp::from_microsecond(START + 60_000_000).unwrap_or_default(),
        diagnosis: vec![stale_daemon()],
        entries: (0..LINES).map(line).collect(),
        files: [
            (
                "nodes/worker/containerd.log",
                "containerd's journal",
                4_200_000,
                true,
            ),
            (
                "nodes/worker/kubelet.log",
                "the kubelet's journal",
                912_000,
                false,
            ),
            (
                "nodes/control-plane/kernel.log",
                "the kernel's log",
                48_213,
                false,
            ),
            (
                "api/events.json",
                "events of the test and of kube-system",
                20_441,
                false,
            ),
            ("kubenest.lock", "what the nodes are made of", 2_113, false),
        ]
        .map(|(path, what, bytes, cut)| FileLink {
            path: path.into(),
            what: what.into(),
            bytes,
            cut,
        })
        .into(),
        missing: vec![Missing {
            name: "kernel log".into(),
            node: "worker".into(),
            error: "no answer within 10 s".into(),
        }],
    }
}

fn stale_daemon() -> PageCause {
    PageCause {
        id: "shim-newer-than-daemon".into(),
        title: "the shim is newer than containerd".into(),
        cause: "the shim on node worker speaks version 3 of its protocol; containerd 1.7.24 \
                    was started before it was put there, and speaks version 2."
            .into(),
        cure: "restart containerd on the node, or take a shim of its own release.".into(),
        links: vec!["https://github.com/containerd/containerd/issues/1".into()],
        count: 4,
        lines: vec![Line {
            place: "nodes/worker/containerd.log:8412".into(),
            node: "worker".into(),
            at_us: None,
            text: format!("RunPodSandbox for \"a\" failed error={REFUSED}"),
            matched: "unsupported shim version (3)".into(),
        }],
    }
}

/// One line per millisecond; of five lines two are the kubelet's, one containerd's, one a pod's,
/// one the kernel's.
fn line(at: usize) -> Entry {
    let mut level = Level::Info;
    let (mut source, mut text) = match at % 5 {
        0 | 1 => (
            Lane::Kubelet,
            format!(
                r#""SyncLoop (PLEG): event for pod" pod="kube-system/coredns-{at:010x}" event={{"ID":"{at:08}-0000-4000-8000-000000000000","Type":"ContainerStarted","Data":"{at:064x}"}}"#
            ),
        ),
        2 => (
            Lane::Containerd,
            format!("StartContainer for \"{at:064x}\" returns successfully"),
        ),
        3 => (Lane::Pod, format!("GET /healthz 200 {at}")),
        _ => (
            Lane::Kernel,
            format!("cni0: port 7(veth{at:08x}) entered forwarding state"),
        ),
    };
    let mut node = if at.is_multiple_of(2) {
        "control-plane"
    } else {
        "worker"
    };
    match at {
        10_000 => text = "needle one of three".into(),
        20_002 => text = "needle two of three".into(),
        40_003 => text = "Needle three of three".into(),
        25_007 => {
            level = Level::Error;
            text = format!(
                r#"time="2026-11-21T12:00:25Z" level=error msg="RunPodSandbox for \"a\" failed" error="{REFUSED}""#
            );
        }
        30_004 => {
            level = Level::Error;
            text = "oom-kill: constraint=CONSTRAINT_MEMCG, task=coredns".into();
        }
        31_003 | 31_008 | 31_013 | 31_018 => {
            text = format!("hostile {}", HOSTILE[(at - 31_003) / 5]);
        }
        _ if at % 1000 == 1 => {
            level = Level::Error;
            text = format!("\"Error syncing pod, skipping\" pod=\"default/a\" count={at}");
        }
        _ if at % 100 == 2 => level = Level::Warning,
        _ if at % 1000 == 4 => {
            (source, node) = (Lane::Step, "");
            text = format!("step {} of the test", at / 1000);
        }
        _ if at % 500 == 9 => {
            source = Lane::Event;
            text = "FailedCreatePodSandBox pod/a: failed to create pod sandbox".into();
        }
        _ => {}
    }
    Entry {
        at_us: START + at as i64 * 1000,
        source,
        node: node.into(),
        level,
        text,
    }
}

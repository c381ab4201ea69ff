//! A headless Chromium, used as a reader would: with pointer and keys, and by the text on the page.
//!
//! It is controlled by the DevTools protocol through two pipes, which needs no port.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use kubenest::{ErrorKind, wait::Probe};
use kubenest_base::wait;
use kubenest_fixtures::browser::Chromium;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

/// Chromium reads commands on descriptor 3 and answers on descriptor 4.
const PIPE_SCRIPT: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// A page in a browser of its own.
pub struct Page {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    calls: u64,
    session: Option<String>,
    /// Events that the browser has sent.
    events: Vec<Value>,
    // Dropped in this order: the browser writes to its profile until it ends.
    _browser: Child,
    _profile: TempDir,
}

impl Page {
    /// Starts a browser and opens an empty page of this size.
    pub async fn open(width: u32, height: u32) -> Result<Self> {
        let chromium = Chromium::headless().await?;
        let profile = tempfile::tempdir()?;
        #[expect(clippy::disallowed_methods, reason = "it is spoken to while it runs")]
        let mut command = Command::new("sh");
        command
            .args(["-c", PIPE_SCRIPT, "sh"])
            .arg(chromium.program())
            .args(["--headless", "--remote-debugging-pipe", "--no-first-run"])
            // Chromium has no sandbox for root; it only shows our own page.
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .envs(chromium.variables())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut browser = command.spawn().context("start the browser")?;
        let mut page = Self {
            to: browser.stdin.take().context("its input is piped")?,
            from: BufReader::new(browser.stdout.take().context("its output is piped")?),
            calls: 0,
            session: None,
            events: Vec::new(),
            _browser: browser,
            _profile: profile,
        };
        let target = json!({"url": "about:blank", "width": width, "height": height});
        let target = page.call("Target.createTarget", target).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = page.call("Target.attachToTarget", attach).await?;
        page.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({})).await?;
        }
        let events = json!({"enabled": true});
        page.call("Page.setLifecycleEventsEnabled", events).await?;
        Ok(page)
    }

    /// Opens a file, with `hash` as the URL's fragment.
    pub async fn go(&mut self, file: &Path, hash: &str) -> Result<()> {
        // A URL that differs only in its fragment would not be loaded again.
        for url in [
            "about:blank".to_owned(),
            format!("file://{}#{hash}", file.display()),
        ] {
            self.events.clear();
            let opened = self.call("Page.navigate", json!({"url": url})).await?;
            // An event without this identifier may tell of the page before.
            let is_loaded = |event: &Value| {
                let said = &event["params"];
                event["method"] == "Page.lifecycleEvent"
                    && said["name"] == "load"
                    && said["loaderId"] == opened["loaderId"]
            };
            while !self.events.iter().any(is_loaded) {
                let answer = self.receive().await?;
                self.events.push(answer);
            }
        }
        Ok(())
    }

    /// The value of an expression in the page.
    pub async fn value(&mut self, expression: &str) -> Result<Value> {
        let what = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", what).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("'{expression}' throws {thrown}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// The text the page shows in the element of this selector.
    pub async fn text(&mut self, selector: &str) -> Result<String> {
        let look = format!("document.querySelector({})?.innerText", json!(selector));
        let found = self.value(&look).await?;
        Ok(found
            .as_str()
            .with_context(|| format!("no element '{selector}'"))?
            .to_owned())
    }

    /// Waits until an expression has a value.
    ///
    /// # Panics
    /// When it does not get the value in time, which fails the test.
    pub async fn until(&mut self, expression: &str, wanted: impl Into<Value>) -> Result<()> {
        let wanted = wanted.into();
        let what = format!("{expression} is {wanted}");
        let (page, wanted) = (&Mutex::new(self), &wanted);
        let look = || async move {
            match page.lock().await.value(expression).await {
                Ok(value) if value == *wanted => Probe::Ready(()),
                Ok(value) => Probe::Pending(value.to_string()),
                Err(error) => Probe::Failed(kubenest::Error::setup(error.to_string())),
            }
        };
        match wait::until(&what, Duration::from_secs(60), look).await {
            Err(error) if error.kind() == ErrorKind::Timeout => panic!("{error}"),
            ended => Ok(ended?),
        }
    }

    /// Clicks on the middle of an element.
    pub async fn click(&mut self, selector: &str) -> Result<()> {
        let middle = format!(
            "(() => {{ const box = document.querySelector({}).getBoundingClientRect();
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let at = self.value(&middle).await?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// Presses a key, such as `e` or `Escape`.
    pub async fn press(&mut self, key: &str) -> Result<()> {
        let text = if key.chars().count() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "text": text});
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Types a text at the focus, replacing the selection.
    pub async fn write(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({"text": text})).await?;
        Ok(())
    }

    /// Takes a picture of the page in the colour scheme `light` or `dark`.
    pub async fn picture(&mut self, scheme: &str, file: &Path) -> Result<()> {
        let scheme = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": scheme}))
            .await?;
        // The density strip is only redrawn in the next frame.
        self.value(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
        )
        .await?;
        let answer = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await?;
        let png = answer["data"].as_str().context("a picture")?;
        tokio::fs::write(file, BASE64_STANDARD.decode(png)?).await?;
        Ok(())
    }

    /// Errors in the page since it was opened, and its network requests.
    pub fn errors_and_requests(&self) -> Vec<String> {
        let wrong = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Log.entryAdded" | "Page.javascriptDialogOpening") => {
                true
            }
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Network.requestWillBeSent") => event["params"]["type"] != "Document",
            _ => false,
        };
        self.events
            .iter()
            .filter(wrong)
            .map(Value::to_string)
            .collect()
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&call)?;
        bytes.push(0);
        self.to
            .write_all(&bytes)
            .await
            .context("speak to the browser")?;
        loop {
            let mut answer = self.receive().await?;
            if answer["id"] != self.calls {
                self.events.push(answer);
                continue;
            }
            if let Some(error) = answer.get("error") {
                bail!("the browser refuses {method}: {error}");
            }
            return Ok(answer["result"].take());
        }
    }

    async fn receive(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        let read = self.from.read_until(0, &mut bytes);
        let read = wait::at_most(Duration::from_secs(60), read).await;
        if read.context("the browser says nothing for a minute")?? == 0 {
            bail!("the browser ended");
        }
        bytes.pop();
        Ok(serde_json::from_slice(&bytes)?)
    }
}

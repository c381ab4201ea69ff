//! Prints panics without secrets, because others can read the log.

use std::{
    any::Any,
    collections::BTreeSet,
    panic,
    sync::{Mutex, Once, PoisonError},
    thread,
};

use super::secrets::with_patterns;
use kubenest_base::settings::Settings;

/// The redaction patterns of all settings that this process uses. A panic does not say which
/// settings it belongs to.
static PATTERNS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on panics of this process are printed without secrets, including those that these
/// settings name. A panic without a secret is printed as before.
pub(super) fn redact(settings: &Settings) {
    static ONCE: Once = Once::new();
    // A panicking thread cannot set the panic hook.
    if thread::panicking() {
        return;
    }
    patterns(settings.redact.clone());
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            match redacted_if_secret(&panic_message(info.payload())) {
                None => usual(info),
                Some(shown) => print(info, &shown),
            }
        }));
    });
}

/// Adds patterns, and returns all that are known.
fn patterns(added: Option<String>) -> String {
    let mut known = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(added);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    known.join("\n")
}

/// The redacted message, if there is a secret in it.
fn redacted_if_secret(words: &str) -> Option<String> {
    let shown = with_patterns(Some(&patterns(None))).map(|redactor| redactor.redact(words));
    let shown = shown.unwrap_or_else(|_| "its words cannot be redacted".to_owned());
    (shown != words).then_some(shown)
}

#[expect(
    clippy::print_stderr,
    reason = "panics are told there, and libtest keeps those of tests that pass"
)]
fn print(info: &panic::PanicHookInfo, shown: &str) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let place = info.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    eprintln!("\nthread '{name}' panicked at {place}:\n{shown}");
}

/// What a panic says.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::secrets::learn;
    use kubenest_base::process::Command;

    #[test]
    #[ignore = "run by the test below"]
    fn one_that_says_a_secret() {
        learn(BTreeSet::from(["Zx9!,correct-horse".to_owned()]));
        let own = Settings::from_env();
        let mut other = own.clone();
        other.redact = Some("DEP-[0-9]+".into());
        redact(&own);
        redact(&other);
        panic!("EMP-42 of DEP-7 said Zx9!,correct-horse and token=abc");
    }

    #[tokio::test]
    async fn a_panic_is_printed_without_what_any_settings_hide() {
        let own = std::env::current_exe().unwrap();
        let name = "panics::tests::one_that_says_a_secret";
        let run = Command::new(own).args([name, "--exact", "--ignored"]);
        let output = run
            .env("KUBENEST_REDACT", "EMP-[0-9]+")
            .output()
            .await
            .unwrap();
        let said = output.stdout + &output.stderr;
        let words = "[redacted by rule] of [redacted by rule] said [redacted secret] and \
                     token=[redacted secret]\n";
        assert!(
            said.contains(&format!("thread '{name}' panicked at ")),
            "{said}"
        );
        assert!(said.contains(words), "{said}");
        assert!(
            !said.contains("EMP-42") && !said.contains("correct-horse"),
            "{said}"
        );
    }
}

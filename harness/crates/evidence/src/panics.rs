//! What a panic says, without secrets: it goes to a log that others read.

use std::{any::Any, panic, sync::Once, thread};

use super::secrets::redactor;

/// Has panics of this process printed without secrets from now on; a panic without any is printed
/// as before.
pub(super) fn redact() {
    static ONCE: Once = Once::new();
    // A thread that panics cannot change what panics do.
    if thread::panicking() {
        return;
    }
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

/// The redacted words, if there is a secret in them.
fn redacted_if_secret(words: &str) -> Option<String> {
    let shown = redactor().map(|redactor| redactor.redact(words));
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
        redact();
        panic!("EMP-42 said Zx9!,correct-horse and token=abc");
    }

    #[tokio::test]
    async fn a_panic_is_printed_without_secrets() {
        let own = std::env::current_exe().unwrap();
        let name = "panics::tests::one_that_says_a_secret";
        let run = Command::new(own).args([name, "--exact", "--ignored"]);
        let output = run
            .env("KUBENEST_REDACT", "EMP-[0-9]+")
            .output()
            .await
            .unwrap();
        let said = output.stdout + &output.stderr;
        let words = "[redacted by rule] said [redacted secret] and token=[redacted secret]\n";
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

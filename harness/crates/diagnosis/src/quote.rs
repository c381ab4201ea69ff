//! Recognises lines that only quote an error: a commit's title, a diff, a script, a page. The
//! quoted error did not happen here.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::clean::compile;

/// Maximum number of lines of a step's script that GitHub's runner prints.
const SCRIPT: u32 = 200;

/// A commit of `git log`, also in a graph.
static COMMIT: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^[*|/\\ ]*commit [0-9a-f]{7,64}(?: \(|$)"));
/// The first line of a patch in mail format.
static MAIL: LazyLock<Regex> = LazyLock::new(|| compile("^From [0-9a-f]{40} Mon Sep 17 "));
/// A line of git's short log. The lengths exclude ids of containers (12 and more) and of etcd's
/// members (16).
static SHORT_LOG: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^[*|/\\ ^]*(?<hash>[0-9a-f]{7,11}|[0-9a-f]{40}) [^ ]"));
/// Lines that are a title, command, comment or code from start to end.
static QUOTES: LazyLock<Regex> = LazyLock::new(|| {
    compile(concat!(
        // Shell commands: prompts and traces.
        r"^(?:\++ |[$#%>] |\[?[a-z0-9_.-]+@[A-Za-z0-9_.-]+[^#$]{0,60}[#$] |(?:##)?\[command\]|##\[group\])|",
        // Titles of changes, as git and its hosting sites write them.
        r"^(?:HEAD is now at|Previous HEAD position was|Applying:|Revert \x22|Merge (?:pull request|branch|remote)) ?|",
        r"^(?:pick|fixup|squash|reword|edit|drop) [0-9a-f]{7,40} |",
        r"^\[[^\] ]+(?: \([^)]*\))? [0-9a-f]{7,40}\] |",
        r"^(?:[-*] )?(?:fix|feat|chore|docs|test|tests|ci|refactor|perf|build|style|revert)(?:\([^)]*\))?!?: |",
        r"^(?:[Tt]itle|[Ss]ubject|[Ss]ummary): |\(#[0-9]+\)$|",
        r"^#?[0-9]+ (?:OPEN|CLOSED|MERGED) |",
        // Pages: tables, headings, lists, elements.
        r"^(?:\||#{2,6} |[-*•] )|^ *<[a-z][a-z0-9]*[ >]|",
        // Names of passed tests.
        r"^ *(?:✓|✔|√|--- PASS|=== RUN|PASS\b|ok [0-9])|",
        // Code, also as search results. Programs that log their own file name put one space after
        // it.
        r"^ *(?://|/\*|<!--|return |if |throw |raise |assert|echo |printf |grep |(?:fmt|log|errors|t|console|require)\.[A-Za-z]+\()|",
        r"^[^ :]*\.(?:go|rs|md|mdx|rst|adoc|py|c|h|cc|cpp|java|js|ts|tsx|sh|ya?ml|html?|tmpl|feature)[:-][0-9]+(?:-|:(?:[^ ]|  ))",
    ))
});

/// The quote that a line is in, if any.
#[derive(Default)]
pub(super) struct Quotes(Quote);

#[derive(Default, PartialEq)]
enum Quote {
    #[default]
    Nothing,
    /// A commit's header and its indented message.
    Commit,
    /// A patch in a mail, up to its diff.
    Mail,
    Diff,
    /// Code in a page, up to the next fence.
    Fence,
    /// The script of a step in GitHub's log, up to the end of its group, and its number of lines so
    /// far.
    Script(u32),
}

/// How a line relates to a quote.
#[derive(Default)]
pub(super) struct QuotePosition {
    /// It is part of a quote.
    pub(super) within: bool,
    /// Only the end will show whether it is a quote.
    pub(super) pending: bool,
    /// It ends a quote.
    pub(super) ended: bool,
}

impl Quotes {
    /// Reads a line without headers but with its indentation.
    pub(super) fn next(&mut self, message: &str) -> QuotePosition {
        let quoted = |pending, ended| QuotePosition {
            within: true,
            pending,
            ended,
        };
        match &mut self.0 {
            Quote::Fence if is_fence(message) => {
                self.0 = Quote::Nothing;
                return quoted(false, true);
            }
            Quote::Fence => return quoted(true, false),
            Quote::Script(_) if message == "##[endgroup]" => {
                self.0 = Quote::Nothing;
                return quoted(false, true);
            }
            Quote::Script(lines) if *lines < SCRIPT && !message.starts_with("##[") => {
                *lines += 1;
                return quoted(true, false);
            }
            _ => {}
        }
        self.0 = self.after(message);
        match self.0 {
            Quote::Nothing => QuotePosition::default(),
            Quote::Fence | Quote::Script(_) => quoted(true, false),
            _ => quoted(false, false),
        }
    }

    fn after(&self, message: &str) -> Quote {
        let first = message.bytes().next();
        let stays = match self.0 {
            Quote::Commit => {
                matches!(first, None | Some(b' ' | b'\t' | b'|')) || is_header_of_commit(message)
            }
            Quote::Mail => !is_diff(message) && message != "--",
            Quote::Diff => {
                matches!(
                    first,
                    None | Some(b'+' | b'-' | b' ' | b'\t' | b'@' | b'\\')
                ) || is_header_of_diff(message)
            }
            _ => false,
        };
        match first {
            Some(b'c' | b'*' | b'|') if COMMIT.is_match(message) => Quote::Commit,
            Some(b'F') if MAIL.is_match(message) => Quote::Mail,
            Some(b'd' | b'@' | b'-' | b'+') if is_diff(message) => Quote::Diff,
            Some(b'`') if is_fence(message) => Quote::Fence,
            Some(b'#') if message.starts_with("##[group]Run ") => Quote::Script(0),
            _ => match self.0 {
                Quote::Commit if stays => Quote::Commit,
                Quote::Mail if stays => Quote::Mail,
                Quote::Diff if stays => Quote::Diff,
                _ => Quote::Nothing,
            },
        }
    }
}

fn is_fence(message: &str) -> bool {
    message.starts_with("```") && !message[3..].contains('`')
}

fn is_diff(message: &str) -> bool {
    ["diff --git ", "@@ -", "--- a/", "+++ b/"]
        .iter()
        .any(|mark| message.starts_with(mark))
}

fn is_header_of_commit(message: &str) -> bool {
    let keys = [
        "Author:",
        "AuthorDate:",
        "Commit:",
        "CommitDate:",
        "Date:",
        "Merge:",
    ];
    keys.iter().any(|key| message.starts_with(key))
}

fn is_header_of_diff(message: &str) -> bool {
    let keys = [
        "index ",
        "new file ",
        "deleted file ",
        "old mode ",
        "new mode ",
        "rename ",
        "similarity ",
        "Binary ",
    ];
    keys.iter().any(|key| message.starts_with(key))
}

/// Whether a text only quotes the part that matched.
pub(super) fn only_quotes(text: &str, matched: &Range<usize>) -> bool {
    QUOTES.is_match(text)
        || is_short_log(text)
        || is_enclosed(text, matched)
        || is_sentence(text, matched)
}

fn is_short_log(text: &str) -> bool {
    let Some(found) = SHORT_LOG.captures(text) else {
        return false;
    };
    let hash = &found["hash"];
    let number = hash.bytes().all(|byte| byte.is_ascii_digit());
    !number || hash.len() != 10
}

/// Whether the match is in quotation marks of prose or code. Programs put their quotes after a
/// colon or an equals sign: `err="…"`, `with ErrImagePull: "…"`.
fn is_enclosed(text: &str, matched: &Range<usize>) -> bool {
    let (before, behind) = (&text[..matched.start], &text[matched.start..]);
    if before.matches('`').count() % 2 == 1 && behind.contains('`') {
        return true;
    }
    if before
        .rfind('“')
        .is_some_and(|at| !before[at..].contains('”'))
    {
        return true;
    }
    let Some(quote) = before.rfind(['"', '\'']) else {
        return false;
    };
    let mark = &before[quote..=quote];
    if !behind.contains(mark) || before[quote + 1..].starts_with(' ') {
        return false;
    }
    let outside = before[..quote].trim_end();
    let apart = outside.len() < quote;
    match outside.chars().next_back() {
        Some('(') => true,
        Some(',') => outside
            .rfind(['(', '[', '{'])
            .is_some_and(|at| outside[at..].starts_with('(')),
        Some(last) => apart && last.is_alphabetic(),
        None => false,
    }
}

/// Whether the match is in the middle of a prose sentence with an end mark.
fn is_sentence(text: &str, matched: &Range<usize>) -> bool {
    let (before, behind) = (&text[..matched.start], &text[matched.end.min(text.len())..]);
    let mut letters = before.chars();
    let begins = letters.next().is_some_and(char::is_uppercase)
        && letters.next().is_some_and(|c| c.is_lowercase() || c == ' ');
    begins
        && before.trim_end().ends_with(char::is_alphanumeric)
        && before.contains(' ')
        && !before.contains([':', '=', '"', '[', '/'])
        && !behind.is_empty()
        && behind.trim_end().ends_with(['.', '!', '?'])
}

#[cfg(test)]
mod tests;

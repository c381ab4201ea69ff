//! Reads logs from files, folders and standard input; limits sizes and never leaves the folder.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    Evidence, Place, Speaker, clean::clean, encoding::open_text, events, lines::Lines,
    recognise::may_matter, speaker::speaker_of,
};
use kubenest_base::{Context, Error, Result};
use serde_json::Value;

/// Maximum bytes per file; of a longer file the end is read.
const FILE_BYTES: u64 = 256 << 20;
/// Maximum bytes in total.
const BYTES: u64 = 1 << 30;
/// Maximum bytes per line; a program's error message comes earlier in the line.
const LINE_BYTES: u64 = 64 << 10;
/// Maximum bytes of a JSON document.
const JSON_BYTES: u64 = 64 << 20;
/// Maximum number of files in a folder, and maximum depth of folders.
const FILES: usize = 10_000;
const DEPTH: usize = 16;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Maximum number of lines that are kept because they may show a cause.
const EVIDENCE: usize = 200_000;

/// The result of reading: the lines that may show a cause, and what was read.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reading {
    /// The lines that may show a cause, in the order of each file.
    pub evidence: Vec<Evidence>,
    /// The files, in the order they were read.
    pub files: Vec<FileRead>,
    /// What was left out and why, for people.
    pub notes: Vec<String>,
    bytes: u64,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileRead {
    /// As it was named; `-` is standard input.
    pub file: String,
    /// How many lines it has.
    pub lines: u64,
}

/// Reads log files and folders of logs; `-` is standard input. In the output of `kind export logs`,
/// the names of folders are those of nodes.
///
/// # Errors
/// A given path cannot be read. An unreadable file inside a folder becomes a note instead.
pub fn read(paths: &[PathBuf]) -> Result<Reading> {
    let mut reading = Reading::default();
    for path in paths {
        if path == Path::new("-") {
            let input = reading.stream("-", Speaker::Unknown, None, io::stdin().lock());
            input.context("read standard input")?;
            continue;
        }
        let failed = |cause| {
            Error::input(format!(
                "cannot read '{}'",
                clean(&path.display().to_string())
            ))
            .because(cause)
            .cure("name log files, folders of logs, or - for standard input")
        };
        if fs::metadata(path).map_err(failed)?.is_dir() {
            reading.folder(path, path, None, 0);
        } else {
            reading.file(path, path, None).map_err(failed)?;
        }
    }
    Ok(reading)
}

/// Reads a log from a stream; the source of its lines is `source` unless their headers name
/// another.
///
/// # Errors
/// The stream breaks.
pub fn read_stream(name: &str, source: Speaker, stream: impl Read) -> Result<Reading> {
    let mut reading = Reading::default();
    let read = reading.stream(name, source, None, stream);
    read.with_context(|| format!("read {name}"))?;
    Ok(reading)
}

impl Reading {
    /// How many lines were read in all.
    pub fn lines(&self) -> u64 {
        self.files.iter().map(|file| file.lines).sum()
    }

    fn folder(&mut self, root: &Path, folder: &Path, node: Option<&str>, depth: usize) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(cause) => return self.note(folder, &cause.to_string()),
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let of_node = |path: &PathBuf| {
            ["containerd.log", "kubelet.log", "journal.log", "serial.log"]
                .iter()
                .any(|name| path.ends_with(name))
        };
        let own = folder.file_name().map(|name| name.to_string_lossy());
        let own = own.filter(|_| depth > 0 && paths.iter().any(of_node));
        let node = node.or(own.as_deref());
        for path in &paths {
            // The type of the entry itself, not of its target: a link may lead out of the folder.
            let Ok(kind) = fs::symlink_metadata(path).map(|found| found.file_type()) else {
                continue;
            };
            if self.files.len() >= FILES {
                return self.note(path, &format!("more than {FILES} files"));
            }
            if kind.is_symlink() {
                self.note(path, "a link");
            } else if kind.is_dir() && depth >= DEPTH {
                self.note(path, &format!("more than {DEPTH} folders deep"));
            } else if kind.is_dir() {
                self.folder(root, path, node, depth + 1);
            } else if kind.is_file()
                && let Err(cause) = self.file(root, path, node)
            {
                self.note(path, &cause.to_string());
            }
        }
    }

    fn file(&mut self, root: &Path, path: &Path, node: Option<&str>) -> io::Result<()> {
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        let name = path.display().to_string();
        let length = if found.is_file() { found.len() } else { 0 };
        let within = path.strip_prefix(root).unwrap_or(path);
        let source = speaker_of(if within == Path::new("") {
            path
        } else {
            within
        });
        if length > FILE_BYTES {
            let mut head = [0; 2];
            file.read_exact(&mut head)?;
            // The end of a compressed file cannot be read alone.
            let from = if head == GZIP { 0 } else { length - FILE_BYTES };
            file.seek(SeekFrom::Start(from))?;
            if from > 0 {
                self.note(path, &format!("its first {} MiB", from >> 20));
            }
        }
        self.stream(&name, source, node, file)
    }

    fn stream(
        &mut self,
        name: &str,
        source: Speaker,
        node: Option<&str>,
        stream: impl Read,
    ) -> io::Result<()> {
        let left = FILE_BYTES.min(BYTES.saturating_sub(self.bytes));
        let (stream, kept) = open_text(BufReader::with_capacity(64 << 10, stream))?;
        let mut stream = stream.take(left);
        if stream.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            stream.consume(BYTE_ORDER_MARK.len());
        }
        let head = stream.fill_buf()?;
        if let Some(kind) = binary_kind(head) {
            self.note(Path::new(name), kind);
            return Ok(());
        }
        let (json, mut read) = (head.trim_ascii_start().starts_with(b"{"), Amount::default());
        let ended = if json {
            self.json(name, source, node, &mut stream, &mut read)
        } else {
            self.text(name, source, node, &mut stream, &mut read)
        };
        match ended {
            // The part before the damage may still show the cause.
            Err(cause) if kept.is_some() => {
                self.note(Path::new(name), &format!("its end: {cause}"))
            }
            ended => ended?,
        }
        self.bytes += read.bytes;
        if read.bytes >= left {
            self.note(Path::new(name), "what comes after the bound on size");
        }
        self.files.push(FileRead {
            file: clean(name).into_owned(),
            lines: read.lines,
        });
        Ok(())
    }

    /// Reads a JSON document of Kubernetes; any other text that starts with `{` is read as lines.
    fn json(
        &mut self,
        name: &str,
        source: Speaker,
        node: Option<&str>,
        stream: &mut impl BufRead,
        read: &mut Amount,
    ) -> io::Result<()> {
        let mut document = Vec::new();
        let ended = stream.by_ref().take(JSON_BYTES).read_to_end(&mut document);
        let value: Value = serde_json::from_slice(&document).unwrap_or_default();
        if value["kind"].is_string() || value["items"].is_array() {
            for event in events::events_in_json(&value) {
                self.keep(event, name, None, node);
            }
            read.bytes = document.len() as u64;
            read.lines = document.split(|byte| *byte == b'\n').count() as u64;
            return Ok(());
        }
        self.text(name, source, node, &mut document.chain(stream), read)?;
        ended.map(drop)
    }

    fn text(
        &mut self,
        name: &str,
        source: Speaker,
        node: Option<&str>,
        stream: &mut impl BufRead,
        read: &mut Amount,
    ) -> io::Result<()> {
        let (begin, mut buffer) = (self.evidence.len(), Vec::new());
        let mut lines = Lines::new(source);
        let ended = loop {
            buffer.clear();
            let count = match stream
                .by_ref()
                .take(LINE_BYTES)
                .read_until(b'\n', &mut buffer)
            {
                Ok(0) => break Ok(()),
                Ok(count) => count,
                Err(cause) => break Err(cause),
            };
            read.lines += 1;
            read.bytes += count as u64;
            if !buffer.ends_with(b"\n") {
                read.bytes += stream.skip_until(b'\n')? as u64;
            }
            let line = lines.next(&String::from_utf8_lossy(&buffer));
            self.keep(line, name, Some(read.lines), node);
            for (line, number) in lines.take_found() {
                self.keep(line, name, Some(number), node);
            }
        };
        let (found, quoted) = lines.finish();
        for (line, number) in found {
            self.keep(line, name, Some(number), node);
        }
        let number = |line: &Evidence| line.place.as_ref().and_then(|place| place.line);
        self.evidence[begin..].sort_by_key(number);
        if let Some(first) = quoted.first() {
            let which = match quoted.len() - 1 {
                0 => ", which quotes".to_owned(),
                others => format!(" and {others} more lines, which quote"),
            };
            let name = clean(name);
            self.notes.push(format!(
                "not counted: {name}:{first}{which} a failure (a commit, a diff, a script, a page)"
            ));
        }
        ended
    }

    fn keep(&mut self, mut line: Evidence, file: &str, number: Option<u64>, node: Option<&str>) {
        if line.source == Speaker::Quote || !may_matter(&line) {
            return;
        }
        if self.evidence.len() == EVIDENCE {
            self.note(
                Path::new(file),
                &format!("lines beyond {EVIDENCE} that may matter"),
            );
        }
        if self.evidence.len() > EVIDENCE {
            return;
        }
        line.place = Some(Place {
            file: clean(file).into_owned(),
            line: number,
        });
        self.evidence.push(match node {
            Some(node) => line.on(node),
            None => line,
        });
    }

    fn note(&mut self, path: &Path, what: &str) {
        let path = path.display().to_string();
        self.notes
            .push(format!("not read: {}: {what}", clean(&path)));
    }
}

#[derive(Default)]
struct Amount {
    bytes: u64,
    lines: u64,
}

/// What kind of file it is, if it is not text.
fn binary_kind(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 8] = [
        (b"<!doctype html>", "a page"),
        (b"<html", "a page"),
        (
            b"LPKSHHRH",
            "a journal file; write it as text with journalctl --file",
        ),
        (&GZIP, "compressed twice"),
        (b"\xfd7zXZ", "compressed; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "compressed; unpack it first"),
        (b"PK\x03\x04", "compressed; unpack it first"),
        (b"\x7fELF", "a program"),
    ];
    let known = KNOWN.iter().find(|(magic, _)| head.starts_with(magic));
    let nulls = head.iter().filter(|byte| **byte == 0).count();
    known
        .map(|(_, kind)| *kind)
        .or((nulls * 16 > head.len()).then_some("no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOP: &str = "[FATAL] plugin/loop: Loop (127.0.0.1:1 -> :53) detected for zone \".\"\n";

    fn notes(reading: &Reading, root: &Path) -> String {
        let root = format!("{}/", root.display());
        reading.notes.join("\n").replace(&root, "")
    }

    #[test]
    fn only_text_files_of_a_folder_are_read_and_no_links() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), LOOP).unwrap();
        fs::create_dir_all(at("n1/pods/kube-system_coredns-1_2/coredns")).unwrap();
        fs::write(at("n1/kubelet.log"), "healthy\n").unwrap();
        fs::write(at("n1/pods/kube-system_coredns-1_2/coredns/0.log"), LOOP).unwrap();
        fs::write(at("n1/system.journal"), "LPKSHHRH").unwrap();
        fs::write(at("n1/old.log.gz"), b"\x1f\x8b\x08").unwrap();
        fs::write(at("core"), [0; 100]).unwrap();
        fs::write(at("index.html"), format!("<!doctype html>\n{LOOP}")).unwrap();
        std::os::unix::fs::symlink(outside.path(), at("link.log")).unwrap();
        std::os::unix::fs::symlink("/", at("n1/all")).unwrap();
        let reading = read(&[root.path().to_owned()]).unwrap();
        assert_eq!((reading.files.len(), reading.lines()), (2, 2));
        assert_eq!(reading.evidence.len(), 1);
        assert_eq!(reading.evidence[0].source, Speaker::Pod);
        assert_eq!(reading.evidence[0].node.as_deref(), Some("n1"));
        insta::assert_snapshot!(notes(&reading, root.path()), @r"
        not read: core: no text
        not read: index.html: a page
        not read: link.log: a link
        not read: n1/all: a link
        not read: n1/old.log.gz: unexpected end of file
        not read: n1/system.journal: a journal file; write it as text with journalctl --file
        ");
    }

    #[test]
    fn lines_of_any_length_and_bytes_are_read() {
        let mut log = vec![b'x'; 3 * LINE_BYTES as usize];
        log.extend(b"\n\xff\xfe\x1b[31m\n\n");
        log.extend(b"\x1b[31m");
        log.extend(LOOP.trim_end().as_bytes());
        let reading = read_stream("-", Speaker::Unknown, &log[..]).unwrap();
        assert_eq!(reading.lines(), 4);
        let place = reading.evidence[0].place.as_ref().unwrap();
        assert_eq!(place.to_string(), "-:4");
        assert!(!reading.evidence[0].text.contains(char::is_control));
    }

    #[test]
    fn json_that_holds_no_events_is_text() {
        let reading = read_stream("-", Speaker::Unknown, &b"{\"a\": 1}\n{ not json\n"[..]).unwrap();
        assert_eq!(reading.lines(), 2);
        let reading = read_stream("-", Speaker::Unknown, &b" {\"kind\": \"Pod\"}"[..]).unwrap();
        assert_eq!(reading.lines(), 1);
    }

    #[test]
    fn quoting_lines_are_noted_but_not_counted() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::write(at("faq.md"), LOOP.repeat(3)).unwrap();
        fs::write(at("job.log"), format!("```\n{LOOP}```\n{LOOP}")).unwrap();
        let reading = read(&[root.path().to_owned()]).unwrap();
        let places = reading.evidence.iter().map(|line| line.place.as_ref());
        let places: Vec<_> = places
            .map(|place| place.and_then(|place| place.line))
            .collect();
        assert_eq!(places, [Some(4)]);
        insta::assert_snapshot!(notes(&reading, root.path()), @r"
        not counted: faq.md:1 and 2 more lines, which quote a failure (a commit, a diff, a script, a page)
        not counted: job.log:2, which quotes a failure (a commit, a diff, a script, a page)
        ");
    }

    #[test]
    fn a_damaged_file_is_read_up_to_the_damage() {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        gzip.write_all(LOOP.as_bytes()).unwrap();
        gzip.write_all(&[b'x'; 200_000]).unwrap();
        let mut bytes = gzip.finish().unwrap();
        bytes.truncate(100_000);
        let reading = read_stream("a.gz", Speaker::Unknown, &bytes[..]).unwrap();
        assert_eq!(reading.evidence.len(), 1);
        insta::assert_snapshot!(reading.notes.join("\n"), @"not read: a.gz: its end: incomplete deflate stream");
    }

    #[test]
    fn a_missing_path_is_an_input_error() {
        let error = read(&["/no/such\x1b[31m.log".into()]).unwrap_err();
        assert_eq!(error.kind(), kubenest_base::ErrorKind::Input);
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
}

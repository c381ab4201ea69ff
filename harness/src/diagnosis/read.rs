//! Reads logs from files, folders and standard input; bounded, and never beyond the folder.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{Evidence, Place, Source, clean::clean, events, line::Lines, recognise::matters};
use crate::{Context, Error, Result};

/// Bytes that are read of a file; of a longer one, its end.
const FILE_BYTES: u64 = 256 << 20;
/// Bytes that are read in all.
const BYTES: u64 = 1 << 30;
/// Bytes of a line; what a program says of a failure comes before that.
const LINE_BYTES: u64 = 64 << 10;
/// Bytes of a JSON document.
const JSON_BYTES: u64 = 64 << 20;
/// Files that are read of a folder, and folders below each other.
const FILES: usize = 10_000;
const DEPTH: usize = 16;
/// Lines that are kept because they may show a cause.
const EVIDENCE: usize = 200_000;

/// What was read, and the lines that may show a cause.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reading {
    /// The lines that may show a cause, a file's in its order.
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

/// Reads log files and folders of logs; `-` is standard input. In a folder as `kind export
/// logs` writes it, the folders' names are the nodes'.
///
/// # Errors
/// A path that cannot be read. What cannot be read inside a folder becomes a note.
pub fn read(paths: &[PathBuf]) -> Result<Reading> {
    let mut reading = Reading::default();
    for path in paths {
        if path == Path::new("-") {
            let input = reading.stream("-", Source::Unknown, None, io::stdin().lock());
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

/// Reads a log from a stream; its lines are `source`'s unless they say otherwise.
///
/// # Errors
/// The stream breaks.
pub fn read_stream(name: &str, source: Source, stream: impl Read) -> Result<Reading> {
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
            ["containerd.log", "kubelet.log", "journal.log"]
                .iter()
                .any(|name| path.ends_with(name))
        };
        let own = folder.file_name().map(|name| name.to_string_lossy());
        let own = own.filter(|_| depth > 0 && paths.iter().any(of_node));
        let node = node.or(own.as_deref());
        for path in &paths {
            // Of the entry itself: a link may lead out of the folder.
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
        let source = source_of(if within == Path::new("") {
            path
        } else {
            within
        });
        if length > FILE_BYTES {
            let from = length - FILE_BYTES;
            file.seek(SeekFrom::Start(from))?;
            self.note(path, &format!("its first {} MiB", from >> 20));
        }
        self.stream(&name, source, node, file)
    }

    fn stream(
        &mut self,
        name: &str,
        source: Source,
        node: Option<&str>,
        stream: impl Read,
    ) -> io::Result<()> {
        let left = FILE_BYTES.min(BYTES.saturating_sub(self.bytes));
        let mut stream = BufReader::with_capacity(64 << 10, stream.take(left));
        let head = stream.fill_buf()?;
        if let Some(kind) = not_text(head) {
            self.note(Path::new(name), kind);
            return Ok(());
        }
        let read = if head.trim_ascii_start().starts_with(b"{") {
            self.json(name, source, node, &mut stream)?
        } else {
            self.text(name, source, node, &mut stream)?
        };
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

    /// Reads a document with events; anything else that starts like one is text.
    fn json(
        &mut self,
        name: &str,
        source: Source,
        node: Option<&str>,
        stream: &mut impl BufRead,
    ) -> io::Result<Amount> {
        let mut document = Vec::new();
        stream
            .by_ref()
            .take(JSON_BYTES)
            .read_to_end(&mut document)?;
        if let Ok(value) = serde_json::from_slice(&document) {
            for event in events::of_json(&value) {
                self.keep(event, name, None, node);
            }
            return Ok(Amount {
                bytes: document.len() as u64,
                lines: document.split(|byte| *byte == b'\n').count() as u64,
            });
        }
        self.text(name, source, node, &mut document.chain(stream))
    }

    fn text(
        &mut self,
        name: &str,
        source: Source,
        node: Option<&str>,
        stream: &mut impl BufRead,
    ) -> io::Result<Amount> {
        let (mut read, mut buffer) = (Amount::default(), Vec::new());
        let mut lines = Lines::new(source);
        loop {
            buffer.clear();
            let count = stream
                .by_ref()
                .take(LINE_BYTES)
                .read_until(b'\n', &mut buffer)?;
            if count == 0 {
                return Ok(read);
            }
            read.lines += 1;
            read.bytes += count as u64;
            if !buffer.ends_with(b"\n") {
                read.bytes += stream.skip_until(b'\n')? as u64;
            }
            let line = lines.next(&String::from_utf8_lossy(&buffer));
            self.keep(line, name, Some(read.lines), node);
        }
    }

    fn keep(&mut self, mut line: Evidence, file: &str, number: Option<u64>, node: Option<&str>) {
        if !matters(&line) {
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

/// Whose lines a file has, by where it stands and how it is called.
fn source_of(path: &Path) -> Source {
    let of_pods = |part: &std::ffi::OsStr| part == "pods" || part == "containers";
    if path.iter().any(of_pods) {
        return Source::Pod;
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    match name.as_str() {
        // Of `kubectl cluster-info dump`.
        "logs.txt" => Source::Pod,
        "serial.log" => Source::System,
        _ if name.starts_with("containerd") || name.starts_with("crio") => Source::Runtime,
        _ if name.starts_with("kubelet") => Source::Kubelet,
        _ if name.contains("events") => Source::Event,
        _ => Source::Unknown,
    }
}

/// What a file is that holds no text.
fn not_text(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 7] = [
        (b"<!doctype html>", "a page"),
        (
            b"LPKSHHRH",
            "a journal file; write it as text with journalctl --file",
        ),
        (b"\x1f\x8b", "compressed"),
        (b"\xfd7zXZ", "compressed"),
        (b"\x28\xb5\x2f\xfd", "compressed"),
        (b"PK\x03\x04", "compressed"),
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
    fn a_folder_is_read_but_no_link_and_nothing_but_text() {
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
        assert_eq!(reading.evidence[0].source, Source::Pod);
        assert_eq!(reading.evidence[0].node.as_deref(), Some("n1"));
        insta::assert_snapshot!(notes(&reading, root.path()), @r"
        not read: core: no text
        not read: index.html: a page
        not read: link.log: a link
        not read: n1/all: a link
        not read: n1/old.log.gz: compressed
        not read: n1/system.journal: a journal file; write it as text with journalctl --file
        ");
    }

    #[test]
    fn lines_of_any_length_and_bytes_are_read() {
        let mut log = vec![b'x'; 3 * LINE_BYTES as usize];
        log.extend(b"\n\xff\xfe\x1b[31m\n\n");
        log.extend(b"\x1b[31m");
        log.extend(LOOP.trim_end().as_bytes());
        let reading = read_stream("-", Source::Unknown, &log[..]).unwrap();
        assert_eq!(reading.lines(), 4);
        let place = reading.evidence[0].place.as_ref().unwrap();
        assert_eq!(place.to_string(), "-:4");
        assert!(!reading.evidence[0].text.contains(char::is_control));
    }

    #[test]
    fn json_that_holds_no_events_is_text() {
        let reading = read_stream("-", Source::Unknown, &b"{\"a\": 1}\n{ not json\n"[..]).unwrap();
        assert_eq!(reading.lines(), 2);
        let reading = read_stream("-", Source::Unknown, &b" {\"kind\": \"Pod\"}"[..]).unwrap();
        assert_eq!(reading.lines(), 1);
    }

    #[test]
    fn a_path_that_is_not_there_is_the_callers_mistake() {
        let error = read(&["/no/such\x1b[31m.log".into()]).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Input);
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
}

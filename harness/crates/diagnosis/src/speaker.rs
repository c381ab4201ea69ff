//! The source of a file's lines, by its path.

use std::path::Path;

use super::Speaker;

/// Extensions of pages and source code, whose lines only quote errors.
const PAGES: [&str; 26] = [
    "md", "markdown", "mdx", "rst", "adoc", "html", "htm", "go", "rs", "py", "c", "h", "cc", "cpp",
    "java", "js", "ts", "tsx", "sh", "bash", "patch", "diff", "tf", "ipynb", "css", "feature",
];

/// The source of a file's lines, by its path and name.
pub(super) fn speaker_of(path: &Path) -> Speaker {
    let of_pods = |part: &std::ffi::OsStr| part == "pods" || part == "containers";
    if path.iter().any(of_pods) {
        return Speaker::Pod;
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    if PAGES.contains(&&*extension.to_lowercase()) {
        return Speaker::Quote;
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    match name.as_str() {
        // Written by `kubectl cluster-info dump`.
        "logs.txt" => Speaker::Pod,
        "serial.log" => Speaker::System,
        _ if name.starts_with("containerd") || name.starts_with("crio") => Speaker::Runtime,
        _ if name.starts_with("kubelet") => Speaker::Kubelet,
        _ if name.contains("events") => Speaker::Event,
        _ => Speaker::Unknown,
    }
}

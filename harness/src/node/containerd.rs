//! containerd's own calls: plugins and version.

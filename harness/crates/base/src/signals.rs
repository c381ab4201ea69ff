//! The signals that ask a process to end.

use std::io;

use futures::future::{pending, select_all};
use tokio::signal::unix::{SignalKind, signal};

use crate::process::ignores;

/// Waits for Ctrl-C, SIGTERM or SIGHUP, whichever comes first; after the call none of them ends the
/// process by itself. A signal that the process was started to ignore, as by `nohup`, stays ignored;
/// if all are, this never returns.
///
/// # Errors
/// The system does not accept a handler.
pub async fn wait_for_end() -> io::Result<SignalKind> {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let heeded = kinds
        .into_iter()
        .filter(|kind| !ignores(kind.as_raw_value()));
    let listen = |kind: SignalKind| signal(kind).map(|listener| (kind, listener));
    let listeners: Vec<_> = heeded.map(listen).collect::<io::Result<_>>()?;
    if listeners.is_empty() {
        return pending().await;
    }
    let received = listeners.into_iter().map(|(kind, mut listener)| {
        Box::pin(async move {
            listener.recv().await;
            kind
        })
    });
    let (kind, ..) = select_all(received).await;
    Ok(kind)
}

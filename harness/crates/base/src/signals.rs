//! The signals that ask a process to end.

use std::{
    io,
    task::{Context, Waker},
};

use futures::future::{pending, select_all};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::process::ignores;

/// Ctrl-C, SIGTERM and SIGHUP from some moment on. None of them ends the process by itself any more. One
/// that the process was started to ignore, as by `nohup`, stays ignored.
#[derive(Debug)]
pub struct EndSignals(Vec<(SignalKind, Signal)>);

impl EndSignals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system does not accept a handler.
    ///
    /// # Panics
    /// This is outside of a runtime.
    pub fn listen() -> io::Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let heeded = kinds
            .into_iter()
            .filter(|kind| !ignores(kind.as_raw_value()));
        let listen = |kind: SignalKind| signal(kind).map(|listener| (kind, listener));
        heeded.map(listen).collect::<io::Result<_>>().map(Self)
    }

    /// Waits for the next one; for ever if all are ignored.
    pub async fn next(&mut self) -> SignalKind {
        if self.0.is_empty() {
            return pending().await;
        }
        let received = self.0.iter_mut().map(|(kind, listener)| {
            Box::pin(async move {
                listener.recv().await;
                *kind
            })
        });
        let (kind, ..) = select_all(received).await;
        kind
    }

    /// Whether one has come since the last look. All listeners of a process are told at once: who acts on
    /// a signal of its own finds it here, too.
    pub fn has_come(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut all = self.0.iter_mut();
        all.any(|(_, listener)| listener.poll_recv(&mut context).is_ready())
    }
}

/// Waits for Ctrl-C, SIGTERM or SIGHUP, whichever comes first, as [`EndSignals`] does.
///
/// # Errors
/// The system does not accept a handler.
pub async fn wait_for_end() -> io::Result<SignalKind> {
    Ok(EndSignals::listen()?.next().await)
}

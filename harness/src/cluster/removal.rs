//! Work that a drop has to wait for.

/// Runs work to its end on a thread with a runtime of its own: the current runtime may be shutting
/// down, and a drop cannot wait for it.
pub(super) fn run_in_drop(work: impl AsyncFnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(work());
            }
        });
    });
}

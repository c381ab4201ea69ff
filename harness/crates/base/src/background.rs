//! Background work that outlives the test that started it: tokio's runtime ends with each test, so
//! this work runs on a thread and a runtime of its own until the process ends.

use std::{sync::OnceLock, thread};

use tokio::{
    runtime::{Builder, Handle},
    task::{AbortHandle, JoinHandle},
};

/// A task in the background; dropping this aborts the task.
#[derive(Debug)]
pub struct Working(AbortHandle);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts work in the background; it runs until it ends or the returned value is dropped.
pub fn keep(work: impl Future<Output = ()> + Send + 'static) -> Working {
    Working(runtime().spawn(work).abort_handle())
}

/// Runs work whose result stays tied to its runtime, such as a connection, and waits for it.
/// Dropping the future aborts the work.
pub async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let task: JoinHandle<T> = runtime().spawn(work);
    let _abort_on_drop = Working(task.abort_handle());
    task.await.expect("work in the background must not panic")
}

fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime must start");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        runtime::Runtime,
        sync::oneshot,
    };

    use super::*;

    #[test]
    fn work_outlives_the_runtime_that_started_it() {
        let (near, far) = duplex(8);
        let working = Runtime::new().unwrap().block_on(async {
            keep(async {
                let (mut read, mut write) = tokio::io::split(far);
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            })
        });
        let echo = async {
            let (mut read, mut write) = tokio::io::split(near);
            write.write_all(b"still").await.unwrap();
            let mut echo = [0; 5];
            read.read_exact(&mut echo).await.unwrap();
            drop(working);
            // Aborting the task closes the far end of the stream.
            read.read_to_end(&mut Vec::new()).await.unwrap();
            echo
        };
        assert_eq!(&Runtime::new().unwrap().block_on(echo), b"still");
    }

    #[tokio::test]
    async fn work_is_aborted_when_its_future_is_dropped() {
        let (sender, receiver) = oneshot::channel::<()>();
        let work = run(async {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        let given_up = crate::wait::at_most(std::time::Duration::from_millis(20), work).await;
        assert_eq!(given_up, None);
        assert!(receiver.await.is_err());
    }
}

//! A task with a thread of its own.
//!
//! Promises: what runs there never waits its turn behind the tasks of the shared runtime; dropping the future
//! ends it. Must not know: what it runs.

use std::thread;

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Runs `work` on a new thread with a runtime of its own, and ends when it does.
pub async fn run(name: String, work: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel();
    let stop = CancellationToken::new();
    let dropped = stop.clone();
    let thread = thread::Builder::new().name(name.clone()).spawn(move || {
        runtime.block_on(dropped.run_until_cancelled(work));
        let _ = ended.send(());
    });
    thread.with_context(|| format!("cannot start the thread `{name}`"))?;
    let _stop_when_dropped = stop.drop_guard();
    // Without a word, the work has panicked; the panic hook has logged it.
    end.await.with_context(|| format!("the thread `{name}` panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_with_its_work_and_a_panic_is_an_error() {
        run("works".to_owned(), async {}).await.unwrap();
        let error = run("panics".to_owned(), async { panic!("as wished") }).await.unwrap_err();
        assert!(error.to_string().contains("`panics`"), "{error}");
    }

    #[tokio::test]
    async fn dropping_it_ends_the_work() {
        struct Tell(Option<oneshot::Sender<()>>);
        impl Drop for Tell {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(());
            }
        }
        let (tell, told) = oneshot::channel();
        let tell = Tell(Some(tell));
        let work = run("endless".to_owned(), async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        });
        let task = tokio::spawn(work);
        tokio::task::yield_now().await;
        task.abort();
        told.await.unwrap();
    }
}

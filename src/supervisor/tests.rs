//! Each rule of the supervisor, on paused time: nothing here really waits.

use std::sync::{Arc, Mutex};

use anyhow::anyhow;
use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::*;

const GRACE: Duration = Duration::from_secs(10);

/// What happened, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Waits for its token, takes `drain` to end, and notes both.
async fn worker(
    name: &'static str,
    stop: CancellationToken,
    drain: Duration,
    diary: Diary,
) -> anyhow::Result<()> {
    stop.cancelled().await;
    diary.note(format!("{name} told"));
    sleep(drain).await;
    diary.note(format!("{name} done"));
    Ok(())
}

fn spawn_worker(supervisor: &mut Supervisor, phase: Phase, name: &'static str, drain_s: u64, diary: &Diary) {
    let drain = Duration::from_secs(drain_s);
    supervisor.spawn(phase, name, worker(name, supervisor.soft(phase), drain, diary.clone()));
}

/// A stop request after each of these pauses.
fn requests(pauses_s: &'static [u64]) -> Requests {
    let due = stream::iter(pauses_s).then(|seconds| sleep(Duration::from_secs(*seconds)).map(|()| "test"));
    Requests(Box::pin(due.chain(stream::pending())))
}

#[tokio::test(start_paused = true)]
async fn phases_stop_in_order_and_each_waits_for_the_one_before() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    spawn_worker(&mut supervisor, Phase::Foundation, "pool", 0, &diary);
    spawn_worker(&mut supervisor, Phase::Work, "applier", 2, &diary);
    spawn_worker(&mut supervisor, Phase::Intake, "http", 3, &diary);

    supervisor.run(&mut requests(&[1])).await.unwrap();

    let expected = ["http told", "http done", "applier told", "applier done", "pool told", "pool done"];
    assert_eq!(diary.read(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_caller_can_stop_a_run_too() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    spawn_worker(&mut supervisor, Phase::Intake, "http", 1, &diary);

    let stop = CancellationToken::new();
    let mut requests = Requests::when(stop.clone().cancelled_owned());
    let ended = tokio::join!(supervisor.run(&mut requests), async { stop.cancel() }).0.unwrap();

    assert_eq!(ended, End::Stop);
    assert_eq!(diary.read(), ["http told", "http done"]);
}

/// A task that asks for a renewal after a second, and then for nothing more.
fn spawn_renewer(supervisor: &mut Supervisor) {
    let (renewal, stop) = (supervisor.renewal(), supervisor.soft(Phase::Work));
    supervisor.spawn(Phase::Work, "watch", async move {
        sleep(Duration::from_secs(1)).await;
        renewal.cancel();
        stop.cancelled().await;
        Ok(())
    });
}

#[tokio::test(start_paused = true)]
async fn a_renewal_stops_in_the_same_order_and_is_no_end() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    spawn_renewer(&mut supervisor);
    spawn_worker(&mut supervisor, Phase::Work, "applier", 0, &diary);
    spawn_worker(&mut supervisor, Phase::Intake, "http", 3, &diary);

    assert_eq!(supervisor.run(&mut requests(&[])).await.unwrap(), End::Renewal);

    assert_eq!(diary.read(), ["http told", "http done", "applier told", "applier done"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_renewal_makes_an_end_of_it_in_order() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    spawn_renewer(&mut supervisor);
    spawn_worker(&mut supervisor, Phase::Intake, "http", 3, &diary);

    assert_eq!(supervisor.run(&mut requests(&[2])).await.unwrap(), End::Stop);

    assert_eq!(diary.read(), ["http told", "http done"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_before_a_run_is_heeded_by_it() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    spawn_worker(&mut supervisor, Phase::Intake, "http", 0, &diary);
    let mut requests = requests(&[1]);
    sleep(Duration::from_secs(5)).await;

    assert_eq!(supervisor.run(&mut requests).await.unwrap(), End::Stop);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_unasked_stops_the_others_and_is_named() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    spawn_worker(&mut supervisor, Phase::Work, "applier", 2, &diary);
    supervisor.spawn(Phase::Intake, "registration", async { Ok(()) });

    let error = supervisor.run(&mut requests(&[])).await.unwrap_err();

    assert_eq!(error.to_string(), "task `registration` ended although nobody had asked it to");
    assert_eq!(diary.read(), ["applier told", "applier done"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_is_named_with_its_error_as_the_source() {
    let mut supervisor = Supervisor::new(GRACE);
    supervisor.spawn(Phase::Intake, "http", async { Err(anyhow!("port taken")) });

    let error = supervisor.run(&mut requests(&[])).await.unwrap_err();

    assert_eq!(error.to_string(), "task `http` failed");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "port taken");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_named_with_its_panic_as_the_source() {
    let mut supervisor = Supervisor::new(GRACE);
    supervisor.spawn(Phase::Work, "applier", async { panic!("a bug") });

    let error = supervisor.run(&mut requests(&[])).await.unwrap_err();

    assert_eq!(error.to_string(), "task `applier` panicked");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("a bug"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_stopping_is_reported_and_the_rest_still_drains() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    let stop = supervisor.soft(Phase::Intake);
    supervisor.spawn(Phase::Intake, "http", async move {
        stop.cancelled().await;
        Err(anyhow!("cannot close"))
    });
    spawn_worker(&mut supervisor, Phase::Work, "applier", 1, &diary);

    let error = supervisor.run(&mut requests(&[1])).await.unwrap_err();

    assert_eq!(error.to_string(), "task `http` failed");
    assert_eq!(diary.read(), ["applier told", "applier done"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_outlives_the_grace_period_is_named_and_dropped() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    spawn_worker(&mut supervisor, Phase::Intake, "http", 4, &diary);
    spawn_worker(&mut supervisor, Phase::Work, "slow applier", 60, &diary);
    spawn_worker(&mut supervisor, Phase::Work, "applier", 1, &diary);
    let (hard, began) = (supervisor.hard(), Instant::now());

    let error = supervisor.run(&mut requests(&[1])).await.unwrap_err();

    assert_eq!(error.to_string(), "had to drop what did not end within 10 s: slow applier");
    assert!(hard.is_cancelled());
    assert_eq!(began.elapsed().as_secs(), 11);
    assert!(!diary.read().contains(&"slow applier done".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_second_request_ends_everything_at_once() {
    let (mut supervisor, diary) = (Supervisor::new(GRACE), Diary::default());
    spawn_worker(&mut supervisor, Phase::Intake, "http", 5, &diary);
    spawn_worker(&mut supervisor, Phase::Work, "applier", 1, &diary);
    let began = Instant::now();

    let error = supervisor.run(&mut requests(&[1, 2])).await.unwrap_err();

    assert_eq!(error.to_string(), "a second stop request ended everything at once; still at work: http");
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(diary.read(), ["http told"]);
}

#[tokio::test]
async fn sigterm_is_a_stop_request() {
    let mut requests = Requests::signals().unwrap();
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(requests.next().await, Some("SIGTERM"));
}

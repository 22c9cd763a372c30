use super::*;
use crate::pb::{AttachUserDataRequest, AttachUserDataResponse};
use crate::telemetry::testing::Spans;
use crate::upstream::operation::{Meta, Replay};
use crate::upstream::progress::Progress;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt;

static META: Meta = Meta {
    name: "AttachUserData",
    method: http::Method::POST,
    template: "/",
    replay: Replay::Once,
    creates: false,
};

fn dedupe(max_entries: usize) -> Dedupe {
    let meter = opentelemetry::global::meter("test");
    let options = Options {
        window: Duration::from_secs(600),
        max_entries,
        redis_url: None,
    };
    Dedupe::new(options, TaskTracker::new(), &meter)
}

fn ticket(account: &str) -> Ticket {
    Ticket {
        account: account.to_owned(),
        deadline: Instant::now() + Duration::from_secs(10),
        caller_repeats: false,
        progress: Progress::default(),
        place: None,
    }
}

fn message(session_id: &str) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: session_id.to_owned(),
        ..Default::default()
    }
}

/// Counts how often it is really done.
#[derive(Clone, Default)]
struct Work(Arc<AtomicU32>);

impl Work {
    fn done(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    async fn answer(self, after: Duration) -> Result<AttachUserDataResponse, Status> {
        tokio::time::sleep(after).await;
        let done = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(AttachUserDataResponse {
            reference_id: Some(done.into()),
            ..Default::default()
        })
    }
}

type Answer = Result<AttachUserDataResponse, Status>;

const ASKED: Asked = Asked {
    vendor: "genesys",
    meta: &META,
};

async fn run(
    dedupe: &Dedupe,
    (account, id, session): (&str, &str, &str),
    work: impl Future<Output = Result<AttachUserDataResponse, Status>> + Send + 'static,
) -> Result<AttachUserDataResponse, Status> {
    run_settled(dedupe, (account, id, session), work, |kept| kept).await
}

async fn run_settled(
    dedupe: &Dedupe,
    (account, id, session): (&str, &str, &str),
    work: impl Future<Output = Result<AttachUserDataResponse, Status>> + Send + 'static,
    settle: impl FnOnce(Answer) -> Answer,
) -> Answer {
    let identity = Identity::of_caller("", id, &message(session));
    let settle = |kept| std::future::ready(settle(kept));
    dedupe
        .run(ASKED, identity, &ticket(account), work, settle)
        .await
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_first_ones_result_for_as_long_as_it_is_kept() {
    let (dedupe, work) = (dedupe(10), Work::default());
    let call = ("default", "id", "s");
    let first = run(&dedupe, call, work.clone().answer(Duration::ZERO))
        .await
        .unwrap();
    let second = run(&dedupe, call, work.clone().answer(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(first, second);
    assert_eq!(work.done(), 1);
    tokio::time::advance(Duration::from_secs(601)).await;
    run(&dedupe, call, work.clone().answer(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(work.done(), 2, "forgotten after the window");
}

#[tokio::test(start_paused = true)]
async fn what_still_runs_is_remembered_beyond_its_window() {
    let (dedupe, work, repeat) = (dedupe(10), Work::default(), Work::default());
    let call = ("default", "order-1", "1");
    let slow = work.clone().answer(Duration::from_secs(605));
    run(&dedupe, call, slow).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(591)).await;
    let again = run(&dedupe, call, repeat.clone().answer(Duration::ZERO)).await;
    assert_eq!(again.unwrap().reference_id, Some(1));
    assert_eq!((work.done(), repeat.done()), (1, 0));
    // From then on as long as any other.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let later = run(&dedupe, call, repeat.clone().answer(Duration::ZERO)).await;
    assert_eq!(later.unwrap().reference_id, Some(1));
    tokio::time::sleep(Duration::from_secs(301)).await;
    let anew = run(&dedupe, call, repeat.clone().answer(Duration::ZERO)).await;
    anew.unwrap();
    assert_eq!((work.done(), repeat.done()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn concurrent_repeats_share_one_run_and_none_may_cut_it() {
    let (dedupe, work) = (dedupe(10), Work::default());
    let call = ("default", "id", "s");
    let slow = Duration::from_secs(5);
    {
        let mut first = Box::pin(run(&dedupe, call, work.clone().answer(slow)));
        assert!(futures_util::poll!(&mut first).is_pending());
        // The first caller leaves.
    }
    let others = (0..50).map(|_| run(&dedupe, call, work.clone().answer(slow)));
    let answers = futures_util::future::join_all(others).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().unwrap().reference_id == Some(1))
    );
    assert_eq!(work.done(), 1);
}

/// The log is the only place that has the outcome, should no repeat come.
#[tokio::test(start_paused = true)]
async fn what_became_of_a_write_whose_caller_left_is_logged() {
    let log = Spans::capture();
    let (dedupe, soon) = (dedupe(10), Duration::from_secs(5));
    let failing = async move {
        tokio::time::sleep(soon).await;
        Err(Asked::abandoned(Asked {
            vendor: "genesys",
            meta: &META,
        }))
    };
    let done = Box::pin(Work::default().answer(soon));
    let works: [Pin<Box<dyn Future<Output = Answer> + Send>>; 2] = [done, Box::pin(failing)];
    for (id, work) in ["done", "failed"].into_iter().zip(works) {
        let mut call = Box::pin(run(&dedupe, ("default", id, "s"), work));
        assert!(futures_util::poll!(&mut call).is_pending());
        drop(call);
        tokio::time::sleep(2 * soon).await;
    }
    // Who was told of the deadline has not left.
    let never = Work::default().answer(3 * soon);
    run(&dedupe, ("default", "late", "s"), never)
        .await
        .unwrap_err();
    tokio::time::sleep(2 * soon).await;
    let lines: Vec<_> = log
        .lines()
        .into_iter()
        .map(|line| {
            assert_eq!(line["operation"], "AttachUserData");
            let message = line["message"].as_str().unwrap().to_owned();
            (message, line["outcome_unknown"].as_bool())
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("done after its caller left".to_owned(), None),
            ("failed after its caller left".to_owned(), Some(true)),
        ]
    );
}

#[tokio::test]
async fn errors_are_results_too() {
    let dedupe = dedupe(10);
    let call = ("default", "id", "s");
    let failed = async { Err(status::defect("first")) };
    let first = run(&dedupe, call, failed).await.unwrap_err();
    let work = Work::default();
    let second = run(&dedupe, call, work.clone().answer(Duration::ZERO))
        .await
        .unwrap_err();
    assert_eq!(first.message(), second.message());
    assert_eq!(first.details(), second.details());
    assert_eq!(work.done(), 0);
}

#[tokio::test]
async fn another_body_is_a_mistake_and_another_key_another_call() {
    let (dedupe, work) = (dedupe(10), Work::default());
    let done = |call| run(&dedupe, call, work.clone().answer(Duration::ZERO));
    done(("default", "id", "s")).await.unwrap();
    let status = done(("default", "id", "other")).await.unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::InvalidArgument, "REQUEST_ID_REUSED")
    );
    done(("default", "id2", "s")).await.unwrap();
    done(("other", "id", "s")).await.unwrap();
    done(("default", "", "s")).await.unwrap();
    done(("default", "", "s")).await.unwrap();
    assert_eq!(work.done(), 5, "without an id nothing is remembered");
}

#[test]
fn who_names_the_default_account_asks_for_the_same() {
    let known_by = |account: &str| {
        let message = AttachUserDataRequest {
            account: account.to_owned(),
            ..message("s")
        };
        Identity::of_caller("", "id", &message).fingerprint
    };
    assert_eq!(known_by(""), known_by("default"));
    assert_ne!(known_by(""), known_by("other"));
}

#[tokio::test]
async fn a_full_memory_refuses_and_forgets_nothing() {
    let (dedupe, work) = (dedupe(1), Work::default());
    let done = |call| run(&dedupe, call, work.clone().answer(Duration::ZERO));
    done(("default", "id", "s")).await.unwrap();
    let status = done(("default", "id2", "s")).await.unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::Unavailable, "DEDUPE_UNAVAILABLE")
    );
    done(("default", "id", "s")).await.unwrap();
    assert_eq!(work.done(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_memory_full_is_told_when_a_place_is_free() {
    let (dedupe, work) = (dedupe(2), Work::default());
    let done = |id| {
        let work = work.clone().answer(Duration::ZERO);
        run(&dedupe, ("default", id, "s"), work)
    };
    let wait = |status: Status| status.get_details_retry_info().unwrap().retry_delay;
    done("1").await.unwrap();
    tokio::time::advance(Duration::from_secs(100)).await;
    done("2").await.unwrap();
    for (passed, left) in [(0, 500_000), (499, 1_000), (0, 1_000)] {
        tokio::time::advance(Duration::from_secs(passed)).await;
        let refused = done("3").await.unwrap_err();
        assert_eq!(wait(refused), Some(Duration::from_millis(left)));
    }
    // As good as now is no time to tell anybody.
    tokio::time::advance(Duration::from_millis(990)).await;
    let refused = done("3").await.unwrap_err();
    assert_eq!(wait(refused), Some(Duration::from_secs(1)));
    tokio::time::advance(Duration::from_millis(10)).await;
    done("3").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_memory_that_is_full_is_complained_of_once() {
    let logged = Spans::capture();
    let complaints = || {
        let lines = logged.lines();
        lines.iter().filter(|line| line["level"] == "WARN").count()
    };
    let (dedupe, work) = (dedupe(20), Work::default());
    let done = |n: usize| {
        let work = work.clone().answer(Duration::ZERO);
        let dedupe = &dedupe;
        async move { run(dedupe, ("default", &n.to_string(), "s"), work).await }
    };
    // One a second.
    for n in 0..20 {
        done(n).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(complaints(), 0);
    for n in 20..25 {
        done(n).await.unwrap_err();
    }
    assert_eq!(complaints(), 1);
    // Places that come free one by one are taken at once: it is as full as before.
    tokio::time::advance(Duration::from_secs(580)).await;
    for n in 30..33 {
        done(n).await.unwrap();
        done(n + 10).await.unwrap_err();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(complaints(), 1);
    tokio::time::advance(Duration::from_secs(5)).await;
    for n in 50..56 {
        done(n).await.unwrap();
    }
    done(60).await.unwrap_err();
    assert_eq!(complaints(), 2);
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_what_is_remembered_and_how_often_that_was_of_use() {
    let metrics = crate::telemetry::Metrics::new().unwrap();
    let options = Options {
        window: Duration::from_secs(600),
        max_entries: 10,
        redis_url: None,
    };
    let dedupe = Dedupe::new(options, TaskTracker::new(), &metrics.meter());
    let entries = || metrics.read().value("switchboard_dedupe_entries", &[]);
    assert_eq!(entries(), Some(0.0));
    for id in ["1", "2", "2", ""] {
        let work = Work::default().answer(Duration::ZERO);
        run(&dedupe, ("default", id, "s"), work).await.unwrap();
    }
    assert_eq!(entries(), Some(2.0));
    let hits = metrics.read().value("switchboard_dedupe_hits_total", &[]);
    assert_eq!(hits, Some(1.0));
    // Also while nobody calls.
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(entries(), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_has_a_deadline_and_learns_what_may_have_happened() {
    let (dedupe, work) = (dedupe(10), Work::default());
    let call = ("default", "id", "s");
    let hour = Duration::from_secs(3600);
    let status = run(&dedupe, call, work.clone().answer(hour))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::DeadlineExceeded, "DEADLINE")
    );
}

/// The task of the write may be late, and about to send it.
#[tokio::test(start_paused = true)]
async fn what_is_told_at_the_deadline_stays_true() {
    let (dedupe, ticket) = (dedupe(10), ticket("default"));
    let leave = ticket.progress.leave(ticket.deadline).unwrap();
    let identity = Identity::of_caller("", "id", &message("s"));
    let late = std::future::pending::<Answer>();
    let told = dedupe.run(ASKED, identity, &ticket, late, std::future::ready);
    assert_eq!(reason(&told.await.unwrap_err()), "DEADLINE");
    assert!(!leave.take());
}

/// The first call's time is longer, and what it has not sent yet it may still send.
#[tokio::test(start_paused = true)]
async fn a_repeat_with_less_time_is_not_told_that_nothing_is_pending() {
    let join = async |first: &Ticket| {
        let dedupe = dedupe(10);
        let seconds = Duration::from_secs(2);
        let repeat = Ticket {
            deadline: Instant::now() + seconds,
            ..ticket("default")
        };
        let work = async |ticket: &Ticket| {
            let identity = Identity::of_caller("", "id", &message("s"));
            let never = std::future::pending::<Answer>();
            let settle = std::future::ready;
            dedupe.run(ASKED, identity, ticket, never, settle).await
        };
        let mut own = Box::pin(work(first));
        assert!(futures_util::poll!(&mut own).is_pending());
        let told = work(&repeat).await.unwrap_err();
        let mut info = told.get_details_error_info().unwrap();
        (info.reason, info.metadata.remove("attempts").unwrap())
    };
    let unknown = |attempts: &str| ("OUTCOME_UNKNOWN".to_owned(), attempts.to_owned());
    let first = ticket("default");
    assert_eq!(join(&first).await, unknown("0"));
    let sent = ticket("default");
    sent.progress.mark_sent();
    assert_eq!(join(&sent).await, unknown("1"));
    // Of what will never be sent that is not so.
    first.progress.give_up();
    assert_eq!(join(&first).await.0, "DEADLINE");
}

/// A drain that is cut meanwhile has to tell who waits that the write may have been done.
#[tokio::test(start_paused = true)]
async fn who_waits_for_anothers_write_is_known_to() {
    let dedupe = dedupe(10);
    let write = |ticket: Ticket| {
        let identity = Identity::of_caller("", "id", &message("s"));
        let never = std::future::pending::<Answer>();
        let dedupe = dedupe.clone();
        Box::pin(async move {
            let settle = std::future::ready;
            dedupe.run(ASKED, identity, &ticket, never, settle).await
        })
    };
    let (first, repeat) = (ticket("default"), ticket("default"));
    let mut own = write(first.clone());
    assert!(futures_util::poll!(&mut own).is_pending());
    let mut joined = write(repeat.clone());
    assert!(futures_util::poll!(&mut joined).is_pending());
    assert!(!first.progress.joined() && repeat.progress.joined());
}

/// Or done it: what the first call was told has to be looked for, and nothing was sent for the repeat.
#[tokio::test(start_paused = true)]
async fn who_finds_out_about_anothers_write_is_known_to() {
    let dedupe = dedupe(10);
    let unknown = async { Err(Status::unknown("whether it was done")) };
    run(&dedupe, ("default", "id", "s"), unknown)
        .await
        .unwrap_err();
    let repeat = ticket("default");
    let identity = Identity::of_caller("", "id", &message("s"));
    let never = std::future::pending::<Answer>();
    let settle = |_: Answer| std::future::pending::<Answer>();
    let mut settling = Box::pin(dedupe.run(ASKED, identity, &repeat, never, settle));
    assert!(futures_util::poll!(&mut settling).is_pending());
    assert!(repeat.progress.joined());
}

/// Whatever it waits for: the gateway does not, and another one is asked to do it.
#[tokio::test(start_paused = true)]
async fn what_was_cut_before_it_was_sent_ends_with_its_caller() {
    for sent in [false, true] {
        let tasks = TaskTracker::new();
        let options = Options {
            window: Duration::from_secs(600),
            max_entries: 10,
            redis_url: None,
        };
        let meter = opentelemetry::global::meter("test");
        let dedupe = Dedupe::new(options, tasks.clone(), &meter);
        let ticket = ticket("default");
        let identity = Identity::of_caller("", "id", &message("s"));
        let never = std::future::pending::<Answer>();
        let mut call = Box::pin(dedupe.run(ASKED, identity, &ticket, never, std::future::ready));
        assert!(futures_util::poll!(&mut call).is_pending());
        if sent {
            ticket.progress.mark_sent();
        }
        ticket.progress.cut();
        drop(call);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(tasks.is_empty(), !sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_dies_leaves_the_outcome_unknown_for_its_window() {
    let (dedupe, work) = (dedupe(10), Work::default());
    let call = ("default", "id", "s");
    let status = run(&dedupe, call, async { panic!("a defect") }).await;
    let repeat = run(&dedupe, call, work.clone().answer(Duration::ZERO)).await;
    for status in [status.unwrap_err(), repeat.unwrap_err()] {
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::Unknown, "OUTCOME_UNKNOWN")
        );
    }
    tokio::time::advance(Duration::from_secs(601)).await;
    let anew = run(&dedupe, call, work.clone().answer(Duration::ZERO)).await;
    assert!(anew.is_ok() && work.done() == 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_unknown_outcome_is_settled_to_is_what_later_repeats_get() {
    let dedupe = dedupe(10);
    let call = ("default", "id", "s");
    let unknown = async { Err(Status::unknown("whether it was done")) };
    let never = || async { panic!("done again") };
    let settled = AttachUserDataResponse {
        reference_id: Some(83),
        ..Default::default()
    };
    let first = run_settled(&dedupe, call, unknown, |_| panic!("nothing was kept yet"));
    assert_eq!(first.await.unwrap_err().code(), Code::Unknown);
    tokio::time::advance(Duration::from_secs(400)).await;

    let undecided = run_settled(&dedupe, call, never(), |_| Err(Status::internal("no idea")));
    assert_eq!(undecided.await.unwrap_err().code(), Code::Internal);
    let decided = run_settled(&dedupe, call, never(), |kept| {
        assert_eq!(
            kept.unwrap_err().code(),
            Code::Unknown,
            "it stayed as it was"
        );
        Ok(settled.clone())
    });
    assert_eq!(decided.await.unwrap(), settled);
    assert_eq!(run(&dedupe, call, never()).await.unwrap(), settled);

    tokio::time::advance(Duration::from_secs(201)).await;
    let work = Work::default();
    run(&dedupe, call, work.clone().answer(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(work.done(), 1, "forgotten when the first would have been");
}

/// What it does not know of an answer is there for the others who ask.
#[tokio::test]
async fn a_repeat_at_an_older_gateway_takes_nothing_from_what_is_kept() {
    #[derive(Clone, PartialEq, Message)]
    struct Older {}
    let dedupe = dedupe(10);
    let call = ("default", "id", "s");
    let work = Work::default().answer(Duration::ZERO);
    let first = run(&dedupe, call, work).await.unwrap();
    let identity = Identity::of_caller("", "id", &message("s"));
    let ticket = ticket("default");
    let never = async { panic!("done again") };
    let older = dedupe.run(
        ASKED,
        identity,
        &ticket,
        never,
        std::future::ready::<Result<Older, _>>,
    );
    older.await.unwrap();
    let never = async { panic!("done again") };
    assert_eq!(run(&dedupe, call, never).await.unwrap(), first);
}

/// Looking takes its time, and the window may end meanwhile.
#[tokio::test(start_paused = true)]
async fn what_an_outcome_is_settled_to_is_never_taken_for_a_later_write() {
    let dedupe = dedupe(10);
    let reference = |reference_id| AttachUserDataResponse {
        reference_id: Some(reference_id),
        ..Default::default()
    };
    let unknown = async { Err(Status::unknown("whether it was done")) };
    run(&dedupe, ("default", "id", "s"), unknown)
        .await
        .unwrap_err();
    tokio::time::advance(Duration::from_secs(599)).await;
    let identity = Identity::of_caller("", "id", &message("s"));
    let ticket = ticket("default");
    let never = async { panic!("done again") };
    let settle = async |_: Answer| {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(reference(83))
    };
    let settling = dedupe.run(ASKED, identity, &ticket, never, settle);
    let another = ("default", "id", "another");
    let later = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        run(&dedupe, another, async move { Ok(reference(84)) }).await
    };
    let (settled, later) = tokio::join!(settling, later);
    assert_eq!(settled.unwrap(), reference(83));
    assert_eq!(later.unwrap(), reference(84));
    let never = async { panic!("done again") };
    assert_eq!(run(&dedupe, another, never).await.unwrap(), reference(84));
}

//! The audit log of a gateway on this thread. Tests run on one thread with all their tasks, so
//! that none sees the lines of another.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A line by the names of its fields; `message` is one of them.
pub type Line = BTreeMap<String, String>;

pub struct Audit {
    lines: Arc<Mutex<Vec<Line>>>,
    _scope: DefaultGuard,
}

/// While there is a single subscriber, tracing asks that of the thread which comes to a place in
/// the code first, and for the answer "none" leaves the place out for every thread. So there are two.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

impl Audit {
    pub fn listen() -> Audit {
        LazyLock::force(&ANOTHER);
        super::scan::begin_log();
        let lines = Arc::default();
        let listening = Listening {
            lines: Arc::clone(&lines),
            beyond: tracing::dispatcher::get_default(Clone::clone),
        };
        let subscriber = tracing_subscriber::registry().with(listening);
        Audit {
            lines,
            _scope: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Those since the last time.
    pub fn take(&self) -> Vec<Line> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    pub fn has(&self, field: &str, part: &str) -> bool {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .any(|line| line.get(field).is_some_and(|it| it.contains(part)))
    }
}

struct Listening {
    lines: Arc<Mutex<Vec<Line>>>,
    /// Who would listen without us.
    beyond: Dispatch,
}

impl<S: Subscriber> Layer<S> for Listening {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.beyond.enabled(event.metadata()) {
            self.beyond.event(event);
        }
        if event.metadata().target() == "switchboard::audit" {
            let mut line = Fields::default();
            event.record(&mut line);
            self.lines.lock().unwrap().push(line.0);
        }
    }
}

#[derive(Default)]
struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

#[test]
fn a_line_that_another_thread_could_have_told_first_is_heard() {
    let tell = || tracing::info!(target: "switchboard::audit", "told");
    let audit = Audit::listen();
    std::thread::spawn(tell).join().unwrap();
    tell();
    assert_eq!(audit.take().len(), 1);
}

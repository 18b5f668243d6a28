//! Tells the story of the demo: what the CMS does, and how the library follows.
//!
//! Promises: one line for each thing that happens, in the order in which it happened; what it says of the
//! library stands in the ledger. Must not know: how anything is done.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use chrono::Local;
use cms_simulator::{Event, FieldChange};
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::PIPELINE;
use super::ear::{self, Heard};
use crate::change::Origin;
use crate::prose::{self, Paint};

/// Column by column, what was before and what is now.
type Changes = BTreeMap<String, (Value, Value)>;

/// Tells what the two sources say, until `stop`.
pub(super) async fn tell(
    mut teller: Teller,
    mut cms: broadcast::Receiver<Event>,
    mut accord: UnboundedReceiver<Heard>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            // The CMS edits before it calls: what it says comes first.
            biased;
            Some(event) = next(&mut cms) => match event {
                Ok(event) => teller.cms(event).await,
                Err(missed) => teller.missed(missed),
            },
            Some(heard) = accord.recv() => teller.heard(heard).await,
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// The next event, or how many came too fast; `None` once the CMS has ended.
async fn next(cms: &mut broadcast::Receiver<Event>) -> Option<Result<Event, u64>> {
    match cms.recv().await {
        Ok(event) => Some(Ok(event)),
        Err(RecvError::Lagged(missed)) => Some(Err(missed)),
        Err(RecvError::Closed) => None,
    }
}

/// What the teller remembers, to tell a follow-up from a surprise.
pub(super) struct Teller {
    library: PgPool,
    paint: Paint,
    out: Box<dyn Write + Send + Sync>,
    /// Edits of each row that the library has not followed yet.
    pending: HashMap<String, Pending>,
    registered: Registered,
    /// The time of day that stands in front of the last line.
    clock: String,
}

/// What the CMS did to a row since the library last followed.
#[derive(Default)]
struct Pending {
    edits: u64,
    changes: Changes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Registered {
    NotYet,
    Yes,
    Lost,
}

/// Who acts in a line.
#[derive(Clone, Copy)]
enum Actor {
    Cms,
    Library,
    Accord,
}

impl Teller {
    /// A teller who looks things up in the library's database.
    pub(super) fn new(library: PgPool, paint: Paint, out: Box<dyn Write + Send + Sync>) -> Self {
        let (pending, registered) = (HashMap::new(), Registered::NotYet);
        Self { library, paint, out, pending, registered, clock: String::new() }
    }

    async fn cms(&mut self, event: Event) {
        match event {
            Event::Edited { key, changes } => self.edited(key, changes).await,
            Event::Inserted { key } => self.say(Actor::Cms, &format!("adds #{key}")),
            Event::Deleted { key } => self.say(Actor::Cms, &format!("deletes #{key}")),
            Event::Called { status: 200..300, .. } => {}
            Event::Called { key, status } => {
                let text = format!("hears {status} about #{key}, and does not call again");
                self.add(Actor::Cms, &self.paint.bad(&text));
            }
            Event::Unreachable { key, reason } => {
                let reason = prose::safe(&reason);
                let text = format!("cannot reach the library ({reason}): it is not told of #{key}");
                self.add(Actor::Cms, &self.paint.bad(&text));
            }
            Event::Unheard { key } => {
                let text = format!("has no listener: nobody is told of #{key}");
                self.add(Actor::Cms, &self.paint.warn(&text));
            }
            Event::Dropped { key } => {
                let text = format!("loses its call about #{key} (a fault): the library is not told");
                self.add(Actor::Cms, &self.paint.warn(&text));
            }
            Event::ListenerSet { url } => self.listening(&url),
            Event::ListenerRemoved => self.forgotten("is told to call nobody any more"),
            Event::ListenerForgotten => self.forgotten("forgets its listener (a fault)"),
        }
    }

    async fn edited(&mut self, key: i32, changes: Vec<FieldChange>) {
        let named = changes.iter().find(|change| change.field.name() == "name").map(|c| c.from.clone());
        let name = match named {
            Some(name) => Some(name),
            None => self.name_in_library(key).await,
        };
        let title = name.map(|name| format!(" {}", prose::value(&name))).unwrap_or_default();
        // The old name stands in the title, and of a text what is new says enough.
        let told = changes.iter().map(|FieldChange { field, from, to }| {
            let (field, (before, after)) = (field.name(), prose::change(from, to));
            if to.is_string() {
                format!("{field} → {after}")
            } else {
                format!("{field} {before} → {after}")
            }
        });
        let told = told.collect::<Vec<_>>().join(", ");
        self.say(Actor::Cms, &format!("edits #{key}{}: {told}", self.paint.bold(&title)));
        self.pending.entry(key.to_string()).or_default().add(changes);
    }

    async fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Change(change) => self.library(change).await,
            Heard::Run(run) => self.compared(&run),
        }
    }

    fn compared(&mut self, run: &ear::Run) {
        let rows = prose::count(run.rows, "row");
        let why = prose::cut(&prose::safe(&run.why), 200);
        let found = match run.state.as_str() {
            "clean" => self.paint.dim(&format!("{rows}, and both say the same")),
            "repaired" => {
                self.paint.good(&format!("{} of {rows} differed, {} repaired", run.drifted, run.repaired))
            }
            "inconclusive" => self.paint.bad(&format!("it cannot be told: {why}")),
            state => self.paint.warn(&format!("{} of {rows} differ, {state}: {why}", run.drifted)),
        };
        self.say(Actor::Accord, &format!("compares both databases: {found}"));
    }

    async fn library(&mut self, heard: ear::Change) {
        let place = self.paint.dim(&format!("ledger #{}", heard.position));
        let key = heard.key.as_deref().map(|key| format!(" #{}", prose::safe(key))).unwrap_or_default();
        let about = if key.is_empty() { "" } else { " about" };
        let text = match heard.outcome.as_str() {
            "applied" => self.applied(&heard, &place).await,
            "unchanged" => format!("has{key} like that already: unchanged, {place}"),
            "stale" => {
                format!("lets a call about{key} pass: the CMS itself says otherwise by now, {place}")
            }
            _ => {
                let why = prose::cut(&prose::safe(&heard.why), 100);
                let entry = heard.quarantine.map(|id| format!(" {id}")).unwrap_or_default();
                let set_aside = format!("sets a call{about}{key} aside, in quarantine entry{entry}: {why}");
                format!("{}, {place}", self.paint.warn(&set_aside))
            }
        };
        self.add(Actor::Library, &text);
    }

    async fn applied(&mut self, heard: &ear::Change, place: &str) -> String {
        let took = format!("applied in {}", milliseconds(heard.elapsed_us));
        let took = self.paint.good(&took);
        let pending = heard.key.as_deref().and_then(|key| self.pending.remove(key)).unwrap_or_default();
        let done = self.in_ledger(heard.position).await;
        let is_repair = heard.origin == Origin::Reconcile.as_str();
        if pending.edits == 1 && pending.says(&done) && !is_repair {
            return format!("follows: {took}, {place}");
        }
        let follows = match (pending.edits, &heard.key) {
            (_, Some(key)) if is_repair => format!("was not told of #{}, and is repaired", prose::safe(key)),
            (0 | 1, _) => "follows".to_owned(),
            (edits, _) => format!("catches up on {}", prose::count(edits, "edit")),
        };
        let done = done.iter().map(|(column, (from, to))| {
            let (from, to) = prose::change(from, to);
            format!("{column} {from} → {to}")
        });
        format!("{follows}: {}; {took}, {place}", done.collect::<Vec<_>>().join(", "))
    }

    fn listening(&mut self, url: &str) {
        let how = match self.registered {
            // The registration is repeated in case it was forgotten, which is no news.
            Registered::Yes => return,
            Registered::NotYet => "registers with the CMS, to be called at",
            Registered::Lost => "registers with the CMS again, to be called at",
        };
        self.registered = Registered::Yes;
        self.say(Actor::Accord, &format!("{how} {}", prose::safe(url)));
    }

    fn forgotten(&mut self, text: &str) {
        self.registered = Registered::Lost;
        self.say(Actor::Cms, &self.paint.warn(text));
    }

    fn missed(&mut self, events: u64) {
        let text = format!("did {} more, too fast to be told", prose::count(events, "thing"));
        self.say(Actor::Cms, &self.paint.dim(&text));
    }

    /// What the ledger says that a change did.
    async fn in_ledger(&self, position: i64) -> Changes {
        let found = sqlx::query_scalar(
            "select l.changes from accord.ledger l join accord.pipeline p on p.id = l.pipeline
             where p.name = $1 and l.position = $2",
        )
        .bind(PIPELINE)
        .bind(position)
        .fetch_optional(&self.library)
        .await;
        match found {
            Ok(Some(Some(Value::Object(columns)))) => columns.into_iter().filter_map(changed).collect(),
            Ok(_) => Changes::new(),
            Err(error) => {
                tracing::warn!(%error, position, "the story cannot read ledger entry {position}");
                Changes::new()
            }
        }
    }

    async fn name_in_library(&self, key: i32) -> Option<Value> {
        let name: Result<Option<String>, _> =
            sqlx::query_scalar("select name from fragrances where fragrance_id = $1")
                .bind(key)
                .fetch_optional(&self.library)
                .await;
        name.ok().flatten().map(Value::String)
    }

    /// Says something new.
    fn say(&mut self, actor: Actor, text: &str) {
        self.clock.clear();
        self.add(actor, text);
    }

    /// Says what came of the last line: within the same second it stands below it, without a time.
    fn add(&mut self, actor: Actor, text: &str) {
        let now = Local::now().format("%H:%M:%S").to_string();
        let clock = if now == self.clock { " ".repeat(now.len()) } else { self.paint.dim(&now) };
        self.clock = now;
        let actor = match actor {
            Actor::Cms => self.paint.actor("CMS"),
            Actor::Library => self.paint.good("library"),
            Actor::Accord => self.paint.good("Accord"),
        };
        // A reader that went away is no reason to stop the CMS and the library.
        let _ = writeln!(self.out, "{clock}  {actor} {text}");
    }
}

impl Pending {
    fn add(&mut self, changes: Vec<FieldChange>) {
        self.edits += 1;
        self.changes.extend(changes.into_iter().map(|c| (c.field.name().to_owned(), (c.from, c.to))));
    }

    /// Whether this is what the library did.
    fn says(&self, done: &Changes) -> bool {
        let spelled = |changes: &Changes| {
            let spelled = changes.iter().map(|(column, (from, to))| format!("{column} {from} {to}"));
            spelled.collect::<Vec<_>>()
        };
        spelled(&self.changes) == spelled(done)
    }
}

/// `[from, to]` is a change; `[value]` was confirmed.
fn changed((column, what): (String, Value)) -> Option<(String, (Value, Value))> {
    let Value::Array(what) = what else { return None };
    let [from, to] = <[Value; 2]>::try_from(what).ok()?;
    Some((column, (from, to)))
}

fn milliseconds(micros: i64) -> String {
    match micros {
        ..1000 => "less than 1 ms".to_owned(),
        _ => format!("{} ms", micros / 1000),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use cms_simulator::Field;
    use serde_json::json;
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a teller makes of these, without the time of day.
    async fn told(events: Vec<Event>, heard: Vec<Heard>) -> String {
        let nowhere = PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/nowhere").unwrap();
        let page = Page::default();
        let mut teller = Teller::new(nowhere, Paint::plain(), Box::new(page.clone()));
        for event in events {
            teller.cms(event).await;
        }
        for heard in heard {
            teller.heard(heard).await;
        }
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let untimed = text.lines().map(|line| line.chars().skip(10).collect::<String>());
        untimed.collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn what_the_cms_does_is_told_in_sentences() {
        let change = |field, from, to| FieldChange { field, from, to };
        let url = "http://127.0.0.1:9099/notifications/***".to_owned();
        let changes = vec![
            change(Field::Name, json!("Iris"), json!("IrisHOOO")),
            change(Field::Forbidden, json!(false), json!(true)),
        ];
        let story = told(
            vec![
                Event::ListenerSet { url: url.clone() },
                Event::ListenerSet { url: url.clone() },
                Event::Edited { key: 7, changes },
                Event::Called { key: 7, status: 200 },
                Event::Called { key: 7, status: 503 },
                Event::Dropped { key: 7 },
                Event::Unreachable { key: 7, reason: "Connection refused".to_owned() },
                Event::ListenerForgotten,
                Event::Unheard { key: 7 },
                Event::ListenerSet { url },
            ],
            Vec::new(),
        );
        insta::assert_snapshot!(story.await, @"
        Accord registers with the CMS, to be called at http://127.0.0.1:9099/notifications/***
        CMS edits #7 “Iris”: name → “IrisHOOO”, forbidden no → yes
        CMS hears 503 about #7, and does not call again
        CMS loses its call about #7 (a fault): the library is not told
        CMS cannot reach the library (Connection refused): it is not told of #7
        CMS forgets its listener (a fault)
        CMS has no listener: nobody is told of #7
        Accord registers with the CMS again, to be called at http://127.0.0.1:9099/notifications/***
        ");
    }

    #[tokio::test]
    async fn what_the_library_makes_of_it_is_told_with_its_place() {
        let change = |outcome: &str, key: Option<&str>| ear::Change {
            outcome: outcome.to_owned(),
            key: key.map(str::to_owned),
            position: 17,
            ..ear::Change::default()
        };
        let refused = |key| ear::Change {
            quarantine: Some(3),
            why: "no JSON: \u{1b}[2J".to_owned(),
            ..change("quarantined", key)
        };
        let run = |state: &str, drifted, repaired, why: &str| {
            let (state, why) = (state.to_owned(), why.to_owned());
            Heard::Run(ear::Run { state, rows: 5000, drifted, repaired, why })
        };
        let changes =
            [change("unchanged", Some("7")), change("stale", Some("7")), refused(None), refused(Some("7"))];
        let mut lines: Vec<Heard> = changes.into_iter().map(Heard::Change).collect();
        lines.push(run("clean", 0, 0, ""));
        lines.push(run("repaired", 3, 3, ""));
        lines.push(run("held", 900, 0, "too many"));
        lines.push(run("inconclusive", 0, 0, "no answer"));
        insta::assert_snapshot!(told(Vec::new(), lines).await, @r"
        library has #7 like that already: unchanged, ledger #17
        library lets a call about #7 pass: the CMS itself says otherwise by now, ledger #17
        library sets a call aside, in quarantine entry 3: no JSON: \u{1b}[2J, ledger #17
        library sets a call about #7 aside, in quarantine entry 3: no JSON: \u{1b}[2J, ledger #17
        Accord compares both databases: 5,000 rows, and both say the same
        Accord compares both databases: 3 of 5,000 rows differed, 3 repaired
        Accord compares both databases: 900 of 5,000 rows differ, held: too many
        Accord compares both databases: it cannot be told: no answer
        ");
    }
}

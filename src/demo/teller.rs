//! Tells the story of the demo: what the CMS does, and how the library follows.
//!
//! Promises: one line for each thing that happens, in the order in which it happened; what it says of the
//! library stands in the ledger. Must not know: how anything is done.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::time::Duration;

use chrono::{DateTime, Local};
use cms_simulator::{Event, FieldChange};
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::PIPELINE;
use super::ear::Heard;
use crate::prose::{self, Paint};

/// Column by column, what was before and what is now.
type Changes = BTreeMap<String, (Value, Value)>;

/// Tells what the two sources say, until `stop`.
pub(super) async fn tell(
    mut teller: Teller,
    mut cms: broadcast::Receiver<Event>,
    mut waist: UnboundedReceiver<Heard>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            // The CMS edits before it calls: what it says comes first.
            biased;
            event = cms.recv() => match event {
                Ok(event) => teller.cms(event).await,
                Err(RecvError::Lagged(missed)) => teller.missed(missed),
                Err(RecvError::Closed) => break,
            },
            Some(heard) = waist.recv() => teller.library(heard).await,
            () = stop.cancelled() => break,
        }
    }
    // The CMS ends first, and the waist may still have something to say.
    stop.cancelled().await;
    Ok(())
}

/// What the teller remembers, to tell a follow-up from a surprise.
pub(super) struct Teller {
    library: PgPool,
    paint: Paint,
    keep_alive: Duration,
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
    /// Tells to stdout. `keep_alive` is how often the registration is repeated.
    pub(super) fn new(library: PgPool, paint: Paint, keep_alive: Duration) -> Self {
        let (pending, registered) = (HashMap::new(), Registered::NotYet);
        Self { library, paint, keep_alive, pending, registered, clock: String::new() }
    }

    async fn cms(&mut self, event: Event) {
        let keep_alive = self.keep_alive.as_secs();
        match event {
            Event::Edited { key, changes } => self.edited(key, changes).await,
            Event::Inserted { key } => self.say(Actor::Cms, &format!("adds #{key}")),
            Event::Deleted { key } => self.say(Actor::Cms, &format!("deletes #{key}")),
            Event::Called { status: 200..300, .. } => {}
            Event::Called { key, status } => {
                let text = format!("hears {status} about #{key}, and does not call again");
                self.say(Actor::Cms, &self.paint.bad(&text));
            }
            Event::Unreachable { key, reason } => {
                let reason = prose::safe(&reason);
                let text = format!("cannot reach the library ({reason}): it is not told of #{key}");
                self.say(Actor::Cms, &self.paint.bad(&text));
            }
            Event::Unheard { key } => {
                let text = format!("has no listener: nobody is told of #{key}");
                self.say(Actor::Cms, &self.paint.warn(&text));
            }
            Event::Dropped { key } => {
                let text = format!("loses its call about #{key} (a fault): the library is not told");
                self.say(Actor::Cms, &self.paint.warn(&text));
            }
            Event::ListenerSet { url } => self.listening(&url),
            Event::ListenerRemoved => {
                let text = format!("is told to call nobody; Accord registers again within {keep_alive} s");
                self.forgotten(&text);
            }
            Event::ListenerForgotten => {
                let text = format!("forgets its listener; Accord registers again within {keep_alive} s");
                self.forgotten(&text);
            }
        }
    }

    async fn edited(&mut self, key: i32, changes: Vec<FieldChange>) {
        let named = changes.iter().find(|change| change.field.name() == "name").map(|c| c.from.clone());
        let name = match named {
            Some(name) => Some(name),
            None => self.name_in_library(key).await,
        };
        let title = name.map(|name| format!(" {}", prose::value(&name))).unwrap_or_default();
        let changes: Changes =
            changes.into_iter().map(|c| (c.field.name().to_owned(), (c.from, c.to))).collect();
        // The old name stands in the title, and of a text what is new says enough.
        let told = changes.iter().map(|(field, (from, to))| {
            let (before, after) = prose::change(from, to);
            if to.is_string() { format!("{field} → {after}") } else { format!("{field} {before} → {after}") }
        });
        let told = told.collect::<Vec<_>>().join(", ");
        self.say(Actor::Cms, &format!("edits #{key}{}: {told}", self.paint.bold(&title)));
        self.pending.entry(key.to_string()).or_default().add(changes);
    }

    async fn library(&mut self, heard: Heard) {
        let place = self.paint.dim(&format!("ledger #{}", heard.position));
        let key = heard.key.as_deref().map(|key| format!(" #{}", prose::safe(key))).unwrap_or_default();
        let text = match heard.outcome.as_str() {
            "applied" => self.applied(&heard, &place).await,
            "unchanged" => format!("knows that of{key} already: unchanged, {place}"),
            "stale" => format!("lets that of{key} pass: the CMS itself says otherwise by now, {place}"),
            _ => {
                let why = prose::cut(&prose::safe(&heard.why), 100);
                let entry = heard.quarantine.map(|id| format!(" as entry {id}")).unwrap_or_default();
                let set_aside = self.paint.warn(&format!("sets a call{key} aside{entry}: {why}"));
                format!("{set_aside}, {place}")
            }
        };
        self.say(Actor::Library, &text);
    }

    async fn applied(&mut self, heard: &Heard, place: &str) -> String {
        let took = format!("applied in {}", milliseconds(heard.elapsed_us));
        let took = self.paint.good(&took);
        let pending = heard.key.as_deref().and_then(|key| self.pending.remove(key)).unwrap_or_default();
        let done = self.in_ledger(heard.position).await;
        if pending.edits == 1 && pending.says(&done) {
            return format!("follows: {took}, {place}");
        }
        let follows = match pending.edits {
            0 | 1 => "follows".to_owned(),
            edits => format!("catches up on {}", prose::count(edits, "edit")),
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
            Registered::NotYet => "registers with the CMS, which is to call",
            Registered::Lost => "registers with the CMS again, which is to call",
        };
        self.registered = Registered::Yes;
        self.say(Actor::Accord, &format!("{how} {}", prose::safe(url)));
    }

    fn forgotten(&mut self, text: &str) {
        self.registered = Registered::Lost;
        self.say(Actor::Cms, &self.paint.warn(text));
    }

    fn missed(&mut self, events: u64) {
        let text = format!("does {} more, too fast to be told", prose::count(events, "thing"));
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

    fn say(&mut self, actor: Actor, text: &str) {
        self.say_at(Local::now(), actor, text);
    }

    fn say_at(&mut self, now: DateTime<Local>, actor: Actor, text: &str) {
        let line = self.line(&now.format("%H:%M:%S").to_string(), actor, text);
        // A reader that went away is no reason to stop the CMS and the library.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// An answer of the library within the same second stands under what it answers.
    fn line(&mut self, clock: &str, actor: Actor, text: &str) -> String {
        let follows = matches!(actor, Actor::Library) && clock == self.clock;
        clock.clone_into(&mut self.clock);
        let clock = if follows { " ".repeat(clock.len()) } else { self.paint.dim(clock) };
        let actor = match actor {
            Actor::Cms => self.paint.actor("CMS"),
            Actor::Library => self.paint.good("library"),
            Actor::Accord => self.paint.good("Accord"),
        };
        format!("{clock}  {actor} {text}")
    }
}

impl Pending {
    fn add(&mut self, changes: Changes) {
        self.edits += 1;
        self.changes.extend(changes);
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

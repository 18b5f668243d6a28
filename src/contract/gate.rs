//! From a raw body to changes or violations.
//!
//! Promises: never panics; a record becomes exactly one [`Change`], refused ones included; absent is not
//! null; numbers keep every digit; only lossless coercion. Must not know: where the bytes came from.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::change::{Body, Change, Fields, Intent, Key, Origin, Violation};
use crate::contract::{Contract, UnknownFields, coerce, json};
use crate::value::Value;

/// The most records in one body. Each may become a row of its own, so a body is no way to make millions.
pub const MAX_RECORDS: usize = 10_000;

/// Judges the bodies of one pipeline.
#[derive(Clone, Debug)]
pub struct Gate {
    contract: Arc<Contract>,
}

/// A body, judged.
#[derive(Debug)]
pub struct Judged {
    /// One change a record, in order.
    pub changes: Vec<Change>,
    /// The body was an array: answer with a list.
    pub is_batch: bool,
    /// How many unknown fields were left out.
    pub ignored_fields: u64,
}

/// The longest key, in bytes: the ledger's index cannot hold much longer ones.
const MAX_KEY: usize = 1024;

/// A record's verdict.
struct Verdict {
    intent: Intent,
    ignored_fields: u64,
}

impl Gate {
    /// A gate for one contract.
    pub fn new(contract: Arc<Contract>) -> Self {
        Self { contract }
    }

    /// The contract it judges by.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// Judges a body that holds one record or an array of them.
    pub fn judge(&self, body: &Arc<Body>, origin: Origin, event_id: Option<&str>) -> Judged {
        let change = |intent, event_id, pointer| Change {
            intent,
            origin,
            event_id,
            body: Arc::clone(body),
            pointer,
            replays: None,
        };
        let whole = |intent| Judged {
            changes: vec![change(intent, event_id.map(Arc::from), String::new())],
            is_batch: false,
            ignored_fields: 0,
        };
        match json::records(&body.bytes) {
            Err(reason) => whole(refused(None, vec![Violation::record("json", reason)])),
            Ok(json::Records::One(text)) => {
                let verdict = self.judge_text(text);
                Judged { ignored_fields: verdict.ignored_fields, ..whole(verdict.intent) }
            }
            Ok(json::Records::Many(items)) if items.len() > MAX_RECORDS => {
                let message =
                    format!("the array holds {} records; send at most {MAX_RECORDS} a call", items.len());
                whole(refused(None, vec![Violation::record("maxItems", message)]))
            }
            Ok(json::Records::Many(items)) => {
                let verdicts = items.iter().map(|item| self.judge_text(item.get()));
                let mut ignored_fields = 0;
                let changes = verdicts
                    .enumerate()
                    .map(|(index, verdict)| {
                        ignored_fields += verdict.ignored_fields;
                        let event_id = event_id.map(|id| format!("{id}#{index}").into());
                        change(verdict.intent, event_id, format!("/{index}"))
                    })
                    .collect();
                Judged { changes, is_batch: true, ignored_fields }
            }
        }
    }

    /// Judges the one record of a body that stands at this pointer, as [`Gate::judge`] gave it out.
    pub fn judge_at(&self, body: &Arc<Body>, pointer: &str, origin: Origin) -> Change {
        let intent = match record_at(&body.bytes, pointer) {
            Some(text) => self.judge_text(text).intent,
            None => match self.judge(body, origin, None).changes.as_slice() {
                // What is wrong with the body as a whole.
                [whole] if pointer.is_empty() && whole.pointer.is_empty() => whole.intent.clone(),
                _ => {
                    let message = format!("the body holds no one record at `{pointer}`");
                    refused(None, vec![Violation::record("json", message)])
                }
            },
        };
        let body = Arc::clone(body);
        Change { intent, origin, event_id: None, body, pointer: pointer.to_owned(), replays: None }
    }

    /// Judges a full record, such as a row read afresh from the reference.
    pub fn judge_full(&self, row: &[Value]) -> Result<(), Vec<Violation>> {
        let columns = self.contract.columns.iter().zip(row);
        let record = columns.map(|(column, value)| (column.field.clone(), coerce::to_json(column.ty, value)));
        let record = Json::Object(record.collect());
        if self.contract.full.is_valid(&record) {
            Ok(())
        } else {
            Err(violations(&self.contract.full, &record))
        }
    }

    /// Judges a delta that is JSON already, such as one that the ledger tells of.
    pub fn judge_delta(&self, record: Map<String, Json>) -> Result<(), Vec<Violation>> {
        match self.judge_record(record).intent {
            Intent::Refused { violations, .. } => Err(violations),
            _ => Ok(()),
        }
    }

    fn judge_text(&self, text: &str) -> Verdict {
        let intent = match json::parse(text) {
            Ok(Json::Object(record)) => return self.judge_record(record),
            Ok(other) => {
                let message = "a record is a JSON object of fields";
                refused(None, vec![Violation::at("", "type", &other.to_string(), message)])
            }
            Err(reason) => refused(None, vec![Violation::record("json", reason)]),
        };
        Verdict { intent, ignored_fields: 0 }
    }

    fn judge_record(&self, mut record: Map<String, Json>) -> Verdict {
        let contract = &*self.contract;
        let before = record.len();
        if contract.unknown_fields == UnknownFields::Ignore {
            record.retain(|field, _| contract.by_field.contains_key(field));
        }
        let ignored_fields = (before - record.len()) as u64;
        if contract.coerce {
            for (field, value) in &mut record {
                if let Some(&index) = contract.by_field.get(field) {
                    coerce::coerce(contract.columns[index].ty, value);
                }
            }
        }
        let record = Json::Object(record);
        let found =
            if contract.delta.is_valid(&record) { Vec::new() } else { violations(&contract.delta, &record) };
        let Json::Object(record) = record else { unreachable!("it was built as an object") };
        let intent = self.to_intent(record, found);
        Verdict { intent, ignored_fields }
    }

    /// Reads the fields as their columns' types; what cannot be read is one violation more.
    fn to_intent(&self, mut record: Map<String, Json>, mut found: Vec<Violation>) -> Intent {
        let contract = &*self.contract;
        let mut values: Vec<Option<Value>> = Vec::with_capacity(contract.columns.len());
        for column in &contract.columns {
            let Some(mut json) = record.remove(&column.field) else {
                values.push(None);
                continue;
            };
            match coerce::to_value(column.ty, &mut json) {
                Ok(value) => values.push(Some(value)),
                Err((rule, message)) => {
                    values.push(None);
                    let pointer = format!("/{}", escape(&column.field));
                    // The schema has usually said the same, with the better message.
                    if !found.iter().any(|v| v.pointer == pointer) {
                        found.push(Violation {
                            pointer,
                            rule: rule.to_owned(),
                            value: Some(show(&json)),
                            message,
                        });
                    }
                }
            }
        }
        let key: Option<Vec<Value>> = contract.key.iter().map(|&i| self.sound(i, &values, &found)).collect();
        let mut key = key.map(Key::new);
        if let Some(long) = key.take_if(|key| key.text().len() > MAX_KEY) {
            let message = format!("a key may have {MAX_KEY} bytes at most");
            found.push(Violation::at("", "maxLength", long.text(), message));
        }
        match key {
            Some(key) if found.is_empty() => {
                let is_key = |index: &usize| contract.key.contains(index);
                let fields: Fields = values
                    .into_iter()
                    .enumerate()
                    .filter(|(index, _)| !is_key(index))
                    .filter_map(|(index, value)| value.map(|v| (index, v)))
                    .collect();
                Intent::Upsert { key, fields }
            }
            key => refused(key, found),
        }
    }

    /// The value of a key column, unless it breaks the contract: then it names no row, and the library could not
    /// even be asked for one.
    fn sound(&self, index: usize, values: &[Option<Value>], found: &[Violation]) -> Option<Value> {
        let pointer = format!("/{}", escape(&self.contract.columns[index].field));
        let is_broken = found.iter().any(|violation| violation.pointer == pointer);
        values[index].clone().filter(|_| !is_broken)
    }
}

/// The text of the record that stands at this pointer in a body; none where the body cannot be cut.
pub fn record_at<'a>(bytes: &'a [u8], pointer: &str) -> Option<&'a str> {
    match (json::records(bytes).ok()?, pointer.strip_prefix('/')) {
        (json::Records::One(text), None) => Some(text),
        (json::Records::Many(items), Some(index)) => {
            items.get(index.parse::<usize>().ok()?).map(|item| item.get())
        }
        _ => None,
    }
}

fn refused(key: Option<Key>, violations: Vec<Violation>) -> Intent {
    Intent::Refused { key, violations }
}

/// The most violations kept for one record: enough to mend it, too few to flood.
const MAX_VIOLATIONS: usize = 50;

fn violations(validator: &jsonschema::Validator, record: &Json) -> Vec<Violation> {
    validator
        .iter_errors(record)
        .take(MAX_VIOLATIONS)
        .map(|error| Violation {
            pointer: error.instance_path().as_str().to_owned(),
            rule: error.kind().keyword().to_owned(),
            value: (!error.instance().is_object()).then(|| show(error.instance())),
            message: Violation::cut(&error.masked_with("the value").to_string()),
        })
        .collect()
}

fn show(value: &Json) -> String {
    match value {
        Json::String(text) => Violation::cut(text),
        other => Violation::cut(&other.to_string()),
    }
}

/// A field's name within a JSON pointer.
fn escape(field: &str) -> String {
    field.replace('~', "~0").replace('/', "~1")
}

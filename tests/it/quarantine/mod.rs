//! The quarantine, worked.

mod bulk;
mod cli;
mod erased;
mod guard;
mod http;
mod masking;
mod regress;
mod replay;
mod seen;
mod swept;

use accord::apply::{Mode, ReferenceSettings};
use accord::quarantine::Replayer;

use crate::harness::{ITEM, ITEM_TABLE, Waist, Wish};

/// One pipeline under two contracts: one that refuses what it does not know, and the one after it, which takes it.
/// What the first one quarantined for an unknown field, the second one can apply.
pub(super) struct Quarantine {
    pub(super) strict: Waist,
    pub(super) waist: Waist,
    pub(super) replayer: Replayer,
}

impl Quarantine {
    pub(super) async fn new() -> Self {
        Self::with("", Mode::Apply, None).await
    }

    /// With more SQL for the table.
    pub(super) async fn with(extra: &str, mode: Mode, reference: Option<ReferenceSettings>) -> Self {
        let strict = format!("{ITEM}customProperties: [{{property: accord.unknownFields, value: reject}}]\n");
        let table = format!("{ITEM_TABLE}; {extra}");
        let strict = Waist::new(Wish { contract: &strict, table: &table, ..Wish::default() }).await;
        let wish = Wish { mode, reference, ..Wish::default() };
        let waist = Waist::on(&strict.url, strict.pool.clone(), wish);
        let replayer = replayer(&waist);
        Self { strict, waist, replayer }
    }

    /// Quarantines these fields of a record, and gives the entry.
    pub(super) async fn refuse(&self, fields: &str) -> i64 {
        self.strict.send(&format!("{{{fields},\"unknown\":1}}")).await;
        self.last().await
    }

    /// The newest entry.
    pub(super) async fn last(&self) -> i64 {
        self.waist.read("select max(id)::text from accord.quarantine").await.parse().unwrap()
    }

    /// Replays an entry, and gives the word for what came of it.
    pub(super) async fn replay(&self, id: i64) -> &'static str {
        self.replayer.one(id, None).await.unwrap().as_str()
    }

    /// The row with key 1.
    pub(super) async fn row(&self) -> String {
        self.waist.read("select json_build_array(name, price, tag, own)::text from item where id = 1").await
    }

    /// The state of an entry, and the columns that were left over.
    pub(super) async fn state(&self, id: i64) -> String {
        self.waist
            .read(&format!(
                "select concat_ws(' ', state, left_over::text) from accord.quarantine where id = {id}"
            ))
            .await
    }
}

pub(crate) fn replayer(waist: &Waist) -> Replayer {
    Replayer::new("items", waist.gate.clone(), waist.applier.clone(), waist.pool.clone())
}

//! Which contracts have a say in what is hidden: the one in force, and those that judged what is shown.
//!
//! Promises: a new contract unmasks nothing that was sensitive when it was judged; a contract that cannot be read any
//! more hides everything that it judged. Each is compiled once. Must not know: what is hidden, or who looks.

use std::collections::HashMap;
use std::iter;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::PgConnection;

use super::mask::Mask;
use crate::contract::Contract;
use crate::library::history::Event;
use crate::library::pipeline;
use crate::library::quarantine::read::Entry;

/// Who judged an entry, and what became of its row since.
pub fn judges<'a>(entry: &'a Entry, history: &'a [Event]) -> impl Iterator<Item = i32> + 'a {
    iter::once(entry.judged_by).chain(history.iter().map(|event| event.judged_by))
}

/// A contract that judged a table once; none where it cannot be read any more.
type Judge = Option<Arc<Contract>>;

/// Hands out masks, and remembers the contracts that it has read: a document under an id never changes.
#[derive(Debug, Default)]
pub struct Masks {
    judges: Mutex<HashMap<(i32, String), Judge>>,
}

impl Masks {
    /// The mask for what contracts of these ids have judged, while this one is in force.
    pub async fn of(
        &self,
        conn: &mut PgConnection,
        in_force: Option<&Arc<Contract>>,
        judged_by: impl IntoIterator<Item = i32>,
    ) -> Result<Mask, sqlx::Error> {
        let Some(in_force) = in_force else { return Ok(Mask::All) };
        let mut contracts = vec![Arc::clone(in_force)];
        for id in judged_by {
            match self.judge(conn, id, in_force.table.as_str()).await? {
                None => return Ok(Mask::All),
                Some(judge) if contracts.iter().all(|known| known.hash != judge.hash) => {
                    contracts.push(judge);
                }
                Some(_) => {}
            }
        }
        Ok(Mask::By(contracts))
    }

    async fn judge(&self, conn: &mut PgConnection, id: i32, table: &str) -> Result<Judge, sqlx::Error> {
        let key = (id, table.to_owned());
        let known = self.judges.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let judge = match pipeline::document(conn, id).await? {
            None => None,
            Some(source) => match Contract::parse(&source, &format!("contract {id}"), Some(table)) {
                Ok(contract) => Some(Arc::new(contract)),
                Err(error) => {
                    tracing::warn!(contract = id, %error, "what this contract judged is masked as a whole: it cannot be read any more");
                    None
                }
            },
        };
        self.judges.lock().unwrap_or_else(PoisonError::into_inner).insert(key, judge.clone());
        Ok(judge)
    }
}

//! A library, a waist, and a quarantine full of what the contract of yesterday refused.

use std::sync::Arc;
use std::time::Duration;

use accord::apply::{Applier, Mode, Settings, Stop};
use accord::contract::Contract;
use accord::contract::gate::Gate;
use accord::embedded::postgres::{Options, Postgres};
use accord::library;
use accord::quarantine::Replayer;
use accord::telemetry::metrics::Metrics;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

const CONTRACT: &str = "
apiVersion: v3.1.0
kind: DataContract
id: items
version: 2.0.0
status: active
schema:
  - name: item
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
      - {name: name, logicalType: string, physicalType: text}
      - {name: price, logicalType: number, physicalType: numeric}
";

/// One reason in a thousand entries is rare; the others are two common ones.
const FILL: &str = "
    insert into accord.body (hash, bytes, headers, received_at)
    select sha256(convert_to(t, 'utf8')), convert_to(t, 'utf8'), '[]', now() - (($1::bigint - i) || ' seconds')::interval
    from generate_series(1, $1::bigint) i
    cross join lateral (select format('{\"id\": %s, \"name\": \"a name of item %s\"}', i, i) t) b;
";

const ENTRIES: &str = "
    insert into accord.quarantine
        (pipeline, position, at, key, reason, violations, contract, origin, body, pointer, row)
    select p.id, i, now() - (($1::bigint - i) || ' seconds')::interval, i::text, r.rule,
           jsonb_build_array(jsonb_build_object('pointer', '/name', 'rule', r.rule, 'value', 'a name',
                                                'message', 'the value breaks a rule')),
           c.id, 'webhook',
           sha256(convert_to(format('{\"id\": %s, \"name\": \"a name of item %s\"}', i, i), 'utf8')), '',
           jsonb_build_object('id', i, 'name', 'item', 'price', 1)
    from generate_series(1, $1::bigint) i
    cross join (select id from accord.pipeline) p
    cross join (select id from accord.contract limit 1) c
    cross join lateral (
        select case when i % 1000 = 7 then 'rare' when i % 2 = 0 then 'maxLength' else 'pattern' end) r(rule)
    order by 2
";

/// What is measured; the server ends with it.
pub(crate) struct Scene {
    pub(crate) pool: PgPool,
    pub(crate) replayer: Replayer,
    _postgres: Postgres,
}

impl Scene {
    /// A quarantine with so many open entries, one for each row of the library.
    pub(crate) async fn set(entries: i64) -> anyhow::Result<Self> {
        let postgres = Postgres::start(Options::default()).await?;
        postgres.create_database("library").await?;
        let url = postgres.url("library");
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        let mut conn = pool.acquire().await?;
        library::migrate(&mut conn).await?;
        sqlx::raw_sql("create table item (id integer primary key, name text, price numeric)")
            .execute(&mut *conn)
            .await?;
        sqlx::query("insert into item select i, 'item', 1 from generate_series(1, $1::bigint) i")
            .bind(entries)
            .execute(&mut *conn)
            .await?;

        let gate = Gate::new(Arc::new(Contract::parse(CONTRACT, "bench", None)?));
        let sql = library::statement::TableSql::new(gate.contract());
        library::pipeline::enroll(&mut conn, "items", sql.target(), gate.contract()).await?;
        for statement in [FILL, ENTRIES] {
            sqlx::query(statement).bind(entries).execute(&mut *conn).await?;
        }
        let settle = "update accord.pipeline set position = (select max(position) from accord.quarantine);
                      analyze accord.quarantine; analyze accord.body; analyze item";
        sqlx::raw_sql(settle).execute(&mut *conn).await?;

        let settings = Settings {
            name: "items".to_owned(),
            gate: gate.clone(),
            connect: url.parse()?,
            mode: Mode::Apply,
            reference: None,
            max_batch: 1024,
            max_held: 1024,
            max_held_bytes: 64 << 20,
            hold: Duration::from_mins(1),
            metrics: Metrics::new().pipeline("items"),
        };
        let never = Stop { asked: CancellationToken::new(), drain: CancellationToken::new() };
        let (applier, writer) = Applier::new(settings, never);
        tokio::spawn(writer);
        let replayer = Replayer::new("items", gate, applier, pool.clone());
        Ok(Self { pool, replayer, _postgres: postgres })
    }
}

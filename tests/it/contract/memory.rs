//! A preview's memory does not grow with what is stored.

use std::path::Path;
use std::time::Duration;

use crate::harness::{Fragrances, Process};

/// The most memory that a preview held at once, in KiB.
async fn peak(config: &Path, contract: &Path) -> u64 {
    let log = config.with_file_name("preview.log");
    let arguments =
        ["--config", config.to_str().unwrap(), "contract", "preview", contract.to_str().unwrap(), "--json"];
    let mut process = Process::spawn(env!("CARGO_BIN_EXE_accord"), &arguments, &log);
    let status = format!("/proc/{}/status", process.pid());
    let mut peak = 0;
    let code = loop {
        if let Some(ended) = process.ended() {
            break ended.code();
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let held = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok());
        peak = peak.max(held.unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(code, Some(3), "{}", process.log());
    peak
}

#[tokio::test]
async fn fifty_thousand_long_rows_take_no_more_memory_than_a_few() {
    let fragrances = Fragrances::seeded(50).await;
    let contract = fragrances.config().with_file_name("next.yaml");
    let shipped = include_str!("../../../contracts/fragrances.yaml");
    std::fs::write(&contract, shipped.replace("maxLength: 1024", "maxLength: 10")).unwrap();
    let told = crate::harness::accord(&fragrances.config(), &["migrate"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let few = peak(&fragrances.config(), &contract).await;
    sqlx::raw_sql(
        "insert into fragrances (fragrance_id, name, description, cost, forbidden)
         select n, 'name ' || n, repeat('x', 1000), 1, false from generate_series(1000, 50999) n;
         insert into accord.pipeline (name, tables) values ('fragrances', '{public.fragrances}');
         insert into accord.contract (name, version, hash, source) values ('x', '1', '1', '');
         insert into accord.ledger (pipeline, position, at, key, op, outcome, origin, contract, changes)
         select (select id from accord.pipeline), n, now(), n::text, 'update', 'applied', 'webhook', 1,
                jsonb_build_object('description', jsonb_build_array('', repeat('y', 1000)))
         from generate_series(1, 20000) n",
    )
    .execute(&fragrances.library.pool)
    .await
    .unwrap();
    let many = peak(&fragrances.config(), &contract).await;
    assert!(few > 0 && many < few + 40 * 1024, "{few} KiB for a few rows, {many} KiB for 70 MB of them");
}

//! `accord diff`: by configuration, and all alone.

use std::path::Path;

use serde_json::json;

use crate::harness::{Fragrances, PASSWORD, Told, accord};

/// Runs `accord diff`; whatever it says, the password is not in it.
async fn diff(fragrances: &Fragrances, arguments: &[&str]) -> Told {
    let told = accord(&fragrances.config(), &[&["diff", "--grace", "0s"], arguments].concat()).await;
    assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
    told
}

async fn sql(pool: &sqlx::PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

/// One row of each kind.
async fn drift(fragrances: &Fragrances) {
    sql(&fragrances.cms.pool, "update fragrances set cost = 12.5, name = 'Vétiver' where fragrance_id = 1")
        .await;
    sql(&fragrances.library.pool, "update fragrances set cost = 12.51, name = 'Iris' where fragrance_id = 1")
        .await;
    sql(&fragrances.library.pool, "delete from fragrances where fragrance_id = 2").await;
    sql(&fragrances.cms.pool, "delete from fragrances where fragrance_id = 3").await;
}

#[tokio::test]
async fn the_exit_code_says_whether_they_differ() {
    let fragrances = Fragrances::seeded(100).await;
    let told = diff(&fragrances, &["fragrances"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(
        told.stdout.starts_with("clean: source and target say the same\n100 rows in the source"),
        "{told:?}"
    );
    assert_eq!(told.stderr, "", "no bar where there is no terminal");

    drift(&fragrances).await;
    let told = diff(&fragrances, &["fragrances"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    for piece in [
        "drift: 3 rows differ (1 missing, 1 stale, 1 orphaned)",
        "cost  12.5 → 12.51",
        "name  “Vétiver” → “Iris”",
    ] {
        assert!(told.stdout.contains(piece), "no `{piece}` in\n{}", told.stdout);
    }

    let there: bool = sqlx::query_scalar("select to_regnamespace('accord') is not null")
        .fetch_one(&fragrances.library.pool)
        .await
        .unwrap();
    assert!(!there, "a comparison leaves nothing behind");

    sql(&fragrances.cms.pool, "alter table fragrances rename cost to price").await;
    let told = diff(&fragrances, &["fragrances"]).await;
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(
        told.stdout.contains("column \"cost\" does not exist in \"fragrances\" on the source"),
        "{told:?}"
    );
}

#[tokio::test]
async fn as_json_it_is_one_object() {
    let fragrances = Fragrances::seeded(100).await;
    drift(&fragrances).await;
    let told = diff(&fragrances, &["fragrances", "--json"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    let mut report = told.json();
    let seconds = report["seconds"].take();
    assert!(seconds.as_f64().unwrap() > 0.0);
    let bytes = report["bytes"].take();
    assert!(bytes["source"].as_u64().unwrap() > 0 && bytes["target"].as_u64().unwrap() > 0);
    report["drift"].as_array_mut().unwrap().sort_by_key(|drift| drift["key"].to_string());
    let columns = json!([
        {"name": "name", "source": "Vétiver", "target": "Iris"},
        {"name": "cost", "source": 12.5, "target": 12.51},
    ]);
    let expected = json!({
        "state": "drift",
        "counts": {"missing": 1, "stale": 1, "orphan": 1, "in_flight": 0, "repaired": 0, "held": 0},
        "rows": {"source": 99, "target": 99},
        "dirty_buckets": 1,
        "candidates": 3,
        "drift": [
            {"table": "fragrances", "key": "1", "kind": "stale", "columns": columns},
            {"table": "fragrances", "key": "2", "kind": "missing", "columns": []},
            {"table": "fragrances", "key": "3", "kind": "orphan", "columns": []},
        ],
        "seconds": null,
        "bytes": null,
    });
    assert_eq!(report, expected);
}

#[tokio::test]
async fn a_sample_is_listed_or_every_key() {
    let fragrances = Fragrances::seeded(100).await;
    sql(&fragrances.library.pool, "update fragrances set cost = coalesce(cost, 0) + 0.01").await;
    let listed = async |arguments: &[&str]| {
        let report = diff(&fragrances, arguments).await.json();
        assert_eq!(report["counts"]["stale"], 100);
        report["drift"].as_array().unwrap().len()
    };
    assert_eq!(listed(&["fragrances", "--json"]).await, 20);
    assert_eq!(listed(&["fragrances", "--json", "--all-keys"]).await, 100);
    let told = diff(&fragrances, &["fragrances"]).await;
    assert!(told.stdout.contains("… and 80 more rows: --all-keys lists them all"), "{told:?}");
}

#[tokio::test]
async fn alone_it_needs_no_configuration() {
    let fragrances = Fragrances::seeded(100).await;
    drift(&fragrances).await;
    sql(&fragrances.cms.pool, "create schema cms; alter table fragrances set schema cms; alter table cms.fragrances rename to perfumes").await;
    let config = fragrances.text();
    let urls: Vec<&str> = config.lines().filter_map(|line| line.strip_prefix("url = \"postgres")).collect();
    let urls: Vec<String> = urls.iter().map(|url| format!("postgres{}", url.trim_end_matches('"'))).collect();
    let [library, cms] = urls.as_slice() else { panic!("{urls:?}") };
    sql(&fragrances.cms.pool, "grant usage on schema cms to public").await;
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/fragrances.yaml");
    std::fs::remove_file(fragrances.config()).unwrap();

    let flags = ["--contract", contract.to_str().unwrap(), "--source", cms, "--target", library];
    let run = async |more: &[&str]| {
        let arguments = [&["diff", "--grace", "0s", "--json"], &flags[..], more].concat();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_accord"));
        let output = command.args(arguments).output().unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains(PASSWORD), "{text}");
        (output.status.code(), text)
    };
    let (code, text) = run(&["--source-table", "cms.perfumes"]).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("\"missing\": 1,\n    \"stale\": 1,\n    \"orphan\": 1,"), "{text}");
    let (code, text) = run(&[]).await;
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("the source has no table \\\"fragrances\\\""), "{text}");
}

#[tokio::test]
async fn what_cannot_be_run_says_how_it_could_be() {
    let fragrances = Fragrances::seeded(5).await;
    let told = diff(&fragrances, &["perfumes"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""));
    assert!(told.stderr.contains("no pipeline `perfumes` is configured; there is: fragrances"), "{told:?}");

    fragrances.configure(|config| config.split("[pipeline.fragrances.reference").next().unwrap().to_owned());
    let told = diff(&fragrances, &["fragrances"]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("configure [pipeline.fragrances.reference.postgres]"), "{told:?}");

    assert_eq!(diff(&fragrances, &[]).await.code, Some(2));
    let secret = format!("postgres://me:{PASSWORD}@[bad/db");
    let told = diff(&fragrances, &["--contract", "c.yaml", "--source", &secret]).await;
    assert_eq!(told.code, Some(2), "{told:?}");
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/fragrances.yaml");
    let contract = contract.to_str().unwrap();
    let told = diff(&fragrances, &["--contract", contract, "--source", &secret, "--target", &secret]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("--source is no Postgres URL"), "{told:?}");
    let nowhere = format!("postgres://me:{PASSWORD}@127.0.0.1:1/db");
    let told = diff(&fragrances, &["--contract", contract, "--source", &nowhere, "--target", &nowhere]).await;
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(told.stdout.contains("cannot connect to the"), "{told:?}");
}

//! An outside judge: `datacontract-cli`, the best-known tool of the standard, on our contract and our tables.
//!
//! It comes from PyPI into an environment under `target/`, once; afterwards no network is needed. Where PyPI
//! cannot be reached the test says so and is skipped, unless `CI` is set. What the two see differently is
//! listed in docs/agreement.md, and here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use accord::contract::Contract;
use accord::quality::{self, Choice, Outcome};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::harness::{TestDatabase, database, plant_fragrances};

/// The judge's version: another may see things differently.
const JUDGE: &str = "datacontract-cli[postgres]==1.2.8";

/// Rules that the judge does not run, and we do.
const OURS_ALONE: [&str; 1] = ["duplicate-names"];

/// The judge, once it is installed.
fn judge() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("datacontract-cli-1.2.8");
    let (program, done) = (home.join("bin/datacontract"), home.join("installed"));
    if !done.exists() {
        let _ = std::fs::remove_dir_all(&home);
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(&home));
        let pip = |home: &Path| run(Command::new(home.join("bin/pip")).args(["install", "--quiet", JUDGE]));
        if let Err(reason) = made.and_then(|_| pip(&home)) {
            assert!(std::env::var_os("CI").is_none(), "{JUDGE} cannot be installed: {reason}");
            eprintln!("\n*** SKIPPED: no outside judge, for {JUDGE} cannot be installed: {reason}\n");
            return None;
        }
        std::fs::write(done, "").unwrap();
    }
    Some(program)
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What the judge finds, by the names of our rules: the worst of the checks that one rule of ours covers.
async fn verdicts_of_the_judge(
    program: &Path,
    contract: &Path,
    database: &TestDatabase,
) -> BTreeMap<String, Outcome> {
    let url: url::Url = database.url.parse().unwrap();
    let report = contract.with_extension("json");
    let mut command = Command::new(program);
    command.arg("test").arg(contract).args(["--output-format", "json", "--output"]).arg(&report);
    command
        .env("DATACONTRACT_POSTGRES_USERNAME", url.username())
        .env("DATACONTRACT_POSTGRES_PASSWORD", url.password().unwrap_or_default());
    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let report: Value =
        serde_json::from_slice(&std::fs::read(&report).unwrap_or_else(|e| panic!("{e}: {output:?}")))
            .unwrap();
    let mut verdicts = BTreeMap::new();
    for check in report["checks"].as_array().unwrap() {
        let Some(rule) = our_name(check) else { continue };
        let outcome = match (check["result"].as_str().unwrap(), check["reason"].as_str()) {
            ("passed", _) => Outcome::Passed,
            ("warning", Some(reason)) if reason.contains("has to be combined") => Outcome::NotExecuted,
            ("warning", _) => Outcome::Warned,
            ("failed", _) => Outcome::Failed,
            other => panic!("{other:?} in {check}"),
        };
        let worst = verdicts.entry(rule).or_insert(outcome);
        if outcome == Outcome::Failed {
            *worst = outcome;
        }
    }
    verdicts
}

/// The rule of ours that a check of the judge's is about; none for what is about the run itself.
fn our_name(check: &Value) -> Option<String> {
    if let Some(id) = check["qualityId"].as_str() {
        return Some(id.to_owned());
    }
    let field = check["field"].as_str();
    let rule = match check["type"].as_str()? {
        "field_is_present" | "field_type" | "field_physical_type" => return Some("schema".to_owned()),
        "field_required" => "required",
        "field_unique" => "unique",
        "field_min_length" => "minLength",
        "field_max_length" => "maxLength",
        "field_minimum" => "minimum",
        "field_maximum" => "maximum",
        _ => return None,
    };
    Some(format!("{}.{rule}", field?))
}

/// What we find, without the rules that stand for parts which the judge does not look at.
async fn our_verdicts(contract: &Contract, database: &TestDatabase) -> BTreeMap<String, Outcome> {
    let results = quality::check(&database.url.parse().unwrap(), contract, Choice::default()).await.unwrap();
    results.into_iter().map(|result| (result.id, result.outcome)).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it installs a judge from PyPI: make test-agreement"]
async fn our_verdicts_are_those_of_an_outside_judge() {
    let Some(program) = spawn_blocking(judge).await.unwrap() else { return };
    let directory = tempfile::tempdir().unwrap();
    let shipped = std::fs::read_to_string("contracts/fragrances.yaml").unwrap();

    let file = directory.path().join("shipped.yaml");
    std::fs::write(&file, &shipped).unwrap();
    let lint = Command::new(&program).arg("lint").arg(&file).output().unwrap();
    assert!(lint.status.success(), "{lint:?}");

    let good = database().await;
    plant_fragrances(&good.pool).await;
    let bad = database().await;
    plant_fragrances(&bad.pool).await;
    sqlx::raw_sql(
        "alter table fragrances drop constraint fragrances_pkey;
         alter table fragrances alter name type text;
         update fragrances set fragrance_id = -1 where fragrance_id in (1, 2);
         update fragrances set name = null where fragrance_id = 3;
         update fragrances set name = '' where fragrance_id = 4;
         update fragrances set name = repeat('x', 151) where fragrance_id = 5;
         update fragrances set description = repeat('y', 1010) where fragrance_id = 6;
         update fragrances set cost = -1 where fragrance_id = 7;
         update fragrances set cost = 2000, forbidden = null where fragrance_id = 8;
         update fragrances set cost = null where fragrance_id = 9;",
    )
    .execute(&bad.pool)
    .await
    .unwrap();

    let contract = Contract::parse(&shipped, "shipped", None).unwrap();
    for (name, database) in [("good", &good), ("bad", &bad)] {
        let url: url::Url = database.url.parse().unwrap();
        let server = format!(
            "servers:\n  - {{server: test, type: postgres, host: {}, port: {}, database: {}, schema: public}}\n",
            url.host_str().unwrap(),
            url.port().unwrap(),
            url.path().trim_start_matches('/')
        );
        let file = directory.path().join(format!("{name}.yaml"));
        std::fs::write(&file, format!("{shipped}\n{server}")).unwrap();
        let mut theirs = verdicts_of_the_judge(&program, &file, database).await;
        let mut ours = our_verdicts(&contract, database).await;
        for rule in OURS_ALONE {
            assert_eq!(theirs.remove(rule), Some(Outcome::NotExecuted), "{rule}: take it off the list");
            assert_ne!(ours.remove(rule), Some(Outcome::NotExecuted), "{rule}");
        }
        assert_eq!(ours, theirs, "the {name} table");
        let wrong = ours.values().filter(|outcome| **outcome != Outcome::Passed).count();
        assert_eq!(wrong > 10, name == "bad", "{ours:?}");
    }
}

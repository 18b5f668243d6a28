//! Checks as an operator meets them: the command, the API, and what is kept.

use std::time::Duration;

use serde_json::{Value, json};

use accord::contract::Contract;
use accord::library::check_result;
use accord::quality::{CheckError, Choice, check_and_keep};
use sqlx::postgres::PgConnectOptions;

use crate::harness::{Accord, Fragrances, PASSWORD, Told, accord, eventually, free_port};

const SOON: Duration = Duration::from_secs(30);

async fn ask(fragrances: &Fragrances, arguments: &[&str]) -> Told {
    let told = accord(&fragrances.config(), arguments).await;
    assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
    told
}

/// (rule, outcome) of all but those that passed.
fn not_passed(answer: &Value) -> Vec<(String, String)> {
    let text = |result: &Value, field: &str| result[field].as_str().unwrap().to_owned();
    answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (text(result, "id"), text(result, "outcome")))
        .filter(|(_, outcome)| outcome != "passed")
        .collect()
}

#[tokio::test]
async fn the_real_catalogue_is_good_but_for_one_untrimmed_name() {
    let fragrances = Fragrances::seeded(5000).await;
    assert_eq!(ask(&fragrances, &["migrate"]).await.code, Some(0));

    let told = ask(&fragrances, &["check", "fragrances", "--json"]).await;
    assert_eq!(told.code, Some(0), "a warning is no failure: {told:?}");
    let answer = told.json();
    assert_eq!(not_passed(&answer), [("names-are-trimmed".to_owned(), "warned".to_owned())]);
    let repeats =
        answer["results"].as_array().unwrap().iter().find(|r| r["id"] == "duplicate-names").unwrap();
    assert_eq!((&repeats["value"], &repeats["threshold"]), (&json!(20.9), &json!({"mustBeLessThan": 50})));
    assert_eq!(repeats["rows"], 5000);

    let told = ask(&fragrances, &["check", "fragrances"]).await;
    assert!(told.stdout.contains("20.90 percent of 5000 rows (< 50)"), "{}", told.stdout);
    assert!(told.stdout.contains("1 warned, 0 failed, 0 not executed"), "{}", told.stdout);

    // Passes are kept with their value, so that they can be plotted.
    let kept: Vec<(i64, String, f64)> = sqlx::query_as(
        "select run, outcome, value::float8 from accord.check_result where rule = 'duplicate-names' order by run",
    )
    .fetch_all(&fragrances.library.pool)
    .await
    .unwrap();
    assert_eq!(kept, [(1, "passed".to_owned(), 20.9), (2, "passed".to_owned(), 20.9)]);
}

#[tokio::test]
async fn what_is_broken_decides_the_exit_code() {
    let fragrances = Fragrances::seeded(20).await;
    let told = ask(&fragrances, &["check", "fragrances"]).await;
    assert!(told.stderr.contains("nothing is kept"), "{told:?}");

    let spoil = "update fragrances set cost = -1 where fragrance_id in (3, 4)";
    sqlx::raw_sql(spoil).execute(&fragrances.library.pool).await.unwrap();
    let told = ask(&fragrances, &["check", "fragrances", "--json"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    let told = ask(&fragrances, &["check", "fragrances", "--rule", "cost.minimum"]).await;
    assert_eq!(told.code, Some(3));
    assert!(told.stdout.contains("rows: 3, 4"), "{}", told.stdout);
    assert_eq!(ask(&fragrances, &["check", "fragrances", "--rule", "not-empty"]).await.code, Some(0));

    let told = ask(&fragrances, &["check", "fragrances", "--rule", "nonsense"]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("no rule `nonsense`: it has schema, "), "{told:?}");
    let told = ask(&fragrances, &["check", "perfumes"]).await;
    assert!(told.stderr.contains("there is: fragrances"), "{told:?}");
    assert_eq!(ask(&fragrances, &["check"]).await.code, Some(2));

    sqlx::raw_sql("alter table fragrances drop column cost").execute(&fragrances.library.pool).await.unwrap();
    let told = ask(&fragrances, &["check", "fragrances", "--rule", "cost.minimum"]).await;
    assert_eq!(told.code, Some(4), "it could not be judged: {told:?}");
}

#[tokio::test]
async fn a_contract_and_a_database_are_enough() {
    let fragrances = Fragrances::seeded(20).await;
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
    let arguments = ["check", "--contract", contract, "--target", &fragrances.library.url, "--json"];
    let told = accord(std::path::Path::new("no/such/accord.toml"), &arguments).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(told.json()["results"][0]["id"], "schema");
}

#[tokio::test]
async fn a_check_is_done_when_it_is_due() {
    let fragrances = Fragrances::seeded(20).await;
    fragrances.configure(|config| config + "[pipeline.fragrances.check]\nschedule = \"* * * * * *\"\n");
    let config = std::fs::read_to_string(fragrances.config()).unwrap();
    let server = Accord::serve(&config, fragrances.http).await.unwrap();
    eventually(SOON, "two runs are done", async || {
        let done = "select count(*) from accord.check_run where finished_at is not null and error is null";
        let done: i64 = sqlx::query_scalar(done).fetch_one(&fragrances.library.pool).await.unwrap();
        if done >= 2 { Ok(()) } else { Err(done) }
    })
    .await;
    drop(server);
}

#[tokio::test]
async fn a_check_that_was_missed_is_made_up_for_once() {
    let fragrances = Fragrances::seeded(20).await;
    fragrances.configure(|config| config + "[pipeline.fragrances.check]\nschedule = \"0 0 1 * *\"\n");
    let config = std::fs::read_to_string(fragrances.config()).unwrap();
    let runs = async |ended: bool| {
        let runs = "select count(*) from accord.check_run where finished_at is not null or not $1";
        let runs = sqlx::query_scalar::<_, i64>(runs).bind(ended).fetch_one(&fragrances.library.pool).await;
        runs.unwrap()
    };
    // On the first start nothing was missed; the next one comes after more than a month.
    for (missed, expected) in [(false, 0), (true, 2), (false, 2)] {
        if missed {
            let old = "insert into accord.check_run (pipeline, contract, started_at, finished_at)
                       values ('fragrances', '1.0.0', now() - interval '40 days', now() - interval '40 days')";
            sqlx::raw_sql(old).execute(&fragrances.library.pool).await.unwrap();
        }
        let mut server = Accord::serve(&config, fragrances.http).await.unwrap();
        eventually(SOON, "it leads, and what was missed is done", async || {
            let log = server.process.log();
            let done = runs(true).await;
            if log.contains("\"leading\"") && done == expected { Ok(()) } else { Err((done, log)) }
        })
        .await;
        server.process.terminate();
        server.process.wait().await;
        assert_eq!(runs(false).await, expected, "and once");
    }
}

#[tokio::test]
async fn the_api_takes_a_check_and_tells_what_became_of_it() {
    let fragrances = Fragrances::seeded(20).await;
    let spoil = "update fragrances set name = '' where fragrance_id = 3";
    sqlx::raw_sql(spoil).execute(&fragrances.library.pool).await.unwrap();
    let config = std::fs::read_to_string(fragrances.config()).unwrap();
    let server = Accord::serve(&config, fragrances.http).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("{}{path}", server.url);
    let get = async |path: String| client.get(path).send().await.unwrap().json::<Value>().await.unwrap();

    let asked =
        client.post(url("/api/v1/checks")).json(&json!({"pipeline": "fragrances"})).send().await.unwrap();
    assert_eq!(asked.status(), 202);
    let location = asked.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(location, "/api/v1/checks/1");
    let run = eventually(SOON, "the run is done", async || {
        let run = get(url(&location)).await;
        if run["state"] == "running" { Err(run) } else { Ok(run) }
    })
    .await;
    assert_eq!((&run["state"], &run["failed"]), (&json!("done"), &json!(2)), "{run}");
    assert_eq!(
        not_passed(&run).iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        ["name.minLength", "names-are-names", "names-are-trimmed"]
    );
    let short = run["results"].as_array().unwrap().iter().find(|result| result["id"] == "name.minLength");
    let short = short.unwrap();
    for (field, value) in [
        ("name", json!("No name is shorter than 1")),
        ("dimension", json!("conformity")),
        ("severity", json!("error")),
        ("outcome", json!("failed")),
        ("value", json!(1)),
        ("unit", json!("rows")),
        ("threshold", json!({"mustBe": 0})),
        ("rows", json!(20)),
        ("keys", json!(["3"])),
        ("reason", json!(null)),
    ] {
        assert_eq!(short[field], value, "{field}: {short}");
    }
    assert!(short["sql"].as_str().unwrap().starts_with("select count(*)"), "{short}");
    assert!(short["duration_ms"].as_f64().unwrap() > 0.0, "{short}");

    let listed = get(url("/api/v1/checks?pipeline=fragrances&limit=1")).await;
    assert_eq!(listed["data"][0]["id"], 1);
    assert_eq!(get(url("/api/v1/checks?pipeline=other")).await["data"], json!([]));

    for (request, status) in [
        (client.post(url("/api/v1/checks")).json(&json!({"pipeline": "none"})), 404),
        (client.post(url("/api/v1/checks")).json(&json!({"line": "none"})), 422),
        (client.post(url("/api/v1/checks")).body("?"), 415),
        (client.post(url("/api/v1/checks")).header("content-type", "application/json").body("?"), 400),
        (client.get(url("/api/v1/checks/99")), 404),
        (client.get(url("/api/v1/checks/x")), 404),
        (client.get(url("/api/v1/checks?from=1")), 400),
        (client.get(url("/api/v1/checks?pipeline=%00")), 400),
        (client.delete(url("/api/v1/checks")), 405),
        (client.get(url("/api/v1/checks")).header("x-forwarded-for", "203.0.113.9"), 403),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{answer:?}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{answer:?}");
    }
    drop(server);
}

#[tokio::test]
async fn a_run_that_could_not_be_done_says_why() {
    let fragrances = Fragrances::seeded(5).await;
    assert_eq!(ask(&fragrances, &["migrate"]).await.code, Some(0));
    let pool = &fragrances.library.pool;
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
    let contract = Contract::load(shipped, None).unwrap();
    let nobody = fragrances.library.url.parse::<PgConnectOptions>().unwrap().port(free_port());
    let checked = check_and_keep(pool, &nobody, "fragrances", &contract, Choice::default()).await;
    assert!(matches!(checked, Err(CheckError::Database(_))), "{checked:?}");
    let run = check_result::one(pool, 1).await.unwrap().unwrap();
    assert_eq!(run.state, "error");
    assert!(run.error.as_deref().unwrap().contains("refused"), "the cause is kept: {run:?}");
}

#[tokio::test]
async fn a_check_that_a_stop_cuts_short_says_so() {
    let fragrances = Fragrances::seeded(5).await;
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
    let file = fragrances.config().with_file_name("contract.yaml");
    let contract = std::fs::read_to_string(shipped).unwrap();
    let slow = contract.replace(
        "query: select count(*) from {object} where {property} > 1000",
        "query: select count(*) from pg_sleep(50)",
    );
    assert_ne!(contract, slow);
    std::fs::write(&file, slow).unwrap();
    fragrances.configure(|config| config.replace(shipped, file.to_str().unwrap()));
    let config = std::fs::read_to_string(fragrances.config()).unwrap();
    let mut server = Accord::serve(&config, fragrances.http).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..2 {
        let asked =
            client.post(format!("{}/api/v1/checks", server.url)).json(&json!({"pipeline": "fragrances"}));
        assert_eq!(asked.send().await.unwrap().status(), 202);
    }
    server.process.terminate();
    assert!(server.process.wait().await.success());
    for run in [1, 2] {
        let run = check_result::one(&fragrances.library.pool, run).await.unwrap().unwrap();
        assert_eq!(
            (run.state.as_str(), run.error.as_deref()),
            ("error", Some("the server was stopped: ask again"))
        );
    }
}

#[tokio::test]
async fn earlier_results_are_told_without_a_check() {
    let fragrances = Fragrances::seeded(5).await;
    assert_eq!(ask(&fragrances, &["migrate"]).await.code, Some(0));
    let history = async |more: &[&str]| {
        let told = ask(&fragrances, &[&["check", "fragrances", "--history"], more].concat()).await;
        assert_eq!(told.code, Some(0), "{told:?}");
        told
    };
    assert_eq!(history(&[]).await.stdout, "No check of `fragrances` is kept.\n");
    ask(&fragrances, &["check", "fragrances"]).await;
    sqlx::raw_sql("update fragrances set name = '' where fragrance_id = 3")
        .execute(&fragrances.library.pool)
        .await
        .unwrap();
    ask(&fragrances, &["check", "fragrances"]).await;

    let runs = history(&["--json"]).await.json();
    let told: Vec<_> =
        runs["runs"].as_array().unwrap().iter().map(|run| (&run["id"], &run["failed"])).collect();
    assert_eq!(told, [(&json!(2), &json!(2)), (&json!(1), &json!(0))], "{runs}");
    let of_rule = history(&["--rule", "name.minLength", "--json"]).await.json();
    let told: Vec<_> = of_rule["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (&s["run"], &s["outcome"], &s["value"]))
        .collect();
    let (one, two) = ((json!(1), json!("passed"), json!(0)), (json!(2), json!("failed"), json!(1)));
    assert_eq!(told, [(&two.0, &two.1, &two.2), (&one.0, &one.1, &one.2)], "{of_rule}");
    assert_eq!(of_rule["rule"], "name.minLength");

    let text = history(&["--rule", "name.minLength", "--limit", "1"]).await.stdout;
    assert!(text.starts_with("2 ") && text.contains("failed       1 of 5 rows (= 0)"), "{text}");
    assert_eq!(text.lines().count(), 1);
    let text = history(&["--before", "2"]).await.stdout;
    assert!(text.starts_with("1 ") && text.contains(" 0 failed"), "{text}");
}

#[tokio::test]
async fn what_a_rule_gave_over_time_is_a_list_in_pages() {
    let fragrances = Fragrances::seeded(20).await;
    let name = async |name: &str| {
        let sql = "update fragrances set name = $1 where fragrance_id = 3";
        sqlx::query(sql).bind(name).execute(&fragrances.library.pool).await.unwrap();
    };
    let config = std::fs::read_to_string(fragrances.config()).unwrap();
    let server = Accord::serve(&config, fragrances.http).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("{}{path}", server.url);
    let get = async |path: String| client.get(path).send().await.unwrap().json::<Value>().await.unwrap();

    for (given, code) in [("", 3), ("Iris", 0), ("Rose", 0)] {
        name(given).await;
        assert_eq!(ask(&fragrances, &["check", "fragrances"]).await.code, Some(code));
    }
    let results = "/api/v1/checks/results?pipeline=fragrances&rule=name.minLength";
    let history = get(url(results)).await;
    let told: Vec<_> =
        history["data"].as_array().unwrap().iter().map(|s| (&s["run"], &s["outcome"], &s["value"])).collect();
    let (passed, failed) = (json!("passed"), json!("failed"));
    let (zero, one, two, three) = (json!(0), json!(1), json!(2), json!(3));
    assert_eq!(told, [(&three, &passed, &zero), (&two, &passed, &zero), (&one, &failed, &one)]);
    for (field, value) in [
        ("threshold", json!({"mustBe": 0})),
        ("unit", json!("rows")),
        ("rows", json!(20)),
        ("contract", json!("1.0.0")),
    ] {
        assert_eq!(history["data"][2][field], value, "{field}: {history}");
    }
    assert!(history["data"][2]["finished_at"].is_string(), "{history}");
    assert_eq!(history["next"], json!(null));
    for (root, field) in [(results, "run"), ("/api/v1/checks?pipeline=fragrances", "id")] {
        let (mut next, mut seen) = (format!("{root}&limit=1"), Vec::new());
        while !next.is_empty() && seen.len() < 10 {
            let page = get(url(&next)).await;
            seen.push(page["data"][0][field].clone());
            next = page["next"].as_str().unwrap_or_default().to_owned();
        }
        assert_eq!(Value::from(seen), json!([3, 2, 1]), "{root}");
    }
    assert_eq!(
        get(url("/api/v1/checks/results?pipeline=fragrances&rule=none")).await,
        json!({"data": [], "next": null})
    );

    for (request, status) in [
        (client.get(url("/api/v1/checks?limit=0")), 400),
        (client.get(url("/api/v1/checks?limit=501")), 400),
        (client.get(url("/api/v1/checks?before=x")), 400),
        (client.get(url("/api/v1/checks/results")), 400),
        (client.get(url("/api/v1/checks/results?pipeline=fragrances")), 400),
        (client.get(url("/api/v1/checks/results?pipeline=fragrances&rule=a&limit=0")), 400),
        (client.get(url("/api/v1/checks/results?pipeline=fragrances&rule=%00")), 400),
        (client.get(url(results)).header("x-forwarded-for", "203.0.113.9"), 403),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{answer:?}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{answer:?}");
    }
    drop(server);
}

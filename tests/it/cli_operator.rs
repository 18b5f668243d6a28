//! `accord status`, `history` and `token`: what an operator asks.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Accord, Fragrances, PASSWORD, Told, accord, database, eventually};

const SOON: Duration = Duration::from_secs(30);

/// A library that a server once kept: one change applied, one set aside.
async fn kept() -> Fragrances {
    let fragrances = Fragrances::seeded(5).await;
    // Nobody writes the CMS's database here, so payloads are applied as they come.
    fragrances.configure(|config| {
        config.replace("[pipeline.fragrances]\n", "[pipeline.fragrances]\nmode = \"apply\"\n")
    });
    let server = serve(&fragrances).await;
    let url = webhook(&fragrances).await;
    for (body, status) in [
        (r#"{"fragrance_id": 3, "name": "Grandeval", "forbidden": false}"#, 200),
        (r#"{"fragrance_id": 3, "cost": -1}"#, 202),
    ] {
        assert_eq!(post(&url, body).await, status);
    }
    // There is no CMS to register with, which is written down in its own time.
    eventually(SOON, "the failed registration is written down", async || {
        let error = "select last_error from accord.registration";
        let error: Option<Option<String>> =
            sqlx::query_scalar(error).fetch_optional(&fragrances.library.pool).await.unwrap();
        error.flatten().ok_or("nothing")
    })
    .await;
    drop(server);
    fragrances
}

async fn serve(fragrances: &Fragrances) -> Accord {
    let config = std::fs::read_to_string(fragrances.config()).unwrap();
    Accord::serve(&config, fragrances.http).await.unwrap()
}

async fn webhook(fragrances: &Fragrances) -> String {
    let told = ask(fragrances, &["token", "show", "fragrances"]).await;
    assert!(told.stderr.contains("give it to the sender alone"), "{told:?}");
    told.stdout.trim().to_owned()
}

async fn post(url: &str, body: &'static str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.post(url).body(body).send().await.unwrap().status().as_u16()
}

/// Runs a command; whatever it says, the password is not in it.
async fn ask(fragrances: &Fragrances, arguments: &[&str]) -> Told {
    let told = accord(&fragrances.config(), arguments).await;
    assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
    told
}

#[tokio::test]
async fn status_tells_what_the_database_knows_while_no_server_runs() {
    let fragrances = kept().await;

    let told = ask(&fragrances, &["status"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    for piece in [
        "this is what the library's database knows",
        "contract       fragrances 1.0.0",
        "ledger         position 2, ",
        "possible_gap, ",
        "changes may have been missed (",
        "quarantine     1 open",
        "the CMS cannot be reached",
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&told.stdout).contains(&words(piece)), "no `{piece}` in\n{}", told.stdout);
    }

    let status = ask(&fragrances, &["status", "--json"]).await.json();
    assert_eq!(status["server"]["status"], json!(null));
    let pipeline = &status["pipelines"][0];
    assert_eq!(pipeline["name"], "fragrances");
    assert_eq!((&pipeline["position"], &pipeline["quarantine"]["open"]), (&json!(2), &json!(1)));
    assert_eq!(pipeline["contract_version"], "1.0.0");

    let told = ask(&fragrances, &["status", "--ready"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""));
    assert!(told.stderr.contains("not ready"), "{told:?}");
}

#[tokio::test]
async fn status_tells_how_a_server_is_that_runs() {
    let fragrances = Fragrances::seeded(5).await;
    let server = serve(&fragrances).await;
    let status = ask(&fragrances, &["status", "--json"]).await.json();
    assert_eq!(status["server"]["status"], "ready");
    assert_eq!(status["server"]["pipelines"][0]["mode"], "refetch");
    assert_eq!(ask(&fragrances, &["status", "--ready"]).await.code, Some(0));
    drop(server);
}

#[tokio::test]
async fn status_says_what_is_missing() {
    let fragrances = Fragrances::seeded(5).await;
    let told = ask(&fragrances, &["status"]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("no schema `accord` yet"), "{told:?}");

    fragrances.configure(|config| config.replace(PASSWORD, "wrong"));
    let told = ask(&fragrances, &["status"]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("password authentication failed"), "{told:?}");
    assert!(!told.stderr.contains("wrong"), "{told:?}");
}

#[tokio::test]
async fn history_tells_a_row_from_change_to_change() {
    let fragrances = kept().await;

    let told = ask(&fragrances, &["history", "fragrances", "3"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("→ “Grandeval”"), "{told:?}");
    assert!(told.stdout.contains("no (confirmed)"), "{told:?}");
    assert!(told.stdout.contains("quarantine entry 1"), "{told:?}");

    let history = ask(&fragrances, &["history", "fragrances", "3", "--limit", "1", "--json"]).await.json();
    assert_eq!(history["events"].as_array().unwrap().len(), 1, "{history}");
    assert_eq!(history["events"][0]["outcome"], "quarantined");

    let told = ask(&fragrances, &["history", "fragrances", "4"]).await;
    assert_eq!(told.code, Some(0));
    assert!(told.stdout.contains("Nothing is known of fragrances #4"), "{told:?}");

    let told = ask(&fragrances, &["history", "perfumes", "3"]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("there is: fragrances"), "{told:?}");
}

#[tokio::test]
async fn a_token_is_rotated_without_being_shown() {
    let fragrances = kept().await;
    let before = webhook(&fragrances).await;

    let told = ask(&fragrances, &["token", "rotate", "fragrances"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("at the first registration"), "{told:?}");

    let stored: Vec<String> = sqlx::query_scalar("select token from accord.webhook_token")
        .fetch_all(&fragrances.library.pool)
        .await
        .unwrap();
    assert_eq!(stored.len(), 2);
    assert!(!stored.iter().any(|token| format!("{told:?}").contains(token.as_str())), "{told:?}");
    assert!(stored.iter().any(|token| before.ends_with(token.as_str())), "the old one is kept");

    let told = ask(&fragrances, &["token", "rotate", "perfumes"]).await;
    assert!(told.stderr.contains("there is: fragrances"), "{told:?}");
}

#[tokio::test]
async fn every_log_line_is_of_the_configured_format() {
    let database = database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("accord.toml");
    for (format, is_json) in [("json", true), ("pretty", false), ("auto", true)] {
        // It cannot listen there, and says so after its first lines of log.
        let config = format!(
            "[http]\nlisten = \"192.0.2.1:9\"\n[library]\nurl = \"{}\"\n[log]\nformat = \"{format}\"\n",
            database.url
        );
        std::fs::write(&file, config).unwrap();
        let told = accord(&file, &["serve"]).await;
        assert_eq!(told.code, Some(1), "{told:?}");
        let first = told.stderr.lines().next().unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(first).is_ok(), is_json, "{first}");
        assert!(!first.contains('\u{1b}'), "no colours in a file: {first}");
    }
}

//! `accord quarantine …`, without a server.

use serde_json::json;

use crate::harness::{Accord, Fragrances, PASSWORD, Told, accord};

/// A library with entry 1 about row 3, refused for its cost, and a change of the row's name since.
async fn kept() -> Fragrances {
    let fragrances = Fragrances::seeded(5).await;
    fragrances.configure(|config| {
        config.replace("[pipeline.fragrances]\n", "[pipeline.fragrances]\nmode = \"apply\"\n")
    });
    let config = std::fs::read_to_string(fragrances.config()).unwrap();
    let server = Accord::serve(&config, fragrances.http).await.unwrap();
    let url = ask(&fragrances, &["token", "show", "fragrances"]).await.stdout.trim().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for body in [r#"{"fragrance_id": 3, "name": "Old", "cost": -1}"#, r#"{"fragrance_id": 3, "name": "New"}"#]
    {
        client.post(&url).body(body).send().await.unwrap();
    }
    drop(server);
    fragrances
}

async fn ask(fragrances: &Fragrances, arguments: &[&str]) -> Told {
    let told = accord(&fragrances.config(), arguments).await;
    assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
    told
}

#[tokio::test]
async fn an_entry_is_looked_at_mended_and_put_aside() {
    let fragrances = kept().await;
    let told = ask(&fragrances, &["quarantine", "list"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("/cost minimum") && told.stdout.contains("#3"), "{told:?}");
    let page = ask(&fragrances, &["quarantine", "list", "--rule", "minimum", "--json"]).await.json();
    assert_eq!((&page["data"][0]["id"], &page["next_before"]), (&json!(1), &json!(null)));

    let told = ask(&fragrances, &["quarantine", "show", "1"]).await;
    for piece in ["Entry 1: fragrances #3", r#"{"fragrance_id": 3, "name": "Old", "cost": -1}"#, "applied"] {
        assert!(told.stdout.contains(piece), "no `{piece}` in {}", told.stdout);
    }
    let told = ask(&fragrances, &["quarantine", "replay", "1"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stdout.contains("refused again, and stays open"), "{told:?}");

    let edit = fragrances.config().with_file_name("edit.json");
    std::fs::write(&edit, r#"{"fragrance_id": 3, "name": "Old", "cost": 7}"#).unwrap();
    let payload = ["quarantine", "replay", "1", "--payload", edit.to_str().unwrap(), "--json"];
    let told = ask(&fragrances, &payload).await.json();
    assert_eq!((&told["state"], &told["left_over"]), (&json!("released"), &json!(["name"])));
    let row: String = sqlx::query_scalar("select name || ' ' || cost from fragrances where fragrance_id = 3")
        .fetch_one(&fragrances.library.pool)
        .await
        .unwrap();
    assert_eq!(row, "New 7");

    for (arguments, code, piece) in [
        (&["quarantine", "replay", "1"][..], 1, "released already"),
        (&["quarantine", "discard", "1", "--because", "x"], 1, "released already"),
        (&["quarantine", "discard", "77", "--because", "x"], 1, "no quarantine entry 77"),
        (&["quarantine", "purge", "1"], 2, "--because"),
        (&["quarantine", "purge", "1", "--because", " "], 1, "say why"),
        (&["quarantine", "replay"], 2, "--all"),
        (&["quarantine", "replay", "--all", "--pipeline", "none"], 1, "there is: fragrances"),
        (&["quarantine", "list", "--older-than", "soon"], 2, "--older-than"),
        (&["quarantine", "show", "77"], 1, "no quarantine entry 77"),
    ] {
        let told = ask(&fragrances, arguments).await;
        assert_eq!(told.code, Some(code), "{arguments:?}: {told:?}");
        assert!(told.stderr.contains(piece), "{arguments:?}: {told:?}");
    }
    let told = ask(&fragrances, &["quarantine", "purge", "1", "--because", "erasure"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "entry 1 is purged\n"));
    let told = ask(&fragrances, &["quarantine", "list", "--any"]).await;
    assert!(told.stdout.contains("purged"), "{told:?}");
}

#[tokio::test]
async fn many_are_replayed_by_filter() {
    let fragrances = kept().await;
    let told = ask(&fragrances, &["quarantine", "replay", "--all", "--rule", "minimum", "--json"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert_eq!((&told.json()["state"], &told.json()["refused"]), (&json!("done"), &json!(1)));
    let told = ask(&fragrances, &["quarantine", "replay", "--all", "--reason", "none"]).await;
    assert_eq!(
        (told.code, told.stdout.as_str()),
        (Some(0), "0 released, 0 superseded by newer data, 0 refused again and open\n")
    );
}

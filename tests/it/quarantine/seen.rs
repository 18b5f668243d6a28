//! What operators see of sensitive values: on no surface anything, unless they ask for it by name.

use serde_json::{Value, json};

use crate::harness::{Accord, Fragrances, Told, accord};

const SECRET: &str = "s3cr3t-0f-a-person";

/// A library whose stories are sensitive, and one more field inside of nothing that is known.
async fn with_sensitive_stories() -> (Fragrances, Accord) {
    let fragrances = Fragrances::seeded(5).await;
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
    let story = "businessName: Story\n";
    let contract = std::fs::read_to_string(shipped).unwrap();
    assert!(contract.contains(story));
    let contract = contract.replace(story, &format!("{story}        classification: Restricted\n"));
    let file = fragrances.config().with_file_name("contract.yaml");
    std::fs::write(&file, contract).unwrap();
    fragrances.configure(|config| {
        config
            .replace("[pipeline.fragrances]\n", "[pipeline.fragrances]\nmode = \"apply\"\n")
            .replace(shipped, file.to_str().unwrap())
    });
    let config = std::fs::read_to_string(fragrances.config()).unwrap();
    let server = Accord::serve(&config, fragrances.http).await.unwrap();
    (fragrances, server)
}

async fn ask(fragrances: &Fragrances, arguments: &[&str]) -> Told {
    accord(&fragrances.config(), arguments).await
}

#[tokio::test]
async fn no_surface_shows_a_sensitive_value_unasked() {
    let (fragrances, server) = with_sensitive_stories().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let hook = ask(&fragrances, &["token", "show", "fragrances"]).await.stdout.trim().to_owned();
    let long = "x".repeat(1024);
    for (body, status) in [
        (json!({"fragrance_id": 3, "name": "Iris", "description": format!("{SECRET}{long}")}), 202),
        (json!({"fragrance_id": 3, "description": SECRET}), 200),
    ] {
        assert_eq!(client.post(&hook).json(&body).send().await.unwrap().status(), status);
    }

    let api = format!("{}/api/v1/quarantine", server.url);
    let get =
        async |path: &str| client.get(format!("{api}{path}")).send().await.unwrap().text().await.unwrap();
    for (path, piece) in [("", "/description"), ("/1", "Iris")] {
        let shown = get(path).await;
        assert!(!shown.contains(SECRET) && shown.contains(piece), "{path}: {shown}");
        let raw = get(&format!("{path}?raw=true")).await;
        assert!(raw.contains(SECRET), "{path}: {raw}");
    }
    let replayed = client.post(format!("{api}/1/replay")).json(&json!({})).send().await.unwrap();
    let replayed = replayed.text().await.unwrap();
    assert!(!replayed.contains(SECRET) && replayed.contains("(masked)"), "{replayed}");
    let written = server.process.log();
    assert!(!written.contains(SECRET), "{written}");
    assert_eq!(written.matches("the raw view of").count(), 2, "who looks is written down: {written}");

    for (arguments, code) in [
        (&["quarantine", "list"][..], 0),
        (&["quarantine", "list", "--json"], 0),
        (&["quarantine", "show", "1"], 0),
        (&["quarantine", "show", "1", "--json"], 0),
        (&["quarantine", "replay", "1"], 3),
        (&["quarantine", "replay", "1", "--json"], 3),
        (&["history", "fragrances", "3"], 0),
        (&["history", "fragrances", "3", "--json"], 0),
    ] {
        let told = ask(&fragrances, arguments).await;
        assert_eq!(told.code, Some(code), "{arguments:?}: {told:?}");
        assert!(!format!("{told:?}").contains(SECRET), "{arguments:?}: {told:?}");
        if arguments[1] != "replay" {
            let raw = ask(&fragrances, &[arguments, &["--raw"]].concat()).await;
            assert!(raw.stdout.contains(SECRET), "{arguments:?}: {raw:?}");
        }
    }

    // Of a pipeline that nobody here knows, nothing is known to be harmless.
    sqlx::raw_sql("update accord.pipeline set name = 'gone'")
        .execute(&fragrances.library.pool)
        .await
        .unwrap();
    let page: Value = serde_json::from_str(&get("").await).unwrap();
    assert_eq!((&page["data"][0]["key"], &page["data"][0]["pipeline"]), (&json!("(masked)"), &json!("gone")));
    let told = ask(&fragrances, &["quarantine", "show", "1"]).await;
    assert!(!told.stdout.contains("Iris") && told.stdout.contains("(masked)"), "{told:?}");
}

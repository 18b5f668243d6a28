//! Pausing at a terminal and over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Accord, Configure, Fragrances, PASSWORD, Reply, Server, Told, accord, eventually, fragrances,
};

const SOON: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";
const PAUSE: &str = "/api/v1/pipelines/fragrances/pause";
const RESUME: &str = "/api/v1/pipelines/fragrances/resume";

async fn post(server: &Server, path: &str, body: &str) -> Reply {
    server.post(path, JSON, body).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_paused_and_resumed_over_http() {
    let server = Server::start(Configure::default()).await;
    let before = fragrances(&server.library.pool, Some(3)).await;
    let reply = post(&server, PAUSE, r#"{"reason": " moving the CMS "}"#).await;
    let told = reply.json();
    assert_eq!(reply.status, 200, "{told}");
    assert_eq!(told["pipeline"], "fragrances");
    assert_eq!((&told["paused"]["by"], &told["paused"]["reason"]), (&json!("api"), &json!("moving the CMS")));
    assert_eq!(told["already"], false);
    let again = post(&server, PAUSE, r#"{"reason": "another"}"#).await;
    assert_eq!((again.status, &again.json()["already"]), (200, &json!(true)));
    assert_eq!(again.json()["paused"], told["paused"], "the first one stays");

    let kept = server.send(r#"{"fragrance_id": 3, "cost": 777}"#).await;
    assert_eq!((kept.status, &kept.json()["violations"][0]["rule"]), (202, &json!("paused")));
    assert!(kept.text.contains("moving the CMS"), "{}", kept.text);
    assert_eq!(fragrances(&server.library.pool, Some(3)).await, before);
    let id = &kept.json()["id"];
    let refusal = post(&server, &format!("/api/v1/quarantine/{id}/replay"), "{}").await;
    assert_eq!((refusal.status, refusal.content_type()), (409, "application/problem+json"));
    assert!(refusal.text.contains("accord resume fragrances"), "{}", refusal.text);
    let (_, many) = server.post("/api/v1/quarantine/replays", JSON, r#"{"filter": {}}"#).await;
    let many = many.unwrap();
    let ended = eventually(SOON, "the replay of many ends", async || {
        let bulk = server.get(&many).await.json();
        if bulk["state"] == "running" { Err(bulk) } else { Ok(bulk) }
    })
    .await;
    assert_eq!((&ended["state"], &ended["refused"]), (&json!("failed"), &json!(0)));
    assert!(ended["reason"].as_str().unwrap().contains("is paused since"), "{ended}");

    let reply = post(&server, RESUME, "{}").await;
    let told = reply.json();
    assert_eq!((reply.status, &told["to_replay"]), (202, &json!(1)), "{told}");
    assert_eq!(told["was_paused"]["reason"], "moving the CMS");
    eventually(SOON, "what was kept is applied", async || {
        let entry = server.get(&format!("/api/v1/quarantine/{id}")).await.json();
        if entry["state"] == "released" { Ok(()) } else { Err(entry) }
    })
    .await;
    assert!(fragrances(&server.library.pool, Some(3)).await[0].contains("777"));
    let reply = post(&server, RESUME, "{}").await;
    assert_eq!(
        (reply.status, &reply.json()["was_paused"]),
        (200, &Value::Null),
        "it was not paused any more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_a_problem_and_pauses_nothing() {
    let server = Server::start(Configure::default()).await;
    let long = json!({"reason": "x".repeat(1001)}).to_string();
    for (path, content_type, body, status) in [
        (PAUSE, "text/plain", r#"{"reason": "why"}"#, 415),
        (PAUSE, JSON, "", 400),
        (PAUSE, JSON, "{", 400),
        (PAUSE, JSON, "{}", 422),
        (PAUSE, JSON, r#"{"reason": "  "}"#, 422),
        (PAUSE, JSON, r#"{"reason": "a\u0000b"}"#, 422),
        (PAUSE, JSON, &long, 422),
        (PAUSE, JSON, r#"{"reason": "why", "until": "noon"}"#, 422),
        (PAUSE, JSON, &" ".repeat(20_000), 413),
        ("/api/v1/pipelines/none/pause", JSON, r#"{"reason": "why"}"#, 404),
        ("/api/v1/pipelines/%ff/pause", JSON, r#"{"reason": "why"}"#, 404),
        ("/api/v1/pipelines/none/resume", JSON, "{}", 404),
        (RESUME, "text/plain", "{}", 415),
        (RESUME, JSON, r#"{"now": true}"#, 422),
    ] {
        let (reply, _) = server.post(path, content_type, body).await;
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text);
        assert_eq!(reply.content_type(), "application/problem+json", "{path} {body}");
    }
    assert_eq!(server.get(PAUSE).await.status, 405);
    let paused: bool = sqlx::query_scalar("select paused_since is not null from accord.pipeline")
        .fetch_one(&server.library.pool)
        .await
        .unwrap();
    assert!(!paused);

    let server = Server::start(Configure { http: "admin_token = \"s3cret\"", ..Configure::default() }).await;
    for path in [PAUSE, RESUME] {
        assert_eq!(post(&server, path, r#"{"reason": "why"}"#).await.status, 401, "{path}");
    }
}

async fn ask(fragrances: &Fragrances, arguments: &[&str]) -> Told {
    let told = accord(&fragrances.config(), arguments).await;
    assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
    told
}

async fn serve(fragrances: &Fragrances) -> Accord {
    Accord::serve(&std::fs::read_to_string(fragrances.config()).unwrap(), fragrances.http).await.unwrap()
}

async fn is_open(fragrances: &Fragrances) -> i64 {
    let open = "select count(*) from accord.quarantine where state = 'open'";
    sqlx::query_scalar(open).fetch_one(&fragrances.library.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_paused_and_resumed_at_a_terminal() {
    let fragrances = Fragrances::seeded(5).await;
    fragrances.configure(|config| {
        config.replace("[pipeline.fragrances]\n", "[pipeline.fragrances]\nmode = \"apply\"\n")
    });
    let told = ask(&fragrances, &["pause", "fragrances", "--because", "why"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("never ran against this library"), "{told:?}");

    let server = serve(&fragrances).await;
    let url = ask(&fragrances, &["token", "show", "fragrances"]).await.stdout.trim().to_owned();
    for (arguments, code, piece) in [
        (&["pause", "fragrances"][..], 2, "--because"),
        (&["pause", "fragrances", "--because", "  "], 1, "has to say why"),
        (&["pause", "none", "--because", "why"], 1, "there is: fragrances"),
        (&["resume", "none"], 1, "there is: fragrances"),
        (&["resume", "fragrances"], 0, "is not paused"),
        (&["pause", "fragrances", "--because", "moving the CMS"], 0, "accord resume fragrances"),
        (&["pause", "fragrances", "--because", "once more"], 0, "paused already, since 20"),
    ] {
        let told = ask(&fragrances, arguments).await;
        assert_eq!(told.code, Some(code), "{told:?}");
        assert!(format!("{}{}", told.stdout, told.stderr).contains(piece), "no `{piece}`: {told:?}");
    }
    let told = ask(&fragrances, &["pause", "fragrances", "--because", "x", "--json"]).await.json();
    assert_eq!((&told["already"], &told["paused"]["reason"]), (&json!(true), &json!("moving the CMS")));
    assert!(told["paused"]["by"].as_str().unwrap().ends_with("(command line)"), "{told}");

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = async |cost: u32| {
        let change = json!({"fragrance_id": 3, "cost": cost});
        client.post(&url).json(&change).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(701).await, 202);
    let told = ask(&fragrances, &["quarantine", "replay", "1"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("accord resume fragrances"), "{told:?}");
    assert_eq!(is_open(&fragrances).await, 1);
    let told = ask(&fragrances, &["resume", "fragrances"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("1 change replayed") && told.stdout.contains("moving the CMS"), "{told:?}");
    assert_eq!(is_open(&fragrances).await, 0, "it waited");

    // Without a server, what was kept is replayed when there is one.
    ask(&fragrances, &["pause", "fragrances", "--because", "why"]).await;
    assert_eq!(send(702).await, 202);
    drop(server);
    let told = eventually(SOON, "nobody leads any more", async || {
        let told = ask(&fragrances, &["status", "--json"]).await.json();
        if told["led"] == false { Ok(told) } else { Err(told) }
    });
    told.await;
    let told = ask(&fragrances, &["resume", "fragrances", "--json"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!((&told.json()["kept"], &told.json()["to_replay"]), (&json!(1), &json!(1)));
    assert_eq!(is_open(&fragrances).await, 1);
    let server = serve(&fragrances).await;
    eventually(SOON, "it is replayed", async || match is_open(&fragrances).await {
        0 => Ok(()),
        open => Err(open),
    })
    .await;

    // What the table itself refuses is told.
    ask(&fragrances, &["pause", "fragrances", "--because", "why"]).await;
    assert_eq!(send(703).await, 202);
    let check = "alter table fragrances add constraint cheap check (cost <> 703)";
    sqlx::raw_sql(check).execute(&fragrances.library.pool).await.unwrap();
    let told = ask(&fragrances, &["resume", "fragrances"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stdout.contains("1 change refused: see `accord quarantine list"), "{told:?}");

    // That is over with the pause it was of: the next one did not keep it.
    ask(&fragrances, &["pause", "fragrances", "--because", "why"]).await;
    let told = ask(&fragrances, &["resume", "fragrances", "--json"]).await;
    let counts = ["kept", "to_replay", "refused"].map(|count| told.json()[count].clone());
    assert_eq!((told.code, counts), (Some(0), [json!(0), json!(0), json!(0)]), "{told:?}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_resumption_is_told_of_another_pause() {
    let fragrances = Fragrances::seeded(5).await;
    let server = serve(&fragrances).await;
    let url = ask(&fragrances, &["token", "show", "fragrances"]).await.stdout.trim().to_owned();
    ask(&fragrances, &["pause", "fragrances", "--because", "why"]).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let kept = client.post(&url).json(&json!({"fragrance_id": 3, "cost": 701})).send().await.unwrap();
    assert_eq!(kept.status().as_u16(), 202);
    drop(server);
    // A leader who replays nothing.
    let mut leader = fragrances.library.pool.acquire().await.unwrap();
    let lead = sqlx::query("select pg_advisory_lock($1)").bind(accord::leader::LOCK);
    lead.execute(&mut *leader).await.unwrap();
    let pause_again = async {
        eventually(SOON, "it is resumed", async || {
            let pause = accord::library::pause::read(&fragrances.library.pool, "fragrances").await.unwrap();
            if pause.is_none() { Ok(()) } else { Err(pause) }
        })
        .await;
        ask(&fragrances, &["pause", "fragrances", "--because", "not yet"]).await
    };
    let (resumed, paused) = tokio::join!(ask(&fragrances, &["resume", "fragrances"]), pause_again);
    assert_eq!(paused.code, Some(0), "{paused:?}");
    assert_eq!(resumed.code, Some(1), "{resumed:?}");
    for piece in ["`fragrances` is paused again", "not yet", "1 change is not replayed yet"] {
        assert!(resumed.stderr.contains(piece), "no `{piece}`: {resumed:?}");
    }
}

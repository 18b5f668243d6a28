//! `accord contract preview|activate|versions|show`, with and without a server.

use serde_json::{Value, json};

use crate::harness::{Accord, Fragrances, PASSWORD, Told, accord};

const SHIPPED: &str = include_str!("../../../contracts/fragrances.yaml");

/// A library whose server applies what it is sent, with the shipped contract in a file of its own.
struct Desk(Fragrances);

impl Desk {
    async fn new() -> Self {
        let desk = Self(Fragrances::seeded(50).await);
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
        let file = desk.file("contract.yaml", SHIPPED);
        desk.0.configure(|config| {
            config
                .replace(shipped, &file)
                .replace("[pipeline.fragrances]\n", "[pipeline.fragrances]\nmode = \"apply\"\n")
        });
        desk
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.config().with_file_name(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    async fn ask(&self, arguments: &[&str]) -> Told {
        let told = accord(&self.0.config(), arguments).await;
        assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
        told
    }

    async fn serve(&self) -> Accord {
        Accord::serve(&std::fs::read_to_string(self.0.config()).unwrap(), self.0.http).await.unwrap()
    }

    /// Delivers a change to the server, and gives the word for what became of it.
    async fn send(&self, body: &str) -> String {
        let url = self.ask(&["token", "show", "fragrances"]).await.stdout.trim().to_owned();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.post(&url).body(body.to_owned()).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["outcome"].as_str().unwrap().to_owned()
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.0.library.pool).await.unwrap()
    }
}

/// The shipped contract as another version, with another least cost.
fn next(version: &str, minimum: i32) -> String {
    let costs = "physicalType: numeric\n        logicalTypeOptions:\n          minimum: 0\n";
    assert!(SHIPPED.contains(costs));
    SHIPPED
        .replace(costs, &costs.replace("minimum: 0", &format!("minimum: {minimum}")))
        .replace("version: 1.0.0", &format!("version: {version}"))
}

#[tokio::test]
async fn a_contract_is_looked_at_refused_forced_and_listed() {
    let desk = Desk::new().await;
    let stricter = desk.file("next.yaml", &next("1.1.0", 30));
    let told = desk.ask(&["contract", "versions", "fragrances"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    drop(desk.serve().await);

    let fails = desk.number("select count(*) from fragrances where cost < 30").await;
    assert!(fails > 0);
    let told = desk.ask(&["contract", "preview", &stricter]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(
        told.stdout.contains(&format!("{fails} rows would now fail rule minimum of cost (keys ")),
        "{told:?}"
    );
    let told = desk.ask(&["contract", "preview", &stricter, "--pipeline", "fragrances", "--json"]).await;
    let preview = told.json();
    assert_eq!((&preview["rows"]["would_fail"], &preview["rows"]["judged"]), (&json!(fails), &json!(50)));
    assert!(!told.stdout.contains("\"value\": \""), "keys are shown, and no values");

    let told = desk.ask(&["contract", "activate", "fragrances", &stricter, "--json"]).await;
    assert_eq!((told.code, &told.json()["state"]), (Some(3), &json!("refused")));
    assert!(told.stderr.contains("--force"), "{told:?}");
    assert_eq!(desk.number("select count(*) from accord.activation").await, 1);
    let because =
        ["contract", "activate", "fragrances", &stricter, "--force", "--because", "cleaned up tonight"];
    let told = desk.ask(&because).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let told = desk.ask(&because).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("in force for `fragrances` already"), "{told:?}");

    let told = desk.ask(&["contract", "versions", "fragrances", "--json"]).await.json();
    let of = |n: usize, what: &str| told["activations"][n][what].clone();
    assert_eq!(told["activations"].as_array().unwrap().len(), 2);
    assert_eq!(
        (of(0, "version"), of(0, "forced"), of(0, "reason")),
        (json!("1.1.0"), json!(true), json!("cleaned up tonight"))
    );
    assert_eq!(
        (of(1, "version"), of(1, "forced"), of(1, "by")),
        (json!("1.0.0"), json!(false), json!("serve"))
    );
    assert_eq!(desk.ask(&["contract", "show", "fragrances"]).await.stdout, next("1.1.0", 30));
    assert_eq!(
        desk.number("select (preview -> 'rows' ->> 'would_fail')::int8 from accord.activation order by id desc limit 1").await,
        fails,
        "what it was known to mean is kept"
    );

    // Back to what the file says: nothing newly fails.
    let told = desk.ask(&["contract", "activate", "fragrances"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(desk.number("select count(*) from accord.activation where not forced").await, 2);
}

#[tokio::test]
async fn what_cannot_work_is_not_put_in_force_by_force_either() {
    let desk = Desk::new().await;
    drop(desk.serve().await);
    let season = "      - name: season\n        logicalType: string\n        physicalType: text\n\n      - name: cost\n";
    let lacking = next("1.1.0", 0).replace("      - name: cost\n", season);
    assert!(lacking.contains("season"));
    let unfit = desk.file("unfit.yaml", &lacking);
    let told = desk.ask(&["contract", "activate", "fragrances", &unfit, "--force"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stdout.contains("season") && told.stderr.contains("cannot be forced"), "{told:?}");

    let broken = desk.file("broken.yaml", &SHIPPED.replace("physicalType: numeric", "physicalType: money"));
    for (arguments, code, piece) in [
        (&["contract", "activate", "fragrances", &broken, "--force"][..], 1, "broken.yaml"),
        (&["contract", "preview", &broken], 1, "broken.yaml"),
        (&["contract", "activate", "fragrances", "no/such.yaml"], 1, "no/such.yaml"),
        (&["contract", "activate", "none"], 1, "there is: fragrances"),
        (&["contract", "activate", "fragrances", "--because", " "], 1, "--because"),
        (&["contract", "preview", &unfit, "--since", "soon"], 2, "--since"),
        (&["contract", "show", "none"], 1, "none"),
    ] {
        let told = desk.ask(arguments).await;
        assert_eq!(told.code, Some(code), "{arguments:?}: {told:?}");
        assert!(told.stderr.contains(piece), "{arguments:?}: {told:?}");
    }
    assert_eq!(desk.number("select count(*) from accord.activation").await, 1);
}

#[tokio::test]
async fn what_a_preview_promises_of_the_quarantine_a_replay_keeps() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    for n in 0..12 {
        assert_eq!(
            desk.send(&format!(r#"{{"fragrance_id": {n}, "cost": {}}}"#, -n - 1)).await,
            "quarantined"
        );
    }
    drop(server);
    let looser = desk.file("next.yaml", &next("1.1.0", -8));
    let preview = desk.ask(&["contract", "preview", &looser, "--json"]).await.json();
    let quarantine = &preview["quarantine"];
    assert_eq!((&quarantine["would_pass"], &quarantine["still_refused"]), (&json!(8), &json!(4)));
    let told = desk.ask(&["contract", "activate", "fragrances", &looser]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let told = desk.ask(&["quarantine", "replay", "--all", "--json"]).await;
    assert_eq!((&told.json()["released"], &told.json()["refused"]), (&json!(8), &json!(4)));
    assert!(told.stderr.contains("accord contract activate fragrances"), "the file is another: {told:?}");
}

#[tokio::test]
async fn a_file_that_differs_does_not_judge_until_it_is_activated() {
    let desk = Desk::new().await;
    drop(desk.serve().await);
    desk.file("contract.yaml", &next("1.1.0", 1000));
    let server = desk.serve().await;
    assert_eq!(desk.send(r#"{"fragrance_id": 3, "cost": 7.25}"#).await, "applied");
    let log = server.process.log();
    for piece in
        ["version 1.0.0", "is not that document", "accord contract preview", "accord contract activate"]
    {
        assert!(log.contains(piece), "no `{piece}` in {log}");
    }
    for (arguments, piece) in
        [(&["doctor"][..], "fragrances 1.0.0 judges"), (&["history", "fragrances", "3"], "contract 1.0.0")]
    {
        let told = desk.ask(arguments).await;
        assert!(told.stdout.contains(piece), "{arguments:?}: {told:?}");
    }
    let told = desk.ask(&["check", "fragrances", "--json"]).await;
    assert_eq!(told.json()["version"], json!("1.0.0"), "{told:?}");
    assert!(told.stderr.contains("is not that document"), "{told:?}");
    // A row is judged at most by what is in force, whatever the file says.
    let told = desk.ask(&["contract", "preview", &desk.file("same.yaml", SHIPPED)]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("This is the contract in force"), "{told:?}");
}

#[tokio::test]
async fn without_its_file_a_server_goes_by_the_contract_in_force_and_says_so() {
    let desk = Desk::new().await;
    drop(desk.serve().await);
    std::fs::remove_file(desk.0.config().with_file_name("contract.yaml")).unwrap();
    let server = desk.serve().await;
    assert_eq!(desk.send(r#"{"fragrance_id": 3, "cost": 7.25}"#).await, "applied");
    let log = server.process.log();
    assert!(log.contains("cannot be read") && log.contains("accord contract show fragrances"), "{log}");
    let told = desk.ask(&["doctor"]).await.stdout;
    assert!(told.contains("there is no ") && told.contains("`accord contract show fragrances`"), "{told}");
    let shown = desk.ask(&["contract", "show", "fragrances"]).await;
    assert_eq!(shown.stdout, SHIPPED, "and the way out works");
}

#[tokio::test]
async fn a_preview_reads_as_sentences_however_far_back_it_looks() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    assert_eq!(desk.send(r#"{"fragrance_id": 3, "cost": 7.25}"#).await, "applied");
    drop(server);
    let file = desk.file("next.yaml", &next("1.1.0", 1000));
    let told = desk.ask(&["contract", "preview", &file, "--since", "100000years"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    for piece in [
        "FAIL  50 rows would now fail rule minimum of cost (keys 0, 1, 2, ",
        "FAIL  check cost.minimum would now fail: 50 rows (= 0) (keys 0, 1, 2, ",
        "FAIL  1 recent accepted change would now be refused by rule minimum of cost (keys 3)",
        "changes     1 accepted change judged, 1 would now fail (since 1970-01-01 00:00 UTC)",
    ] {
        assert!(told.stdout.contains(piece), "no `{piece}` in {}", told.stdout);
    }
}

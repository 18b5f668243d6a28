//! Of those who would change the contract in force at once, one does.

use accord::contract::Contract;
use accord::library::activation::{self, Decision};
use accord::library::{self, pipeline};
use sqlx::PgPool;

use crate::harness::{Accord, Fragrances, ITEM, accord, database, free_port};

const DECISION: Decision<'static> = Decision { by: "test", forced: false, reason: None, preview: None };

async fn enrolled(pool: &PgPool, version: &str) -> pipeline::Ids {
    let mut conn = pool.acquire().await.unwrap();
    library::migrate(&mut conn).await.unwrap();
    let contract = Contract::parse(&ITEM.replace("1.0.0", version), "test", None).unwrap();
    pipeline::enroll(&mut conn, "items", "item", &contract).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_succeeds() {
    let pool = database().await.pool;
    let ids = enrolled(&pool, "1.0.0").await;
    for _ in 0..5 {
        let mut conn = pool.acquire().await.unwrap();
        let before =
            activation::active(&mut *conn, "items").await.unwrap().map(|active| active.activation.id);
        drop(conn);
        let tries = (0..8).map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut conn = pool.acquire().await.unwrap();
                activation::activate(&mut conn, ids.pipeline, ids.contract, before, &DECISION).await.unwrap()
            })
        });
        let mut done = 0;
        for one in tries.collect::<Vec<_>>() {
            done += usize::from(one.await.unwrap());
        }
        assert_eq!(done, 1);
    }
    assert_eq!(activation::list(&pool, "items").await.unwrap().len(), 5);
}

#[tokio::test]
async fn the_newest_is_in_force_also_when_it_was_before() {
    let pool = database().await.pool;
    let (one, two) = (enrolled(&pool, "1.0.0").await, enrolled(&pool, "2.0.0").await);
    let mut conn = pool.acquire().await.unwrap();
    let mut expected = None;
    for ids in [one, two, one] {
        assert!(
            activation::activate(&mut conn, ids.pipeline, ids.contract, expected, &DECISION).await.unwrap()
        );
        let active = activation::active(&mut *conn, "items").await.unwrap().unwrap();
        assert_eq!(active.activation.contract, ids.contract);
        assert_eq!(activation::in_force(&mut *conn).await.unwrap(), [("items".to_owned(), ids.contract)]);
        expected = Some(active.activation.id);
    }
    let versions: Vec<_> =
        activation::list(&mut *conn, "items").await.unwrap().into_iter().map(|a| a.version).collect();
    assert_eq!(versions, ["1.0.0", "2.0.0", "1.0.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_agree_on_one_contract() {
    let fragrances = Fragrances::seeded(5).await;
    let file = |name: &str, version: &str| {
        let path = fragrances.config().with_file_name(name);
        let contract = include_str!("../../../contracts/fragrances.yaml");
        std::fs::write(&path, contract.replace("version: 1.0.0", &format!("version: {version}"))).unwrap();
        path.display().to_string()
    };
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
    let starts = ["1.1.0", "1.2.0", "1.3.0"].map(|version| {
        let http = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = fragrances.text().replace(shipped, &file(version, version));
        let config = config.replace(&fragrances.http.to_string(), &http.to_string());
        tokio::spawn(async move { Accord::serve(&config, http).await.unwrap() })
    });
    let mut servers = Vec::new();
    for start in starts {
        servers.push(start.await.unwrap());
    }
    let activations = activation::list(&fragrances.library.pool, "fragrances").await.unwrap();
    assert_eq!((activations.len(), activations[0].by.as_str()), (1, "serve"));
    let others = servers.iter().filter(|server| server.process.log().contains("is another document")).count();
    assert_eq!(others, 2, "those whose file does not judge say so");
}

#[tokio::test]
async fn a_contract_in_force_that_cannot_be_used_any_more_says_how_to_get_out() {
    let fragrances = Fragrances::seeded(5).await;
    drop(Accord::serve(&fragrances.text(), fragrances.http).await.unwrap());
    sqlx::raw_sql("update accord.contract set source = 'apiVersion: v9', hash = 'other'")
        .execute(&fragrances.library.pool)
        .await
        .unwrap();
    let error = Accord::serve(&fragrances.text(), fragrances.http).await.err().unwrap();
    assert!(error.contains("accord contract activate fragrances") && error.contains("--force"), "{error}");
    let told = accord(&fragrances.config(), &["contract", "activate", "fragrances"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    let told = accord(&fragrances.config(), &["contract", "activate", "fragrances", "--force"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    Accord::serve(&fragrances.text(), fragrances.http).await.unwrap();
    let newest = activation::list(&fragrances.library.pool, "fragrances").await.unwrap().remove(0);
    assert!(newest.forced, "nothing could be compared");
}

//! `accord doctor`: finds what is wrong, and says how to mend it.

use std::net::TcpListener;

use sqlx::AssertSqlSafe;

use crate::harness::{Accord, Fragrances, PASSWORD, Pooler, TestDatabase, Told, accord, owner};

/// Runs it; whatever it says, the password is not in it.
async fn examine(fragrances: &Fragrances, arguments: &[&str]) -> Told {
    let arguments = [&["doctor"], arguments].concat();
    let told = accord(&fragrances.config(), &arguments).await;
    assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
    told
}

/// What stands behind a check's name, with the verdict in front.
async fn findings(fragrances: &Fragrances) -> Vec<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let told = examine(fragrances, &["--json"]).await;
    let json = told.json();
    let found: Vec<_> = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            (
                text(&f["verdict"]),
                text(&f["check"]),
                format!("{} → {}", text(&f["message"]), text(&f["way_out"])),
            )
        })
        .collect();
    let failed = found.iter().any(|(verdict, ..)| verdict == "fail");
    assert_eq!(told.code, Some(i32::from(failed)), "{found:?}");
    found
}

/// The one finding of this verdict, which is about `check` and holds `piece`.
fn assert_only(found: &[(String, String, String)], verdict: &str, check: &str, piece: &str) {
    let of_verdict: Vec<_> = found.iter().filter(|(v, ..)| v == verdict).collect();
    assert!(
        matches!(of_verdict.as_slice(), [(_, c, text)] if c == check && text.contains(piece)),
        "not only {check}: {piece}\n{found:#?}"
    );
}

async fn run(database: &TestDatabase, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap();
}

/// A CMS that answers, as long as it is kept.
async fn cms(fragrances: &Fragrances) -> tokio_util::task::AbortOnDropHandle<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", fragrances.cms_port)).await.unwrap();
    let server = async move { axum::serve(listener, axum::Router::new()).await.unwrap() };
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(server))
}

#[tokio::test]
async fn where_all_is_well_every_line_says_so() {
    let fragrances = Fragrances::seeded(5).await;
    let _cms = cms(&fragrances).await;
    fragrances.configure(|config| {
        format!("{config}\n[pipeline.fragrances.reconcile]\nschedule = \"*/5 * * * *\"\n")
    });

    let found = findings(&fragrances).await;
    // The cluster of the tests is not synced, and that is the only thing to be said.
    assert_only(&found, "warn", "durability", "fsync is off");
    let checks: Vec<_> =
        found.iter().filter(|(v, ..)| v == "ok").map(|(_, check, _)| check.as_str()).collect();
    insta::assert_snapshot!(checks.join("\n"), @"
    configuration
    library
    role
    direct connection
    schema accord
    clock
    fragrances: contract
    fragrances: table
    fragrances: grants
    fragrances: throughput
    fragrances: reference
    fragrances: reference table
    fragrances: reconcile
    fragrances: sender
    http.listen
    ");

    let told = examine(&fragrances, &[]).await;
    assert_eq!(told.code, Some(0));
    assert!(told.stdout.lines().next().unwrap().starts_with("ok    configuration"), "{told:?}");
}

#[tokio::test]
async fn a_library_that_does_not_let_us_in_is_told_and_the_rest_examined() {
    let fragrances = Fragrances::seeded(5).await;
    let _cms = cms(&fragrances).await;
    let library = |config: &str, from: &str, to: &str| {
        let (before, after) = config.split_once("[pipeline.fragrances]").unwrap();
        format!("{}[pipeline.fragrances]{after}", before.replace(from, to))
    };
    fragrances.configure(|config| library(&config, PASSWORD, "mistyped"));
    let found = findings(&fragrances).await;
    assert_only(&found, "fail", "library", "correct user and password in library.url");
    assert!(!format!("{found:?}").contains("mistyped"));
    assert!(found.iter().any(|(v, check, _)| v == "ok" && check == "fragrances: reference"), "{found:#?}");

    fragrances.configure(|config| library(&config, "/test_", "/no_such_"));
    assert_only(&findings(&fragrances).await, "fail", "library", "create the database");

    fragrances.configure(|config| library(&config, "127.0.0.1", "127.0.0.99"));
    assert_only(&findings(&fragrances).await, "fail", "library", "start the server");
}

#[tokio::test]
async fn a_role_that_may_too_much_is_told_what_would_be_enough() {
    let fragrances = Fragrances::seeded(5).await;
    let role = owner(&fragrances.library);
    for (grant, take_back, piece) in [
        ("alter role ROLE superuser", "alter role ROLE nosuperuser", "is a superuser"),
        (
            "grant pg_read_server_files to ROLE",
            "revoke pg_read_server_files from ROLE",
            "pg_read_server_files",
        ),
    ] {
        run(&fragrances.library, &grant.replace("ROLE", &role)).await;
        let found = findings(&fragrances).await;
        let warned = found.iter().find(|(verdict, check, _)| verdict == "warn" && check == "role");
        let (_, _, text) = warned.unwrap_or_else(|| panic!("{found:#?}"));
        assert!(text.contains(piece) && text.contains("create role accord login"), "{text}");
        run(&fragrances.library, &take_back.replace("ROLE", &role)).await;
    }
}

#[tokio::test]
async fn a_transaction_pooler_gives_itself_away() {
    let fragrances = Fragrances::seeded(5).await;
    let library: url::Url = fragrances.library.url.parse().unwrap();
    let (host, port) = (library.host_str().unwrap(), library.port().unwrap());
    let pooler = Pooler::in_front_of(format!("{host}:{port}").parse().unwrap()).await;
    fragrances.configure(|config| config.replacen(&format!("{host}:{port}"), &pooler.address.to_string(), 1));
    let found = findings(&fragrances).await;
    assert!(
        found.iter().any(|(verdict, check, text)| verdict == "fail"
            && check == "direct connection"
            && text.contains("a transaction pooler is in between")),
        "{found:#?}"
    );
}

#[tokio::test]
async fn a_table_that_is_not_the_contracts_is_told_column_by_column() {
    let fragrances = Fragrances::seeded(5).await;
    let _cms = cms(&fragrances).await;

    run(&fragrances.library, "alter table fragrances alter cost type integer").await;
    assert_only(
        &findings(&fragrances).await,
        "fail",
        "fragrances: table",
        "column \"cost\" is integer in \"fragrances\" but numeric in the contract",
    );

    run(&fragrances.library, "drop table fragrances").await;
    assert_only(&findings(&fragrances).await, "fail", "fragrances: table", "does not exist; create it");
}

#[tokio::test]
async fn rights_that_are_missing_are_named() {
    let fragrances = Fragrances::seeded(5).await;
    let _cms = cms(&fragrances).await;
    let owner = owner(&fragrances.library);
    run(
        &fragrances.library,
        &format!("alter table fragrances owner to postgres; grant select, insert on fragrances to {owner}"),
    )
    .await;
    assert_only(&findings(&fragrances).await, "fail", "fragrances: grants", "lacks update, delete");

    run(&fragrances.library, "create schema accord").await;
    let found = findings(&fragrances).await;
    assert!(
        found
            .iter()
            .any(|(v, check, text)| v == "fail" && check == "schema accord" && text.contains("grant usage")),
        "{found:#?}"
    );
}

#[tokio::test]
async fn a_cms_that_is_down_and_a_reference_that_is_gone_are_told() {
    let fragrances = Fragrances::seeded(5).await;
    assert_only(&findings(&fragrances).await, "fail", "fragrances: sender", "start the sender");

    let _cms = cms(&fragrances).await;
    run(&fragrances.cms, "alter table fragrances drop column cost").await;
    assert_only(&findings(&fragrances).await, "fail", "fragrances: reference table", "cannot be read");
}

#[tokio::test]
async fn a_port_in_use_is_told_from_one_that_accord_itself_uses() {
    let fragrances = Fragrances::seeded(5).await;
    let _cms = cms(&fragrances).await;
    let stranger = TcpListener::bind(fragrances.http).unwrap();
    assert_only(&findings(&fragrances).await, "fail", "http.listen", "set http.listen to a free port");
    drop(stranger);

    let server = Accord::serve(&fragrances.text(), fragrances.http).await.unwrap();
    let found = findings(&fragrances).await;
    assert!(
        found
            .iter()
            .any(|(v, check, text)| v == "ok" && check == "http.listen" && text.contains("a running Accord")),
        "{found:#?}"
    );
    drop(server);
}

#[tokio::test]
async fn a_schema_of_another_version_is_told() {
    let fragrances = Fragrances::seeded(5).await;
    let _cms = cms(&fragrances).await;
    assert_eq!(accord(&fragrances.config(), &["migrate"]).await.code, Some(0));
    run(
        &fragrances.library,
        "insert into accord.migration (version, description, success, checksum, execution_time)
         values (99990101000000, 'from the future', true, '', 0)",
    )
    .await;
    assert_only(&findings(&fragrances).await, "fail", "schema accord", "made by a newer Accord");
    run(&fragrances.library, "delete from accord.migration").await;
    let found = findings(&fragrances).await;
    assert!(found.iter().any(|(v, check, _)| v == "warn" && check == "schema accord"), "{found:#?}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_a_finding() {
    let fragrances = Fragrances::seeded(5).await;
    fragrances.configure(|config| config.replace("listen =", "lissten ="));
    assert_only(&findings(&fragrances).await, "fail", "configuration", "lissten");
}

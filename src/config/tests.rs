use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const MINIMAL: &str = r#"
[library]
url = "postgres://me:pw@localhost/books"
[pipeline.books]
contract = "contracts/books.yaml"
[pipeline.books.source.webhook]
path = "/notifications"
"#;

fn from(toml: &str) -> Result<Config, ConfigError> {
    Config::from_toml(toml, Path::new("/etc/accord"))
}

fn refusal(toml: &str) -> String {
    from(toml).unwrap_err().to_string()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// A directory with an `accord.toml` and whatever else is named.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn load(directory: &tempfile::TempDir, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_with(Some(&directory.path().join("accord.toml")), variables(environment))
}

#[test]
fn defaults_stand_in_for_what_the_file_leaves_out() {
    let config = from(MINIMAL).unwrap();
    insta::assert_snapshot!(config.redacted_toml().unwrap(), @r#"
    [http]
    listen = "127.0.0.1:9099"
    body_limit = 1048576
    header_timeout = "10s"
    body_timeout = "30s"
    max_connections = 900

    [library]
    url = "postgres://me:***@localhost/books"
    max_connections = 10

    [retention]
    ledger = "90d"
    quarantine = "90d"
    event_id = "7d"
    reconciliation = "90d"
    check = "90d"

    [shutdown]
    grace = "25s"

    [log]
    filter = "info"
    format = "auto"

    [pipeline.books]
    contract = "/etc/accord/contracts/books.yaml"
    mode = "apply"

    [pipeline.books.hold]
    max_requests = 1024
    max_time = "25s"

    [pipeline.books.batch]
    max_changes = 1024

    [pipeline.books.quarantine]
    growth = 10
    within = "5m"

    [pipeline.books.source.webhook]
    path = "/notifications"
    auth = "token"
    "#);
    assert_eq!(config.pipeline["books"].mode(), Mode::Apply);
}

#[test]
fn the_shipped_sample_is_accepted() {
    let config = Config::load_with(Some(Path::new(DEFAULT_FILE)), []).unwrap();
    let fragrances = &config.pipeline["fragrances"];
    assert_eq!(fragrances.mode(), Mode::Refetch);
    assert_eq!(fragrances.contract, Path::new("contracts/fragrances.yaml"));
    assert_eq!(fragrances.register().unwrap().url.expose(), "http://cms_simulator:9090/listener");
    assert_eq!(fragrances.reconcile.as_ref().unwrap().on_drift, OnDrift::Repair);
}

#[test]
fn the_environment_overrides_the_file() {
    let directory = directory(&[("accord.toml", MINIMAL)]);
    let config = load(
        &directory,
        &[
            ("ACCORD__HTTP__LISTEN", "0.0.0.0:80"),
            ("ACCORD__HTTP__MAX_CONNECTIONS", "7"),
            ("ACCORD__HTTP__ADMIN_TOKEN", "007"),
            ("ACCORD__PIPELINE__BOOKS__HOLD__MAX_TIME", "3s"),
            ("ACCORD_PG_BIN", "/usr/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.http.listen.port(), 80);
    assert_eq!(config.http.max_connections, 7);
    assert_eq!(config.http.admin_token.unwrap().expose_secret(), "007");
    assert_eq!(config.pipeline["books"].hold.max_time, Duration::from_secs(3));
    assert_eq!(config.pipeline["books"].hold.max_requests, 1024);
    assert_eq!(config.pipeline["books"].contract, directory.path().join("contracts/books.yaml"));
}

#[test]
fn a_secret_may_come_from_a_file() {
    let directory = directory(&[
        ("accord.toml", "[library]\nurl_file = \"db_url\"\n[http]\nadmin_token_file = \"token\"\n"),
        ("db_url", "postgres://me:from_file@localhost/books\n"),
        ("token", "s3cret\n"),
    ]);
    let config = load(&directory, &[]).unwrap();
    assert_eq!(config.library.url.expose(), "postgres://me:from_file@localhost/books");
    assert_eq!(config.http.admin_token.unwrap().expose_secret(), "s3cret");

    let url = "postgres://me:from_env@localhost/books";
    let config = load(&directory, &[("ACCORD__LIBRARY__URL", url)]).unwrap();
    assert_eq!(config.library.url.expose(), url, "a later layer wins over an earlier one's file");
}

#[test]
fn a_secret_that_cannot_be_read_is_named() {
    let missing = refusal("[library]\nurl_file = \"gone\"\n");
    assert!(missing.contains("`library.url_file`") && missing.contains("/etc/accord/gone"), "{missing}");

    let directory = directory(&[("accord.toml", MINIMAL), ("empty", "\n")]);
    let empty = load(&directory, &[("ACCORD__HTTP__ADMIN_TOKEN_FILE", "empty")]).unwrap_err().to_string();
    assert!(empty.starts_with("ACCORD__HTTP__ADMIN_TOKEN_FILE names "), "{empty}");

    let both = refusal("[library]\nurl = \"postgres://h/d\"\nurl_file = \"x\"\n");
    assert!(both.contains("keep one of them"), "{both}");
}

#[test]
fn an_unknown_key_is_refused_with_its_name_and_place() {
    let directory = directory(&[("accord.toml", &format!("{MINIMAL}\n[http]\nlisten_on = \"x\"\n"))]);
    let message = load(&directory, &[]).unwrap_err().to_string();
    let file = directory.path().join("accord.toml");
    assert!(message.contains(&format!("`http.listen_on` in {}", file.display())), "{message}");
    assert!(message.contains("did you mean `listen`?"), "{message}");

    let message = Config::load_with(None, variables(&[("ACCORD__LIBRARY__URI", "x")])).unwrap_err();
    assert!(message.to_string().contains("ACCORD__LIBRARY__URI is no setting"), "{message}");
}

#[test]
fn refusals_say_what_to_do() {
    let with = |more: &str| refusal(&format!("{MINIMAL}{more}"));
    let instead = |from: &str, to: &str| refusal(&MINIMAL.replace(from, to));
    insta::assert_snapshot!(refusal(""), @r#"
the configuration cannot be used:
  `library.url` is missing: set it in the file, or as ACCORD__LIBRARY__URL
"#);
    insta::assert_snapshot!(with("register.url = \"http://cms/listener\""), @r#"
the configuration cannot be used:
  `pipeline.books.source.webhook.register` needs `http.public_url`: the URL under which the sender reaches us, such as "http://smart_library:9099"
"#);
    insta::assert_snapshot!(with("[pipeline.books.routes]\nlist = \"/notifications\"\nitem = \"/x\""), @r#"
the configuration cannot be used:
  `pipeline.books.routes.item` must be a path such as "/fragrance/{id}"
  `pipeline.books`: /notifications is already taken; choose another path
"#);
    insta::assert_snapshot!(with("[pipeline.books.routes]\nlist = \"/a\"\nitem = \"/notifications/{id}\""), @r#"
the configuration cannot be used:
  `pipeline.books`: /notifications/{id} is already taken; choose another path
"#);
    insta::assert_snapshot!(instead("/notifications", "/api/hook"), @r#"
the configuration cannot be used:
  `pipeline.books`: /api/hook is served by Accord itself; choose another path
"#);
    insta::assert_snapshot!(instead("[pipeline.books.source.webhook]\npath = \"/notifications\"", "source = {}"), @r#"
the configuration cannot be used:
  `pipeline.books.source` names no source: add [pipeline.books.source.webhook]
"#);
    insta::assert_snapshot!(instead("contract =", "mode = \"refetch\"\ncontract ="), @r#"
the configuration cannot be used:
  `pipeline.books.mode` is "refetch" but there is nothing to read afresh: add [pipeline.books.reference.postgres], or use mode = "apply"
"#);
    insta::assert_snapshot!(instead("contract =", "mode = \"merge\"\ncontract ="), @r#"
the configuration cannot be used:
  `pipeline.books.mode` in /etc/accord/accord.toml: expected `refetch`, `apply`
"#);
    insta::assert_snapshot!(instead("postgres://", "mysql://"), @r#"
the configuration cannot be used:
  `library.url` in /etc/accord/accord.toml: expected a database URL such as "postgres://user:password@host:5432/database"
"#);
    insta::assert_snapshot!(with("[pipeline.books.reconcile]"), @r#"
the configuration cannot be used:
  `pipeline.books.reconcile` has nothing to compare the library with: add [pipeline.books.reference.postgres], or take the section out
"#);
    for often in ["often", "* * * *", "0 0 0 31 2 *", "@daily"] {
        let message = with(&format!("[pipeline.books.reconcile]\nschedule = \"{often}\""));
        assert!(
            message.contains("`pipeline.books.reconcile.schedule` in ")
                && message.contains("five or six fields"),
            "{message}"
        );
    }
    insta::assert_snapshot!(with("[pipeline.books.reconcile]\nsilent_after = 0\nstatement_timeout = \"0s\""), @r#"
the configuration cannot be used:
  `pipeline.books.reconcile.silent_after` must be between 1 and 1000
  `pipeline.books.reconcile.statement_timeout` must be longer than zero
  `pipeline.books.reconcile` has nothing to compare the library with: add [pipeline.books.reference.postgres], or take the section out
"#);
    insta::assert_snapshot!(with("[shutdown]\ngrace = 25"), @r#"
the configuration cannot be used:
  `shutdown.grace` in /etc/accord/accord.toml: expected a duration such as "30s", "5m" or "90d"
"#);
    insta::assert_snapshot!(with("[shutdown]\ngrace = \"0s\""), @r#"
the configuration cannot be used:
  `shutdown.grace` must be longer than zero
"#);
    insta::assert_snapshot!(with("[log]\nfilter = \"=what=\""), @r#"
the configuration cannot be used:
  `log.filter` must be directives such as "info,accord=debug"
"#);
    insta::assert_snapshot!(with("[http]\nbody_limit = \"1 MiB\""), @r#"
the configuration cannot be used:
  `http.body_limit` in /etc/accord/accord.toml: expected a whole number, found text
"#);
    insta::assert_snapshot!(refusal("[http\n"), @r#"
/etc/accord/accord.toml:1:6: invalid table header, expected `.`, `]`
"#);
}

#[test]
fn a_section_of_its_own_has_a_pipeline_reconcile_by_itself() {
    let reference = "[pipeline.books.reference.postgres]\nurl = \"postgres://h/d\"\ntable = \"books\"\n";
    let by_hand = from(&format!("{MINIMAL}{reference}")).unwrap();
    assert!(by_hand.warnings()[0].contains("[pipeline.books.reconcile]"), "{:?}", by_hand.warnings());

    let section = "[pipeline.books.reconcile]\nschedule = \"*/5 * * * *\"\n";
    let config = from(&format!("{MINIMAL}{reference}{section}")).unwrap();
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    let shown = config.redacted_toml().unwrap();
    let (_, shown) = shown.split_once("[pipeline.books.reconcile]\n").unwrap();
    insta::assert_snapshot!(shown, @r#"
schedule = "*/5 * * * *"
on_drift = "repair"
grace = "2s"
silent_after = 2
statement_timeout = "10m"
"#);
}

#[test]
fn an_open_port_without_admin_token_is_warned_about() {
    assert!(from(MINIMAL).unwrap().warnings().is_empty());
    let open = format!("{MINIMAL}auth = \"none\"\n[http]\nlisten = \"0.0.0.0:9099\"");
    let warnings = from(&open).unwrap().warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("http.admin_token_file"), "{warnings:?}");
}

/// A configuration with the marker wherever a secret may stand.
fn full_of_secrets(marker: &str) -> String {
    format!(
        r#"
[http]
admin_token = "{marker}"
public_url = "http://smart_library:9099"
[library]
url = "postgres://me:{marker}@localhost/books?password={marker}"
[pipeline.books]
contract = "contracts/books.yaml"
[pipeline.books.source.webhook]
path = "/notifications"
[pipeline.books.source.webhook.register]
url = "https://{marker}:{marker}@cms/listener?key={marker}#{marker}"
[pipeline.books.reference.postgres]
url = "postgres://me:{marker}@localhost/cms"
table = "books"
"#
    )
    .replace(&format!("{marker}:{marker}@"), &format!("{marker}@"))
}

proptest! {
    #[test]
    fn no_dump_and_no_debug_shows_a_secret(secret in "[a-zA-Z0-9]{8,24}") {
        // The prefix keeps the marker apart from words that the dump holds anyway.
        let marker = format!("zq{secret}");
        let config = from(&full_of_secrets(&marker)).unwrap();
        for shown in [
            config.redacted().unwrap().to_string(),
            config.redacted_toml().unwrap(),
            format!("{config:?}"),
            config.warnings().join("\n"),
        ] {
            prop_assert!(!shown.contains(&marker), "{}", shown);
        }
    }

    #[test]
    fn no_refusal_shows_a_secret(secret in "[a-zA-Z0-9]{8,24}", place in 0usize..8) {
        let marker = format!("zq{secret}");
        let broken = [
            format!("library = \"postgres://me:{marker}@h/d\""),
            format!("[library]\nurl = \"postgres//me:{marker}@h/d\""),
            format!("[library]\nurl = \"mysql://me:{marker}@h/d\""),
            format!("[library]\nurl = \"postgres://me:{marker}@h/d\" x"),
            format!("[library]\nurl = \"postgres://me:{marker}@h/d"),
            format!("[http]\npublic_url = \"http://me:{marker}@h\""),
            format!("[http]\nmax_connections = \"{marker}\""),
            format!("[shutdown]\ngrace = \"{marker}\""),
        ];
        let message = refusal(&broken[place]);
        prop_assert!(!message.contains(&marker), "{}", message);
    }
}

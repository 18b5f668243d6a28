//! The answers of the API, byte for byte.

use reqwest::{Client, Method, StatusCode};

use crate::support::{Running, config_without_database};

async fn answer(
    cms: &Running,
    method: Method,
    path: &str,
    body: &'static str,
) -> (StatusCode, String, String) {
    let answer = Client::new().request(method, format!("{}{path}", cms.url)).body(body).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status(), kind, answer.text().await.unwrap())
}

#[tokio::test]
async fn known_answers_are_given_byte_for_byte() {
    let cms = Running::start(config_without_database()).await;
    let listener = r#"{"host":"http://smart_library","port":9099,"endpoint":"/notifications"}"#;
    for (method, path, body, expected) in [
        (Method::GET, "/", "", r#"["I am a healthy CMS"]"#),
        (Method::GET, "/healthcheck", "", r#"["I am healthy"]"#),
        (Method::POST, "/listener", listener, r#"["Listener added"]"#),
        (Method::DELETE, "/listener", "", r#"["Removed added"]"#),
    ] {
        let expected = (StatusCode::OK, "application/json".to_owned(), expected.to_owned());
        assert_eq!(answer(&cms, method.clone(), path, body).await, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn a_wrong_listener_is_refused_as_fastapi_refuses_it() {
    let cms = Running::start(config_without_database()).await;
    let (status, kind, body) = answer(
        &cms,
        Method::POST,
        "/listener",
        r#"{"endpoint":"/notifications","host":"http://smart_library"}"#,
    )
    .await;
    assert_eq!((status, kind.as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "application/json"));
    assert_eq!(
        body,
        r#"{"detail":[{"type":"missing","loc":["body","port"],"msg":"Field required","input":{"endpoint":"/notifications","host":"http://smart_library"}}]}"#
    );
}

#[tokio::test]
async fn there_is_no_way_to_ask_who_listens() {
    let cms = Running::start(config_without_database()).await;
    let (status, _, body) = answer(&cms, Method::GET, "/listener", "").await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, r#"{"detail":"Method Not Allowed"}"#)
    );
    let (status, _, body) = answer(&cms, Method::GET, "/listeners", "").await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#));
}

#[tokio::test]
async fn the_api_describes_itself_without_any_other_host() {
    let cms = Running::start(config_without_database()).await;
    let (status, kind, page) = answer(&cms, Method::GET, "/docs", "").await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(!page.contains("https://") && !page.contains("http://"), "the page reaches out");

    let (status, kind, description) = answer(&cms, Method::GET, "/openapi.json", "").await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"));
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    for call in
        ["/paths/~1/get", "/paths/~1healthcheck/get", "/paths/~1listener/post", "/paths/~1listener/delete"]
    {
        assert!(description.pointer(call).is_some(), "{call} is not described");
    }
}

use std::collections::HashMap;

use axum::http::{Request, StatusCode};
use sqlx::postgres::PgPoolOptions;
use tower::ServiceExt;

use super::*;
use crate::contract::{Column, InsertPolicy, UnknownFields};

fn contract(columns: &[(&str, &str, ColumnType)], key: &[usize]) -> Contract {
    let column = |(field, name, ty): &(&str, &str, ColumnType)| Column {
        field: (*field).to_owned(),
        name: Identifier::new(*name).unwrap(),
        ty: *ty,
        required: false,
        unique: false,
        classification: None,
    };
    let anything = || jsonschema::validator_for(&serde_json::json!({})).unwrap();
    Contract {
        name: "fragrances".into(),
        version: "1.0.0".into(),
        hash: String::new(),
        source: String::new(),
        schema: None,
        table: Identifier::new("fragrances").unwrap(),
        columns: columns.iter().map(column).collect(),
        key: key.to_vec(),
        version_column: None,
        unknown_fields: UnknownFields::Ignore,
        insert: InsertPolicy::Complete,
        coerce: true,
        full_schema: serde_json::json!({}),
        delta_schema: serde_json::json!({}),
        full: anything(),
        delta: anything(),
        rules: Vec::new(),
        by_field: HashMap::new(),
    }
}

fn fragrances() -> Contract {
    let columns = [
        ("fragrance_id", "fragrance_id", ColumnType::Integer),
        ("na\"me", "na\"me", ColumnType::Varchar(Some(150))),
        ("cost", "price", ColumnType::Numeric(None)),
    ];
    contract(&columns, &[0])
}

fn app(contract: &Contract) -> Router {
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_millis(50));
    let pool = pool.connect_lazy("postgres://localhost:1/nowhere").unwrap();
    let paths = LibraryRoutes {
        list_path: RoutePath::new("/fragrances").unwrap(),
        item_path: RoutePath::new("/fragrance").unwrap(),
    };
    routes(contract, &paths, &pool).unwrap()
}

async fn status_of(path: &str) -> StatusCode {
    let request = Request::get(path).body(Body::empty()).unwrap();
    app(&fragrances()).oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn a_key_of_several_columns_has_no_item_route() {
    let columns = [("a", "a", ColumnType::Integer), ("b", "b", ColumnType::Integer)];
    let pool = PgPoolOptions::new().connect_lazy("postgres://localhost:1/nowhere").unwrap();
    let path = || RoutePath::new("/x").unwrap();
    let paths = LibraryRoutes { list_path: path(), item_path: path() };
    let error = routes(&contract(&columns, &[0, 1]), &paths, &pool).unwrap_err();
    assert!(matches!(error, LibraryError::CompositeKey(_)), "{error}");
}

#[tokio::test]
async fn an_id_that_is_no_integer_is_400_and_one_beyond_all_integers_404() {
    for wrong in ["abc", "1.0", "%20", "1e3", "%ff", "0x1"] {
        assert_eq!(status_of(&format!("/fragrance/{wrong}")).await, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(status_of("/fragrance/99999999999999999999").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_database_that_is_away_is_503() {
    for path in ["/fragrances", "/fragrance/1"] {
        assert_eq!(status_of(path).await, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}

#[tokio::test]
async fn a_reader_that_vanishes_breaks_the_document_off() {
    let (frames, read) = mpsc::channel::<Frame>(1);
    let mut document = Box::pin(document(read));
    frames.send(Ok(Some(Bytes::from_static(b"{")))).await.unwrap();
    assert_eq!(document.try_next().await.unwrap().as_deref(), Some(&b"{"[..]));
    drop(frames);
    assert!(document.try_next().await.is_err());
}

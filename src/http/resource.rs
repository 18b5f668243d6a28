//! What the operators' resources have in common: pipelines by name, long work with an address, lists in
//! pages, bodies in JSON.
//!
//! Promises: a page says where the next one is exactly if there is more; who sends what is not taken is told what
//! would be. Must not know: any resource.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

use super::error::{Kind, Problem};
use super::{HttpPipeline, json};

/// Who decides, as far as this API knows.
pub(super) const BY: &str = "api";

/// The pipeline of this name.
pub(super) fn pipeline<'a>(pipelines: &'a [HttpPipeline], name: &str) -> Result<&'a HttpPipeline, Problem> {
    pipelines.iter().find(|pipeline| *pipeline.name == *name).ok_or_else(no_such_pipeline)
}

/// The answer to who names a pipeline that is not configured here.
pub(super) fn no_such_pipeline() -> Problem {
    Problem::new(Kind::NotFound, "No pipeline has this name: GET /api/v1/pipelines lists them.")
}

/// A connection to the library.
pub(super) async fn connection(pool: &PgPool) -> Result<PoolConnection<Postgres>, Problem> {
    pool.acquire().await.map_err(|error| Problem::database(&error))
}

/// The answer to a wish that is being carried out: 202, and where to look how far it is.
pub(super) fn accepted(address: &str, body: &impl Serialize) -> Response {
    let mut response = json(StatusCode::ACCEPTED, body);
    response.headers_mut().extend(location(address).map(|location| (header::LOCATION, location)));
    response
}

/// An address as a header has it: of digits, letters and slashes, all of them legal there.
pub(super) fn location(address: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(address).ok()
}

/// What has to be an object in JSON. A list of the fields' values, which `serde` would take in its place, is refused.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }

        from.deserialize_map(Fields(PhantomData))
    }
}

/// A page of a list, the newest first.
#[derive(Debug, Serialize)]
pub(super) struct Page<T> {
    data: Vec<T>,
    /// Where the next page is, if there is more.
    next: Option<String>,
}

impl<T> Page<T> {
    /// A page of at most `limit` of what was found; `next` gives the address of what comes after one.
    pub(super) fn cut(mut found: Vec<T>, limit: i64, next: impl FnOnce(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(next);
        Self { data: found, next }
    }

    /// How many there are on it.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }
}

pub(super) fn not_taken(rejection: &JsonRejection, form: &str) -> Problem {
    let (kind, what) = match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            (Kind::MediaType, "Send the header `Content-Type: application/json`".to_owned())
        }
        JsonRejection::JsonDataError(error) => (Kind::Unprocessable, error.body_text()),
        JsonRejection::BytesRejection(_) => (Kind::BodyTooLarge, "The body is too long".to_owned()),
        other => (Kind::BadRequest, other.body_text()),
    };
    Problem::new(kind, format!("{what}. The body is {form}."))
}

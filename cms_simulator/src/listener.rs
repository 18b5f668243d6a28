//! The one listener of the CMS: how it registers, and where it is kept.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};

/// Where to call, exactly as it was registered.
#[derive(Clone, PartialEq, Eq)]
pub struct Listener {
    /// Scheme and host, such as `http://smart_library`.
    pub host: String,
    /// The port.
    pub port: i64,
    /// The path, such as `/notifications`.
    pub endpoint: String,
}

impl Listener {
    /// Plain concatenation, as the real CMS does it: what was registered is called, right or wrong.
    pub fn url(&self) -> String {
        format!("{}:{}{}", self.host, self.port, self.endpoint)
    }

    /// The URL for people to read. A listener's path may end in a secret token, and its host may carry a password, so
    /// neither is shown.
    pub fn public_url(&self) -> String {
        let path = self.endpoint.split(['?', '#']).next().unwrap_or_default();
        let parent = path.rsplit_once('/').map_or("", |(parent, _token)| parent);
        let (scheme, authority) = self.host.split_once("://").unwrap_or(("http", &self.host));
        let host = authority.rsplit_once('@').map_or(authority, |(_password, host)| host);
        format!("{scheme}://{host}:{}{parent}/***", self.port)
    }

    /// Reads the body of `POST /listener`.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, Invalid> {
        if body.is_empty() {
            return Err(Invalid::one("missing", vec!["body".into()], "Field required", Value::Null));
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| Invalid::not_json(body, &error))?;
        let Value::Object(fields) = &body else {
            let message = "Input should be a valid dictionary or object to extract fields from";
            return Err(Invalid::one("model_attributes_type", vec!["body".into()], message, body));
        };
        match (text(fields, "host"), integer(fields, "port"), text(fields, "endpoint")) {
            (Ok(host), Ok(port), Ok(endpoint)) => Ok(Self { host, port, endpoint }),
            (host, port, endpoint) => {
                let detail = [host.err(), port.err(), endpoint.err()].into_iter().flatten().collect();
                Err(Invalid { detail })
            }
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listener").field(&self.public_url()).finish()
    }
}

/// The only place where the listener is kept. A restart forgets it.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Listener>>);

impl Slot {
    pub(crate) fn get(&self) -> Option<Listener> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a listener, or none, in the place of the one that was there, which is returned.
    pub(crate) fn put(&self, listener: Option<Listener>) -> Option<Listener> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), listener)
    }
}

/// Why a body is not a listener, in the shape in which FastAPI says so.
#[derive(Debug, Serialize)]
pub(crate) struct Invalid {
    detail: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<Value>,
    msg: &'static str,
    input: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Value>,
}

impl Invalid {
    fn one(kind: &'static str, loc: Vec<Value>, msg: &'static str, input: Value) -> Self {
        Self { detail: vec![Problem { kind, loc, msg, input, ctx: None }] }
    }

    fn not_json(body: &[u8], error: &serde_json::Error) -> Self {
        let lines_before = body.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
        let position = lines_before.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
        let ctx = serde_json::json!({ "error": error.to_string() });
        let problem = Problem {
            kind: "json_invalid",
            loc: vec!["body".into(), position.into()],
            msg: "JSON decode error",
            input: Value::Object(Map::new()),
            ctx: Some(ctx),
        };
        Self { detail: vec![problem] }
    }
}

fn text(fields: &Map<String, Value>, name: &'static str) -> Result<String, Problem> {
    match required(fields, name)? {
        Value::String(text) => Ok(text.clone()),
        other => Err(mistyped(name, "string_type", "Input should be a valid string", other)),
    }
}

/// An integer as FastAPI takes it: `9099`, `9099.0` and `"9099"` all pass.
fn integer(fields: &Map<String, Value>, name: &'static str) -> Result<i64, Problem> {
    const NOT_A_NUMBER: &str = "Input should be a valid integer, unable to parse string as an integer";
    const NOT_WHOLE: &str = "Input should be a valid integer, got a number with a fractional part";
    match required(fields, name)? {
        value @ Value::Number(number) => {
            let whole = || {
                number.as_str().split_once('.').filter(|(_, fraction)| fraction.bytes().all(|b| b == b'0'))
            };
            number
                .as_i64()
                .or_else(|| whole().and_then(|(whole, _)| whole.parse().ok()))
                .ok_or_else(|| mistyped(name, "int_from_float", NOT_WHOLE, value))
        }
        value @ Value::String(text) => {
            text.trim().parse().map_err(|_| mistyped(name, "int_parsing", NOT_A_NUMBER, value))
        }
        other => Err(mistyped(name, "int_type", "Input should be a valid integer", other)),
    }
}

fn required<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<&'a Value, Problem> {
    fields.get(name).ok_or_else(|| Problem {
        kind: "missing",
        loc: vec!["body".into(), name.into()],
        msg: "Field required",
        input: Value::Object(fields.clone()),
        ctx: None,
    })
}

fn mistyped(name: &'static str, kind: &'static str, msg: &'static str, input: &Value) -> Problem {
    Problem { kind, loc: vec!["body".into(), name.into()], msg, input: input.clone(), ctx: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(host: &str, endpoint: &str) -> Listener {
        Listener { host: host.into(), port: 9099, endpoint: endpoint.into() }
    }

    fn refusal(body: &str) -> String {
        serde_json::to_string(&Listener::from_body(body.as_bytes()).unwrap_err()).unwrap()
    }

    #[test]
    fn the_url_is_a_plain_concatenation() {
        let body = br#"{"host":"http://smart_library","port":9099,"endpoint":"/notifications"}"#;
        assert_eq!(Listener::from_body(body).unwrap().url(), "http://smart_library:9099/notifications");
        assert_eq!(listener("nonsense", "no-slash").url(), "nonsense:9099no-slash");
    }

    #[test]
    fn the_public_url_hides_the_token_and_any_password() {
        let shown = |host, endpoint| listener(host, endpoint).public_url();
        assert_eq!(shown("http://library", "/notifications/s3cret"), "http://library:9099/notifications/***");
        assert_eq!(shown("http://library", "/s3cret"), "http://library:9099/***");
        assert_eq!(shown("http://library", "/hook?token=a/b"), "http://library:9099/***");
        assert_eq!(shown("http://me:s3cret@library", ""), "http://library:9099/***");
        assert!(!format!("{:?}", listener("http://library", "/n/s3cret")).contains("s3cret"));
    }

    #[test]
    fn a_missing_field_is_named_as_fastapi_names_it() {
        assert_eq!(
            refusal(r#"{"endpoint":"/n","host":"http://l"}"#),
            r#"{"detail":[{"type":"missing","loc":["body","port"],"msg":"Field required","input":{"endpoint":"/n","host":"http://l"}}]}"#
        );
        assert_eq!(
            refusal(""),
            r#"{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}"#
        );
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        assert_eq!(
            refusal(r#"{"host":1,"port":"soon"}"#),
            concat!(
                r#"{"detail":[{"type":"string_type","loc":["body","host"],"msg":"Input should be a valid string","input":1},"#,
                r#"{"type":"int_parsing","loc":["body","port"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"soon"},"#,
                r#"{"type":"missing","loc":["body","endpoint"],"msg":"Field required","input":{"host":1,"port":"soon"}}]}"#
            )
        );
    }

    #[test]
    fn what_is_not_a_json_object_is_refused() {
        assert!(refusal("[]").contains("model_attributes_type"));
        assert!(refusal("{\n  nonsense").contains(r#""type":"json_invalid","loc":["body",4]"#));
    }

    #[test]
    fn the_port_is_an_integer() {
        let port = |port: &str| {
            Listener::from_body(format!(r#"{{"host":"h","port":{port},"endpoint":"/"}}"#).as_bytes())
                .map(|listener| listener.port)
                .map_err(|invalid| invalid.detail[0].kind)
        };
        assert_eq!([port("9099"), port("9099.0"), port(r#""9099""#)], [Ok(9099), Ok(9099), Ok(9099)]);
        assert_eq!(port("9099.5"), Err("int_from_float"));
        assert_eq!(port("null"), Err("int_type"));
        assert_eq!(port("true"), Err("int_type"));
        assert_eq!(port("[9099]"), Err("int_type"));
    }

    #[test]
    fn the_last_listener_takes_the_slot() {
        let slot = Slot::default();
        assert!(slot.put(Some(listener("first", "/"))).is_none());
        assert_eq!(slot.put(Some(listener("second", "/"))), Some(listener("first", "/")));
        assert_eq!(slot.get(), Some(listener("second", "/")));
    }
}

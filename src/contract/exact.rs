//! Numeric rules of a JSON Schema, judged on the digits as written.
//!
//! Promises: bounds and `multipleOf` are exact for every number that we take, however many digits it has (the
//! validator's own go through binary floats for some of them). Must not know: contracts.

use std::cmp::Ordering;

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value};

use crate::value::Numeric;

/// The rules that we judge ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Minimum,
    Maximum,
    ExclusiveMinimum,
    ExclusiveMaximum,
    MultipleOf,
}

impl Rule {
    pub(crate) const ALL: [Self; 5] =
        [Self::Minimum, Self::Maximum, Self::ExclusiveMinimum, Self::ExclusiveMaximum, Self::MultipleOf];

    /// The keyword of JSON Schema, which is also the standard's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::ExclusiveMinimum => "exclusiveMinimum",
            Self::ExclusiveMaximum => "exclusiveMaximum",
            Self::MultipleOf => "multipleOf",
        }
    }

    fn holds(self, value: &Numeric, limit: &Numeric) -> bool {
        if self == Self::MultipleOf {
            return value.is_multiple_of(limit) == Some(true);
        }
        value.compare(limit).is_some_and(|order| match self {
            Self::Minimum => order != Ordering::Less,
            Self::Maximum => order != Ordering::Greater,
            Self::ExclusiveMinimum => order == Ordering::Greater,
            Self::ExclusiveMaximum | Self::MultipleOf => order == Ordering::Less,
        })
    }

    fn sentence(self, value: &Value, limit: &Numeric) -> String {
        let limit = limit.as_str();
        match self {
            Self::Minimum => format!("{value} is less than the minimum of {limit}"),
            Self::Maximum => format!("{value} is greater than the maximum of {limit}"),
            Self::ExclusiveMinimum => format!("{value} is not greater than {limit}"),
            Self::ExclusiveMaximum => format!("{value} is not less than {limit}"),
            Self::MultipleOf => format!("{value} is not a multiple of {limit}"),
        }
    }
}

/// Options of a validator that judges numbers exactly.
pub(crate) fn options() -> jsonschema::ValidationOptions<'static> {
    Rule::ALL.into_iter().fold(jsonschema::options(), |options, rule| {
        options.with_keyword(rule.as_str(), move |_: &Map<String, Value>, limit: &Value, _: Location| {
            compile(rule, limit)
        })
    })
}

fn compile<'a>(rule: Rule, limit: &'a Value) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    let limit = match limit {
        Value::Number(number) => Numeric::parse(&number.to_string()),
        _ => None,
    };
    let Some(limit) = limit else {
        return Err(ValidationError::schema(format!("{} needs a number", rule.as_str())));
    };
    Ok(Box::new(Exact { rule, limit }))
}

struct Exact {
    rule: Rule,
    limit: Numeric,
}

impl<'i> Keyword<'i> for Exact {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            Ok(())
        } else {
            Err(ValidationError::custom(self.rule.sentence(instance, &self.limit)))
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        let Value::Number(number) = instance else { return true };
        // What is larger than we take keeps no rule; it is refused, not guessed at.
        Numeric::parse(&number.to_string()).is_some_and(|value| self.rule.holds(&value, &self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_judged_on_their_digits() {
        for (rule, limit, good, bad) in [
            (Rule::Minimum, "0.1", "0.10", "0.09999999999999999999999"),
            (Rule::Maximum, "0.1", "1e-1", "0.1000000000000000000001"),
            (Rule::ExclusiveMinimum, "0", "1e-400", "-0.0"),
            (Rule::ExclusiveMaximum, "100000000000000000000", "99999999999999999999.99", "1e20"),
            (Rule::MultipleOf, "0.01", "999999999999999999999999999999.99", "1.005"),
        ] {
            let schema: Value = serde_json::from_str(&format!(r#"{{"{}":{limit}}}"#, rule.as_str())).unwrap();
            let validator = options().build(&schema).unwrap();
            let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert!(validator.is_valid(&json(good)), "{rule:?} {good}");
            assert!(!validator.is_valid(&json(bad)), "{rule:?} {bad}");
            assert!(!validator.is_valid(&json("1e99999")), "{rule:?}");
        }
    }

    #[test]
    fn a_broken_rule_is_named_and_said_in_words() {
        let validator = options().build(&serde_json::json!({"properties": {"a": {"minimum": 0}}})).unwrap();
        let record = serde_json::json!({"a": -1});
        let error = validator.iter_errors(&record).next().unwrap();
        assert_eq!(error.kind().keyword(), "minimum");
        assert_eq!(error.instance_path().to_string(), "/a");
        assert_eq!(error.instance().to_string(), "-1");
        assert_eq!(error.to_string(), "-1 is less than the minimum of 0");
    }
}

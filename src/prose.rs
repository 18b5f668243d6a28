//! Values, changes and times in words that a person reads at a terminal.
//!
//! Promises: what came from outside cannot steer the terminal; a long text is cut where nothing is told by it.
//! Must not know: what the words are about.

use std::io::IsTerminal;

use chrono::{DateTime, Utc};
use serde_json::Value;

/// The longest text shown, in characters.
const TEXT_LIMIT: usize = 40;

/// Of what two texts begin with in common, as much is shown.
const SHARED_LIMIT: usize = 12;

/// How long ago: `3 s ago`, `4 min ago`.
pub fn age(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds();
    match seconds {
        ..1 => "just now".to_owned(),
        1..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// An error with its causes, each of them once: some errors say theirs themselves.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| cause.source()) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// A count and its noun: `1 edit`, `5,000 edits`.
pub fn count(count: u64, noun: &str) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What a measured value must be, from `{"mustBeLessThan": 50}`: `< 50`.
pub fn threshold(threshold: &Value) -> String {
    let signs = [
        ("mustBe", "="),
        ("mustNotBe", "≠"),
        ("mustBeGreaterThan", ">"),
        ("mustBeGreaterOrEqualTo", "≥"),
        ("mustBeLessThan", "<"),
        ("mustBeLessOrEqualTo", "≤"),
        ("mustBeBetween", "within"),
        ("mustNotBeBetween", "outside"),
    ];
    let said = threshold.as_object().into_iter().flatten().map(|(word, bound)| {
        let sign = signs.iter().find(|(known, _)| known == word).map_or("", |(_, sign)| sign);
        format!("{sign} {bound}")
    });
    said.collect::<Vec<_>>().join(", ")
}

/// A value: `“Grandeval”`, `12.50`, `yes`, `nothing`.
pub fn value(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Null => "nothing".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => cut(&safe(&other.to_string()), TEXT_LIMIT),
    }
}

/// A value before and after. Of two texts that begin alike, only the end of what they share is shown.
pub fn change(from: &Value, to: &Value) -> (String, String) {
    if let (Value::String(before), Value::String(after)) = (from, to) {
        let shared = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
        if shared > 2 * SHARED_LIMIT {
            let end: String = before.chars().take(shared).skip(shared - SHARED_LIMIT).collect();
            // From a word's beginning, where there is one.
            let word = end.split_once(' ').map_or(end.as_str(), |(_, words)| words.trim_start());
            let parted = |text: &str| {
                let rest: String = text.chars().skip(shared).collect();
                quoted(&format!("…{word}{rest}"))
            };
            return (parted(before), parted(after));
        }
    }
    (value(from), value(to))
}

fn quoted(text: &str) -> String {
    format!("“{}”", cut(&safe(text), TEXT_LIMIT))
}

/// The text with its control characters spelled out.
pub fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The text's first `limit` characters, the last one an ellipsis where it was longer.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit - 1).collect();
    format!("{kept}…")
}

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// For stdout: colours on a terminal that did not ask for none (`NO_COLOR`).
    pub fn stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    /// No colours.
    pub fn plain() -> Self {
        Self { on: false }
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What went well.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What deserves a look.
    pub fn warn(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// What went wrong.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// Who acts.
    pub fn actor(self, text: &str) -> String {
        self.wrap("36", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cause_that_an_error_says_itself_is_not_said_twice() {
        let refused = || std::io::Error::other("refused");
        let talkative = anyhow::Error::new(sqlx::Error::Io(refused())).context("no answer");
        let error: &(dyn std::error::Error + 'static) = talkative.as_ref();
        assert_eq!(with_causes(error), "no answer: error communicating with database: refused");
        let silent = anyhow::Error::new(refused()).context("no answer").context("no check");
        assert_eq!(with_causes(silent.as_ref()), "no check: no answer: refused");
    }

    #[test]
    fn ages_are_short() {
        let now = Utc::now();
        let ago = |seconds| age(now - TimeDelta::seconds(seconds), now);
        let ages = [-5, 3, 119, 120, 7199, 7200, 200_000].map(ago);
        insta::assert_snapshot!(ages.join(" · "), @"just now · 3 s ago · 119 s ago · 2 min ago · 119 min ago · 2 h ago · 2 days ago");
    }

    #[test]
    fn counts_are_grouped() {
        let counts = [0, 1, 999, 5000, 1_234_567].map(|n| count(n, "edit"));
        insta::assert_snapshot!(counts.join(" · "), @"0 edits · 1 edit · 999 edits · 5,000 edits · 1,234,567 edits");
    }

    #[test]
    fn a_change_shows_where_two_texts_part() {
        let shown = |from, to| {
            let (from, to) = change(&from, &to);
            format!("{from} → {to}")
        };
        assert_eq!(shown(json!("Iris"), json!("IrisHOOO")), "“Iris” → “IrisHOOO”");
        assert_eq!(
            shown(
                json!("Cedar and musk stay on the skin."),
                json!("Cedar and musk stay on the skin.  blabla...")
            ),
            "“…the skin.” → “…the skin.  blabla...”"
        );
        assert_eq!(shown(json!(false), json!(true)), "no → yes");
        assert_eq!(shown(json!(null), json!(12)), "nothing → 12");
        assert_eq!(value(&json!("é".repeat(60))), format!("“{}…”", "é".repeat(39)));
    }

    #[test]
    fn what_came_from_outside_cannot_steer_the_terminal() {
        assert_eq!(value(&json!("a\u{1b}[2Jb\nc")), "“a\\u{1b}[2Jb\\nc”");
    }
}

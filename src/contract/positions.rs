//! Where each part of a document stands in its file.
//!
//! Promises: every JSON Pointer into the document leads to a line and a column, the nearest known one where
//! the part itself is absent. Must not know: what any word of the document means.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A place in a text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// A part of a document: its shape, its texts, and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    position: Position,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    Other,
}

impl Node {
    /// Reads a whole document.
    pub(crate) fn parse(source: &str) -> Result<Self, serde_saphyr::Error> {
        let options = serde_saphyr::options! { with_snippet: false };
        let Spanned { value, referenced, .. } =
            serde_saphyr::from_str_with_options::<Spanned<Content>>(source, options)?;
        Ok(Self { position: referenced.into(), content: value })
    }

    /// The place of the part at `pointer`, or of its nearest ancestor.
    pub(crate) fn position(&self, pointer: &str) -> Position {
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            match node.child(&unescape(step)) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.position
    }

    /// The part at `pointer`.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |node, step| node.child(&unescape(step)))
    }

    /// The part's own text, when it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The keys of a mapping.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.content {
            Content::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(key, _)| key.as_str())
    }

    /// Visits every part below this one, with its pointer.
    pub(crate) fn walk<'a>(&'a self, pointer: &str, visit: &mut dyn FnMut(&str, &'a Self)) {
        visit(pointer, self);
        match &self.content {
            Content::Map(entries) => {
                for (key, child) in entries {
                    child.walk(&format!("{pointer}/{}", escape(key)), visit);
                }
            }
            Content::List(items) => {
                for (index, child) in items.iter().enumerate() {
                    child.walk(&format!("{pointer}/{index}"), visit);
                }
            }
            Content::Text(_) | Content::Other => {}
        }
    }

    fn child(&self, step: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(key, _)| key == step).map(|(_, child)| child),
            Content::List(items) => items.get(step.parse::<usize>().ok()?),
            Content::Text(_) | Content::Other => None,
        }
    }
}

/// Spells a key as a step of a JSON Pointer.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Content>()? {
            // A reader looks for the key: that is where a mapping's entry stands.
            entries.push((key.value, Node { position: key.referenced.into(), content: value }));
        }
        Ok(Content::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Content>>()? {
            items.push(Node { position: item.referenced.into(), content: item.value });
        }
        Ok(Content::List(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
        Ok(Content::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
        Ok(Content::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
        Ok(Content::Other)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Content, E> {
        Ok(Content::Other)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Content, E> {
        Ok(Content::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
        Ok(Content::Other)
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Other)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_its_line_and_column() {
        let tree = Node::parse("name: x\nlist:\n  - a: 1\n  - b: [1, 2]\n    a/b: yes\n").unwrap();
        let at = |pointer: &str| {
            let position = tree.position(pointer);
            (position.line, position.column)
        };
        assert_eq!(at("/name"), (1, 1));
        assert_eq!(at("/list/1/b"), (4, 5));
        assert_eq!(at("/list/1/b/1"), (4, 12));
        assert_eq!(at("/list/1/a~1b"), (5, 5));
        assert_eq!(at("/list/0/absent/further"), at("/list/0"));
    }
}

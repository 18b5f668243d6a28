//! Binary COPY, read as it comes in.
//!
//! Promises: holds no more than the bytes of one message and of one unfinished row; an answer that ends early
//! is told from one that is complete. Must not know: what a row means.

use bytes::{Buf as _, Bytes, BytesMut};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The bytes are not those of a complete binary COPY.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent no well-formed binary COPY")]
pub(super) struct Malformed;

/// Takes the bytes of a COPY in pieces of any size, and gives its rows.
#[derive(Debug, Default)]
pub(super) struct Parser {
    pending: Bytes,
    begun: bool,
    ended: bool,
}

/// One row, whose fields are taken from left to right.
#[derive(Debug)]
pub(super) struct Tuple(Bytes);

impl Parser {
    /// Takes the next piece.
    pub(super) fn feed(&mut self, piece: Bytes) {
        if self.pending.is_empty() {
            self.pending = piece;
        } else {
            let mut joined = BytesMut::with_capacity(self.pending.len() + piece.len());
            joined.extend_from_slice(&self.pending);
            joined.extend_from_slice(&piece);
            self.pending = joined.freeze();
        }
    }

    /// The next row that is there as a whole.
    pub(super) fn tuple(&mut self) -> Result<Option<Tuple>, Malformed> {
        if !self.begun {
            match header_length(&self.pending)? {
                Some(length) => self.pending.advance(length),
                None => return Ok(None),
            }
            self.begun = true;
        }
        let Some(fields) = self.pending.first_chunk().map(|bytes| i16::from_be_bytes(*bytes)) else {
            return Ok(None);
        };
        if self.ended {
            return Err(Malformed);
        }
        if fields == -1 {
            self.ended = true;
            self.pending.advance(2);
            return if self.pending.is_empty() { Ok(None) } else { Err(Malformed) };
        }
        let mut length = 2;
        for _ in 0..fields {
            let Some(field) = self.pending.get(length..).and_then(<[u8]>::first_chunk) else {
                return Ok(None);
            };
            let size = i32::from_be_bytes(*field).max(0);
            length += 4 + usize::try_from(size).map_err(|_| Malformed)?;
        }
        if self.pending.len() < length {
            return Ok(None);
        }
        let mut tuple = self.pending.split_to(length);
        tuple.advance(2);
        Ok(Some(Tuple(tuple)))
    }

    /// Says whether all of it came.
    pub(super) fn finish(&self) -> Result<(), Malformed> {
        if self.ended && self.pending.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// How long the header is; `None` while too little of it is there to say.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let compared = bytes.len().min(SIGNATURE.len());
    if bytes[..compared] != SIGNATURE[..compared] {
        return Err(Malformed);
    }
    let fixed = SIGNATURE.len() + 8;
    let Some(extension) = bytes.get(SIGNATURE.len() + 4..).and_then(<[u8]>::first_chunk) else {
        return Ok(None);
    };
    let extension = usize::try_from(i32::from_be_bytes(*extension)).map_err(|_| Malformed)?;
    Ok((bytes.len() >= fixed + extension).then_some(fixed + extension))
}

impl Tuple {
    /// The next field, eight bytes.
    pub(super) fn int8(&mut self) -> Result<i64, Malformed> {
        let field = self.field()?;
        Ok(i64::from_be_bytes(field.as_ref().try_into().map_err(|_| Malformed)?))
    }

    /// The next field, four bytes.
    pub(super) fn int4(&mut self) -> Result<i32, Malformed> {
        let field = self.field()?;
        Ok(i32::from_be_bytes(field.as_ref().try_into().map_err(|_| Malformed)?))
    }

    /// The next field, a text.
    pub(super) fn text(&mut self) -> Result<Box<str>, Malformed> {
        let field = self.field()?;
        std::str::from_utf8(&field).map(Into::into).map_err(|_| Malformed)
    }

    /// A null is none of what is asked for here.
    fn field(&mut self) -> Result<Bytes, Malformed> {
        let size = self.0.try_get_i32().map_err(|_| Malformed)?;
        let size = usize::try_from(size).map_err(|_| Malformed)?;
        if self.0.len() < size { Err(Malformed) } else { Ok(self.0.split_to(size)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(rows: &[(i64, &str)]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 3, 9, 9, 9]);
        for (number, text) in rows {
            bytes.extend([0, 2, 0, 0, 0, 8]);
            bytes.extend(number.to_be_bytes());
            bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend([0xff, 0xff]);
        bytes
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<(i64, String)>, Malformed> {
        let (mut parser, mut rows) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.feed(Bytes::copy_from_slice(piece));
            while let Some(mut tuple) = parser.tuple()? {
                rows.push((tuple.int8()?, tuple.text()?.into()));
            }
        }
        parser.finish().map(|()| rows)
    }

    #[test]
    fn rows_do_not_depend_on_where_the_bytes_were_cut() {
        let bytes = copy(&[(-1, "é"), (i64::MAX, ""), (7, "Iris")]);
        let expected = [(-1, "é".to_owned()), (i64::MAX, String::new()), (7, "Iris".to_owned())];
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(read(&pieces).unwrap(), expected, "cut at {first} and {second}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single).unwrap(), expected);
    }

    #[test]
    fn an_answer_that_ends_early_is_no_answer() {
        let bytes = copy(&[(1, "a"), (2, "b")]);
        for end in 0..bytes.len() {
            assert_eq!(read(&[&bytes[..end]]), Err(Malformed), "cut at {end}");
        }
        assert_eq!(read(&[&bytes, b"x"]), Err(Malformed));
        assert_eq!(read(&[b"COPYPG"]), Err(Malformed));
        assert_eq!(read(&[&copy(&[])]), Ok(Vec::new()));
    }
}

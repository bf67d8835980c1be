//! A JSON reader that accepts what Go's does (specification, section 3.2), where a strict one would refuse.
//!
//! Lone surrogates and bytes that are not UTF-8 become U+FFFD, members may repeat, and numbers that nobody asks for may
//! have any size. What the caller skips is checked, but not kept.

use alloc::{string::String, vec::Vec};

use serde_json::{Map, Number, Value};

/// Reads `bytes` as exactly one document: `read` must read one value.
pub(crate) fn parse<'a, T, E: From<JsonError>>(
    bytes: &'a [u8],
    max_depth: usize,
    read: impl FnOnce(&mut JsonReader<'a>) -> Result<T, E>,
) -> Result<T, E> {
    let mut reader = JsonReader { rest: bytes, len: bytes.len(), depth: 0, max_depth };
    let value = read(&mut reader)?;
    reader.skip_white_space();
    if reader.rest.is_empty() { Ok(value) } else { Err(reader.syntax_error().into()) }
}

/// Whether `name` means the member `known`, an ASCII name, under Unicode's simple case folding.
pub(crate) fn is_same_name(name: &str, known: &str) -> bool {
    // The two characters beyond ASCII that fold to a letter of ASCII.
    let fold = |character: char| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => character.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(known.chars().map(fold))
}

/// What keeps a document from being read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum JsonError {
    /// The byte at this offset cannot stand there, or the document ends there.
    Syntax { offset: usize },
    /// More objects and arrays inside each other than allowed.
    TooDeep { max: usize },
    /// The number that ends at this offset is larger than a 64-bit float can be.
    NumberTooLarge { offset: usize },
}

/// The type of a value, as its first byte tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum JsonType {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A place in a document, between two tokens.
#[derive(Debug)]
pub(crate) struct JsonReader<'a> {
    rest: &'a [u8],
    /// The length of the whole document.
    len: usize,
    /// How many objects and arrays are open.
    depth: usize,
    max_depth: usize,
}

impl<'a> JsonReader<'a> {
    /// The type of the next value.
    pub(crate) fn peek(&mut self) -> Result<JsonType, JsonError> {
        self.skip_white_space();
        Ok(match self.rest.first() {
            Some(b'n') => JsonType::Null,
            Some(b't' | b'f') => JsonType::Bool,
            Some(b'-' | b'0'..=b'9') => JsonType::Number,
            Some(b'"') => JsonType::String,
            Some(b'[') => JsonType::Array,
            Some(b'{') => JsonType::Object,
            _ => return Err(self.syntax_error()),
        })
    }

    /// Reads a value of any type.
    pub(crate) fn value(&mut self) -> Result<Value, JsonError> {
        Ok(match self.peek()? {
            JsonType::Null => self.literal(b"null", Value::Null)?,
            JsonType::Bool => self.bool()?.into(),
            JsonType::Number => {
                let number = to_number(self.number()?);
                number.ok_or_else(|| JsonError::NumberTooLarge { offset: self.offset() })?.into()
            }
            JsonType::String => self.string()?.into(),
            JsonType::Array => {
                let mut items = Vec::new();
                self.array(|reader| {
                    items.push(reader.value()?);
                    Ok(())
                })?;
                items.into()
            }
            JsonType::Object => {
                let mut members = Map::new();
                self.object(|reader, name| {
                    members.insert(name, reader.value()?);
                    Ok::<_, JsonError>(())
                })?;
                members.into()
            }
        })
    }

    /// Passes over a value of any type.
    pub(crate) fn skip(&mut self) -> Result<(), JsonError> {
        match self.peek()? {
            JsonType::Null => self.literal(b"null", ()),
            JsonType::Bool => self.bool().map(drop),
            JsonType::Number => self.number().map(drop),
            JsonType::String => self.string().map(drop),
            JsonType::Array => self.array(Self::skip),
            JsonType::Object => self.object(|reader, _| reader.skip()),
        }
    }

    /// Reads an object; `member` gets every name and must read its value.
    pub(crate) fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, String) -> Result<(), E>,
    ) -> Result<(), E> {
        self.nested(b'{', b'}', |reader| {
            let name = reader.string()?;
            reader.consume(b':')?;
            member(reader, name)
        })
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<String, JsonError> {
        self.consume(b'"')?;
        let mut text = String::new();
        loop {
            let special = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            let (plain, rest) = self.rest.split_at(special.unwrap_or(self.rest.len()));
            push_lossy(&mut text, plain);
            self.rest = rest;
            match rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Ok(text);
                }
                [b'\\', rest @ ..] => {
                    self.rest = rest;
                    text.push(self.escape()?);
                }
                _ => return Err(self.syntax_error()),
            }
        }
    }

    /// Reads a number of any size, as its text.
    pub(crate) fn number(&mut self) -> Result<&'a str, JsonError> {
        self.skip_white_space();
        let start = self.rest;
        self.take(b"-");
        if !self.take(b"0") {
            self.digits()?;
        }
        if self.take(b".") {
            self.digits()?;
        }
        if self.take(b"e") || self.take(b"E") {
            let _sign = self.take(b"+") || self.take(b"-");
            self.digits()?;
        }
        let text = &start[..start.len() - self.rest.len()];
        core::str::from_utf8(text).map_err(|_| self.syntax_error())
    }

    fn array(&mut self, item: impl FnMut(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.nested(b'[', b']', item)
    }

    fn nested<E: From<JsonError>>(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.consume(open)?;
        if self.depth == self.max_depth {
            return Err(JsonError::TooDeep { max: self.max_depth }.into());
        }
        self.depth += 1;
        self.skip_white_space();
        if !self.take(&[close]) {
            item(self)?;
            self.skip_white_space();
            while self.take(b",") {
                item(self)?;
                self.skip_white_space();
            }
            self.consume(close)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn bool(&mut self) -> Result<bool, JsonError> {
        if self.take(b"true") { Ok(true) } else { self.literal(b"false", false) }
    }

    fn literal<T>(&mut self, text: &[u8], value: T) -> Result<T, JsonError> {
        if self.take(text) { Ok(value) } else { Err(self.syntax_error()) }
    }

    /// At least one digit, and all that follow.
    fn digits(&mut self) -> Result<(), JsonError> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.syntax_error());
        }
        self.rest = &self.rest[count..];
        Ok(())
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let Some((&kind, rest)) = self.rest.split_first() else {
            return Err(self.syntax_error());
        };
        let character = match kind {
            b'"' | b'\\' | b'/' => kind.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.rest = rest;
                return self.utf16_escape();
            }
            _ => return Err(self.syntax_error()),
        };
        self.rest = rest;
        Ok(character)
    }

    /// What follows `\u`, with the second half of a surrogate pair.
    fn utf16_escape(&mut self) -> Result<char, JsonError> {
        let unit = self.utf16_unit()?;
        let behind_unit = self.rest;
        if matches!(unit, 0xd800..0xdc00) && self.take(b"\\u") {
            let pair = [unit, self.utf16_unit()?];
            if let Some(Ok(character)) = char::decode_utf16(pair).next() {
                return Ok(character);
            }
            self.rest = behind_unit;
        }
        Ok(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Four hexadecimal digits.
    fn utf16_unit(&mut self) -> Result<u16, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.rest.first().and_then(|&byte| char::from(byte).to_digit(16));
            unit = unit << 4 | digit.ok_or_else(|| self.syntax_error())? as u16;
            self.rest = &self.rest[1..];
        }
        Ok(unit)
    }

    fn consume(&mut self, byte: u8) -> Result<(), JsonError> {
        self.skip_white_space();
        self.literal(&[byte], ())
    }

    /// Whether `text` follows; if so, it is passed.
    fn take(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_white_space(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    const fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    const fn syntax_error(&self) -> JsonError {
        JsonError::Syntax { offset: self.offset() }
    }
}

/// Integers keep their value where 64 bits can hold it; the rest becomes a float, if it is finite.
fn to_number(text: &str) -> Option<Number> {
    if text != "-0" {
        if let Ok(integer) = text.parse::<u64>() {
            return Some(integer.into());
        }
        if let Ok(integer) = text.parse::<i64>() {
            return Some(integer.into());
        }
    }
    Number::from_f64(text.parse().ok()?)
}

/// Every byte that is not part of UTF-8 counts as one character, unlike in `String::from_utf8_lossy`.
fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

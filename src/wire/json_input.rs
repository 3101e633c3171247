//! The tokens of JSON, for the fast decoder. The scanning functions return `None` for anything unusual.

use serde_json::Deserializer;

use crate::wire::tables::ByteRange;

/// A key of an object, or its end.
pub(super) trait Key: Copy + PartialEq {
    const END: Self;

    /// Removes this key, with its quotes and colon, from the start of `rest`.
    fn strip(self, rest: &[u8]) -> Option<&[u8]>;

    fn parse(name: &str) -> Self;

    fn index(self) -> usize;
}

/// The keys of the object that is being scanned.
pub(super) struct Object<K> {
    /// What comes before the next key.
    separator: u8,
    /// One bit per key that was scanned.
    seen: u32,
    /// The last key, or `END` before the first key.
    last: K,
}

impl<K: Key> Object<K> {
    pub(super) fn new() -> Self {
        Self { separator: b'{', seen: 0, last: K::END }
    }
}

/// The JSON text.
pub(super) struct Input<'b> {
    pub(super) body: &'b str,
    /// The bytes of `body` that were not scanned yet.
    rest: &'b [u8],
}

impl<'b> Input<'b> {
    pub(super) fn new(body: &'b str) -> Self {
        Self { body, rest: body.as_bytes() }
    }

    /// Skips white space and returns the next byte without consuming it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    /// Skips white space and this byte, if it is next. Returns whether it was.
    #[inline]
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        // White space is unusual, so it is skipped only if the byte is not there.
        let found = self.rest.first() == Some(&byte) || self.peek() == Some(byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    pub(super) fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip(byte).then_some(())
    }

    /// Skips this text, if it is next.
    pub(super) fn skip_text(&mut self, text: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub(super) fn literal(&mut self, text: &[u8]) -> bool {
        self.peek() == text.first().copied() && self.skip_text(text)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let value = self.literal(b"true");
        (value || self.literal(b"false") || self.literal(b"null")).then_some(value)
    }

    /// Returns the next key, or the end of the object.
    #[inline]
    pub(super) fn key<K: Key>(&mut self, object: &mut Object<K>, order: &mut [K]) -> Option<K> {
        let predicted = order[object.last.index()];
        let rest = match self.rest {
            [byte, rest @ ..] if *byte == object.separator => predicted.strip(rest),
            [b'}', rest @ ..] if predicted == K::END && object.separator == b',' => Some(rest),
            _ => None,
        };
        let key = match rest {
            Some(rest) => {
                self.rest = rest;
                predicted
            }
            None => self.unpredicted_key(object, order)?,
        };
        let known_keys = (1 << K::END.index()) - 1;
        let bit = (1 << key.index()) & known_keys;
        let is_duplicate = object.seen & bit != 0;
        (object.separator, object.last) = (b',', key);
        object.seen |= bit;
        (!is_duplicate).then_some(key)
    }

    #[cold]
    fn unpredicted_key<K: Key>(&mut self, object: &mut Object<K>, order: &mut [K]) -> Option<K> {
        let key = if object.separator == b',' && self.skip(b'}') {
            K::END
        } else {
            self.expect(object.separator)?;
            self.expect(b'"')?;
            let (start, len) = (self.body.len() - self.rest.len(), end_of_run(self.rest));
            self.rest = &self.rest[len..];
            // An escape sequence or a control character in a key is unusual.
            self.skip_text(b"\"").then_some(())?;
            self.expect(b':')?;
            K::parse(&self.body[start..start + len])
        };
        if key.index() <= K::END.index() {
            order[object.last.index()] = key;
        }
        Some(key)
    }

    /// Scans a string, null (as "") or an unsigned integer of at most 19 digits, and returns its text.
    pub(super) fn text(&mut self, side: &mut String) -> Option<ByteRange> {
        if self.skip(b'"') {
            return self.string(side);
        }
        if self.literal(b"null") {
            return Some(ByteRange::default());
        }
        let start = self.body.len() - self.rest.len();
        let len = self.digits().filter(|digits| digits.len() <= 19)?.len();
        Some(ByteRange::new(start, len))
    }

    /// Scans a `u32`. Null is 0.
    pub(super) fn small(&mut self) -> Option<u32> {
        // The usual case is one digit.
        if let [digit @ b'0'..=b'9', b',' | b'}', ..] = *self.rest {
            self.rest = &self.rest[1..];
            return Some(u32::from(digit - b'0'));
        }
        if self.literal(b"null") {
            return Some(0);
        }
        let digits = self.digits().filter(|digits| digits.len() <= 10)?;
        let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        u32::try_from(number).ok()
    }

    /// Scans an unsigned integer. Leaves a fraction or exponent unscanned; the caller then fails, because it
    /// expects a comma or brace.
    fn digits(&mut self) -> Option<&'b [u8]> {
        let len = self.rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        // JSON forbids leading zeros.
        let valid = digits == b"0" || digits.first().is_some_and(|&digit| digit != b'0');
        valid.then_some(digits)
    }

    /// Scans the rest of a string after its first quote.
    #[inline]
    fn string(&mut self, side: &mut String) -> Option<ByteRange> {
        let (run, len) = (self.rest, end_of_run(self.rest));
        match run[len..] {
            [b'"', ref rest @ ..] => {
                self.rest = rest;
                Some(ByteRange::new(self.body.len() - run.len(), len))
            }
            [b'\\', ..] => self.escaped_string(side),
            _ => None,
        }
    }

    /// Unescapes the rest of a string into the side buffer.
    #[cold]
    fn escaped_string(&mut self, side: &mut String) -> Option<ByteRange> {
        if side.is_empty() {
            // A page with one escape sequence usually has more.
            side.reserve(self.body.len() / 16);
        }
        let (string, start) = (self.body.len() - self.rest.len(), side.len());
        let mut at = string;
        loop {
            let end = at + end_of_run(&self.body.as_bytes()[at..]);
            side.push_str(&self.body[at..end]);
            self.rest = &self.body.as_bytes()[end..];
            let c = match *self.rest {
                [b'"', ref rest @ ..] => {
                    self.rest = rest;
                    break;
                }
                [b'\\', c @ (b'"' | b'\\' | b'/'), ..] => char::from(c),
                [b'\\', b'n', ..] => '\n',
                [b'\\', b'r', ..] => '\r',
                [b'\\', b't', ..] => '\t',
                _ => {
                    // Other escape sequences are rare: `serde_json` decodes the whole string.
                    let quoted = &self.body.as_bytes()[string - 1..];
                    let mut values = Deserializer::from_slice(quoted).into_iter::<String>();
                    side.truncate(start);
                    side.push_str(&values.next()?.ok()?);
                    self.rest = &quoted[values.byte_offset()..];
                    break;
                }
            };
            side.push(c);
            at = end + 2;
        }
        Some(ByteRange::new(self.body.len() + start, side.len() - start))
    }
}

/// Returns the number of bytes before the first quote, backslash or control character. Reads eight bytes at a
/// time; wider vectors do not help with short strings.
fn end_of_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    let mut len = 0;
    while let Some(chunk) = bytes[len..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // Sets the high bit of each byte that is zero. Bytes after the first such byte may be wrong, but only
        // the first one counts.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = control
            | zeros(word ^ (ONES * u64::from(b'"')))
            | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return len + (found.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    let is_end = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
    bytes[len..].iter().position(is_end).map_or(bytes.len(), |end| len + end)
}

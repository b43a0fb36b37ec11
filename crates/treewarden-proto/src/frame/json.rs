//! A strict reader of JSON text that decodes nothing: it finds where values stand.
//!
//! A frame is looked at for a few fields near its top, and everything else only has to be JSON. A parser that makes
//! values, or that asks a visitor at each step, costs several times as much. It accepts what `serde_json` accepts where
//! a value is ignored, byte for byte, so that a raw slice that it cut out can be decoded by that later.

use std::borrow::Cow;

use memchr::memchr2;

use super::repair::json_text;

/// Where a JSON value stands in a text; an empty span is an absent one.
///
/// Frames are moved several times on their way to a consumer, so that their size counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The JSON that stands there; nothing if the span is absent.
    #[inline]
    pub(super) fn of(self, text: &[u8]) -> &[u8] {
        // An index would panic for a span of another text.
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The text of the string that stands there; `None` if it is absent or no string.
    pub(super) fn text(self, text: &[u8]) -> Option<Cow<'_, str>> {
        json_text(std::str::from_utf8(self.of(text)).ok()?)
    }

    /// Whether the string of this text stands there.
    #[inline]
    pub(super) fn is(self, wanted: &str, text: &[u8]) -> bool {
        match self.of(text) {
            // Nearly always; only a text with an escape has to be decoded to be compared.
            [b'"', plain @ .., b'"'] if plain == wanted.as_bytes() => true,
            json => json.contains(&b'\\') && self.text(text).as_deref() == Some(wanted),
        }
    }
}

/// The key of a field.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// Its JSON, quotes and all.
    json: Span,
    escapes: bool,
}

impl Key {
    /// The key itself; empty if it is no Unicode.
    #[inline]
    pub(super) fn name(self, text: &[u8]) -> Cow<'_, [u8]> {
        if self.escapes {
            return Cow::Owned(self.json.text(text).unwrap_or_default().into_owned().into_bytes());
        }
        // Without the quotes, which each key has.
        Cow::Borrowed(Span { start: self.json.start + 1, end: self.json.end - 1 }.of(text))
    }
}

/// A place in a JSON text, which is valid UTF-8.
///
/// Each method reads one thing and goes behind it; `None` means that something else stands there, and that the text is
/// not to be read on.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// Somewhere in the text is a control character, which no string may hold.
    controls: bool,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a text; `None` if it is longer than 4 GiB.
    pub(super) fn new(text: &'a [u8]) -> Option<Self> {
        // Spans have 32 bits: places in a longer text would wrap, and name other bytes.
        u32::try_from(text.len()).ok()?;
        // The highest bit of this is set for a byte under 32, and needs no branch.
        let controls = text.iter().fold(0, |found, byte| found | (byte.wrapping_sub(b' ') & !byte)) >= 0x80;
        Some(Self { text, at: 0, controls })
    }

    /// The next byte that is no white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// What stands between `from` and here.
    #[inline]
    fn since(&self, from: usize) -> Span {
        // Both places fit: `new` has refused a text of 4 GiB or more.
        Span { start: from as u32, end: self.at as u32 }
    }

    /// Whether an object stands there.
    pub(super) fn is_at_object(&mut self) -> bool {
        self.peek() == Some(b'{')
    }

    /// Reads the end of the text.
    pub(super) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Reads an object: `field` gets each key and reads the value.
    #[inline]
    pub(super) fn object(&mut self, mut field: impl FnMut(&mut Self, Key) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.key()?;
            field(self, key)?;
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    #[inline]
    fn key(&mut self) -> Option<Key> {
        if self.peek()? != b'"' {
            return None;
        }
        let from = self.at;
        let escapes = self.string()?;
        let json = self.since(from);
        self.eat(b':')?;
        Some(Key { json, escapes })
    }

    /// Reads any value, and returns where it stands.
    #[inline]
    pub(super) fn value(&mut self) -> Option<Span> {
        let first = self.peek()?;
        let from = self.at;
        if first == b'"' {
            self.string()?;
        } else {
            self.skip()?;
        }
        Some(self.since(from))
    }

    fn skip(&mut self) -> Option<()> {
        let mut within = Enclosing::default();
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    let is_object = open == b'{';
                    if self.peek()? != closing(is_object) {
                        // A stack of bits and no recursion, by which a deeply nested line would overflow the
                        // stack of the thread.
                        within.push(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => return None,
            }
            // Behind a value: the ends of what it stands in, up to the next value.
            loop {
                let Some(is_object) = within.top() else { return Some(()) };
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    byte if byte == closing(is_object) => {
                        self.at += 1;
                        within.pop();
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Reads a string, whose quote stands there; tells whether it has escapes.
    #[inline]
    fn string(&mut self) -> Option<bool> {
        let from = self.at + 1;
        let mut at = quote_or_escape(self.text, from)?;
        let escapes = self.text[at] != b'"';
        while self.text[at] != b'"' {
            at += match self.text.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                // Half of a surrogate pair passes: what it is is asked when the text is decoded, and then
                // mended.
                b'u' if self.text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                _ => return None,
            };
            at = quote_or_escape(self.text, at)?;
        }
        self.at = at + 1;
        // Asked once for the whole text, and only where the answer was yes for each string.
        let refused = self.controls && self.text[from..at].iter().any(|byte| *byte < b' ');
        (!refused).then_some(escapes)
    }

    fn number(&mut self) -> Option<()> {
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        // A digit behind a leading zero is no part of the number; what follows a value refuses it.
        match self.text.get(self.at)? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }
}

/// The next quote or backslash, from `at` on.
#[inline]
fn quote_or_escape(text: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    /// The lowest bit that is set is that of a byte that is zero: a borrow goes only to higher ones.
    fn zero(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & (ONES << 7)
    }
    // Most strings are no longer than an id; the call of what is made for long ones would cost more.
    for _ in 0..5 {
        let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) else { break };
        let word = u64::from_le_bytes(*chunk);
        let found = zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Some(at + memchr2(b'"', b'\\', text.get(at..)?)?)
}

fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// The objects and arrays that the cursor stands in: a bit for each, set for an object.
#[derive(Default)]
struct Enclosing {
    depth: usize,
    /// The innermost, up to 64.
    bits: u64,
    /// Those around it, by 64.
    outer: Vec<u64>,
}

impl Enclosing {
    fn push(&mut self, is_object: bool) {
        // The word is full: it goes to `outer` before its oldest bit would be shifted out.
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth > 0
            && self.depth.is_multiple_of(64)
            && let Some(bits) = self.outer.pop()
        {
            self.bits = bits;
        }
    }

    /// Whether the innermost is an object; `None` outside of all.
    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::value::RawValue;

    use super::*;

    fn value(text: &str) -> Option<&[u8]> {
        let mut cursor = Cursor::new(text.as_bytes())?;
        let value = cursor.value()?;
        cursor.end()?;
        Some(value.of(text.as_bytes()))
    }

    /// The fields of an object, the last of each key.
    fn fields(text: &str) -> Option<BTreeMap<String, &str>> {
        let mut fields = BTreeMap::new();
        let bytes = text.as_bytes();
        let mut cursor = Cursor::new(bytes)?;
        cursor.object(|cursor, key| {
            let value = std::str::from_utf8(cursor.value()?.of(bytes)).ok()?;
            let name = String::from_utf8(key.name(bytes).into_owned()).ok()?;
            // Unlike a key, a map of strings cannot hold what is no Unicode.
            if serde_json::from_slice::<String>(key.json.of(bytes)).is_ok() {
                fields.insert(name, value);
            }
            Some(())
        })?;
        cursor.end()?;
        Some(fields)
    }

    fn agrees(text: &str) {
        let theirs = serde_json::from_str::<IgnoredAny>(text).is_ok();
        assert_eq!(value(text).is_some(), theirs, "{text:?}");
        if let Some(ours) = fields(text)
            && let Ok(theirs) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text)
        {
            let theirs: BTreeMap<String, &str> =
                theirs.into_iter().map(|(key, raw)| (key, raw.get())).collect();
            assert_eq!(ours, theirs, "{text:?}");
        }
    }

    #[test]
    fn every_short_text_of_these_is_read_as_serde_json_reads_it() {
        const PIECES: [&str; 17] = [
            "{", "}", "[", "]", ",", ":", "\"", "\\", "u00aF", "0", "-", "1", ".", "e+", "null", " ", "\u{1}",
        ];
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            texts = texts.iter().flat_map(|text| PIECES.map(|piece| format!("{text}{piece}"))).collect();
            texts.iter().for_each(|text| agrees(text));
        }
    }

    #[test]
    fn depth_has_no_bound() {
        for depth in [1, 63, 64, 65, 128, 129, 200, 10_000] {
            let mixed = format!("{}1{}", r#"[{"a":"#.repeat(depth), "}]".repeat(depth));
            assert_eq!(value(&mixed), Some(mixed.as_bytes()));
            assert_eq!(value(&mixed[..mixed.len() - 1]), None);
            let crossed = format!("{}1{}", r#"[{"a":"#.repeat(depth), "]}".repeat(depth));
            assert_eq!(value(&crossed), None);
        }
    }

    fn json() -> impl Strategy<Value = String> {
        let space = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\t\r\n ")];
        let text =
            "(\\PC|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,40}".prop_map(|text| format!("\"{text}\""));
        let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?";
        let leaf = prop_oneof![text.clone(), number, Just("null".to_owned()), Just("true".to_owned())];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            let space = space.clone();
            let item =
                (space.clone(), inner.clone(), space.clone()).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
            let field = (space.clone(), text.clone(), space, item.clone())
                .prop_map(|(a, k, b, v)| format!("{a}{k}{b}:{v}"));
            prop_oneof![
                prop::collection::vec(item, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(field, 0..6).prop_map(|fields| format!("{{{}}}", fields.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_is_read_as_serde_json_reads_it(text in json()) {
            agrees(&text);
        }

        #[test]
        fn and_so_is_what_is_nearly_json(text in json(), at in any::<prop::sample::Index>(), with in "[{}\\[\\]\",:\\\\0-9eu\\x00-\\x20.-]?") {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            chars.splice(at..=at, with.chars());
            agrees(&chars.into_iter().collect::<String>());
        }
    }
}

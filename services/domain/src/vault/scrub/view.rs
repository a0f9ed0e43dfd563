//! Decoded views of a text, with the source of each byte.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use super::End;

/// A text, or a decoded version of it.
pub(super) struct View<'t> {
    bytes: Cow<'t, [u8]>,
    /// Source index of each byte, followed by the end of the last one; `None` if the view is the
    /// text itself.
    sources: Option<Vec<u32>>,
    /// The bytes in lower case, computed on demand.
    folded: OnceCell<Vec<u8>>,
    end: End,
}

/// The text, and its decoded versions if it has escapes: as read by a parser of URLs, of forms (if
/// `spaces` are searched for), of JSON, of JSON in JSON and of URLs in JSON; and by a parser of
/// HTML, of URLs in HTML, and of HTML in JSON.
pub(super) fn views(text: &[u8], end: End, spaces: bool) -> Vec<View<'_>> {
    let raw = View {
        bytes: Cow::Borrowed(text),
        sources: None,
        folded: OnceCell::new(),
        end,
    };
    let mut all = vec![raw];
    let json = all[0].unescaped();
    let of_urls = url_views(&all[0], spaces);
    all.extend(of_urls);
    if let Some(html) = all[0].without_entities() {
        all.extend(url_views(&html, spaces));
        all.push(html);
    }
    if let Some(json) = json {
        all.extend(json.without_entities());
        all.extend(url_views(&json, spaces));
        let nested = json.unescaped();
        all.push(json);
        all.extend(nested);
    }
    all
}

fn url_views<'t>(view: &View<'_>, spaces: bool) -> Vec<View<'t>> {
    let escaped = memchr::memchr(b'%', &view.bytes).is_some();
    let plus = spaces && memchr::memchr(b'+', &view.bytes).is_some();
    let mut views = Vec::new();
    if escaped {
        views.push(view.decoded(Kind::Url));
    }
    if plus {
        views.push(view.decoded(Kind::Form));
    }
    views
}

impl View<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes in lower case; all indices stay the same.
    pub(super) fn folded(&self) -> &[u8] {
        self.folded.get_or_init(|| self.bytes.to_ascii_lowercase())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn end(&self) -> End {
        self.end
    }

    /// The range of the text that a range of this view came from.
    pub(super) fn source(&self, start: usize, end: usize) -> (usize, usize) {
        match &self.sources {
            None => (start, end),
            Some(sources) => (sources[start] as usize, sources[end] as usize),
        }
    }

    fn at(&self, place: usize) -> u32 {
        match &self.sources {
            None => u32::try_from(place).unwrap_or(u32::MAX),
            Some(sources) => sources[place],
        }
    }

    /// Percent-decoded; in a form, a plus sign becomes a space.
    fn decoded<'n>(&self, kind: Kind) -> View<'n> {
        let space = match kind {
            Kind::Url => b'%',
            Kind::Form => b'+',
        };
        let bytes = &*self.bytes;
        let mut made = Made::of(self);
        let mut at = 0;
        while let Some(run) = memchr::memchr2(b'%', space, &bytes[at..]) {
            made.copy(self, at..at + run);
            at += run;
            match &bytes[at..] {
                [b'+', ..] => {
                    made.push(b" ", self.at(at));
                    at += 1;
                }
                [_, high, low, ..] if let (Some(high), Some(low)) = (digit(*high), digit(*low)) => {
                    made.push(&[high << 4 | low], self.at(at));
                    at += 3;
                }
                [_, behind @ ..]
                    if self.end == End::Cut
                        && behind.len() < 2
                        && behind.iter().all(u8::is_ascii_hexdigit) =>
                {
                    return made.done(self.at(bytes.len()));
                }
                _ => {
                    made.push(b"%", self.at(at));
                    at += 1;
                }
            }
        }
        made.copy(self, at..bytes.len());
        made.done(self.at(bytes.len()))
    }

    /// With JSON string escapes resolved; `None` if there are none.
    fn unescaped<'n>(&self) -> Option<View<'n>> {
        self.resolved(b'\\', escape)
    }

    /// With the character references of HTML and XML resolved; `None` if there are none.
    fn without_entities<'n>(&self) -> Option<View<'n>> {
        self.resolved(b'&', entity)
    }

    /// With each escape, which `read` parses after a `mark`, replaced by its character; `None` if
    /// there is no mark. An invalid escape is kept.
    fn resolved<'n>(&self, mark: u8, read: fn(&[u8]) -> Escape<'_>) -> Option<View<'n>> {
        memchr::memchr(mark, &self.bytes)?;
        let bytes = &*self.bytes;
        let mut made = Made::of(self);
        let mut at = 0;
        while let Some(run) = memchr::memchr(mark, &bytes[at..]) {
            made.copy(self, at..at + run);
            at += run;
            match read(&bytes[at + 1..]) {
                Escape::Character(character, behind) => {
                    made.push(character.encode_utf8(&mut [0; 4]).as_bytes(), self.at(at));
                    at = bytes.len() - behind.len();
                }
                Escape::Unfinished if self.end == End::Cut => {
                    return Some(made.done(self.at(bytes.len())));
                }
                Escape::Unfinished | Escape::None => {
                    made.push(&[mark], self.at(at));
                    at += 1;
                }
            }
        }
        made.copy(self, at..bytes.len());
        Some(made.done(self.at(bytes.len())))
    }
}

/// Limit of digits in a character reference: more than any character needs, since there may be
/// leading zeros.
const MAX_REFERENCE_DIGITS: usize = 12;

/// Parses what follows an ampersand: a number, or one of the five names of XML. The semicolon after
/// a number may be missing.
fn entity(behind: &[u8]) -> Escape<'_> {
    let numeric = match behind {
        [] => return Escape::Unfinished,
        [b'#'] | [b'#', b'x' | b'X'] => return Escape::Unfinished,
        [b'#', b'x' | b'X', rest @ ..] => Some((rest, 16)),
        [b'#', rest @ ..] => Some((rest, 10)),
        _ => None,
    };
    let Some((rest, radix)) = numeric else {
        return named(behind);
    };
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let digits = rest
        .iter()
        .take(MAX_REFERENCE_DIGITS)
        .take_while(is_digit)
        .count();
    if digits == rest.len() {
        return Escape::Unfinished;
    }
    let text = std::str::from_utf8(&rest[..digits]).unwrap_or_default();
    let number = u32::from_str_radix(text, radix).ok();
    let Some(character) = number.and_then(char::from_u32) else {
        return Escape::None;
    };
    let rest = &rest[digits..];
    Escape::Character(character, rest.strip_prefix(b";").unwrap_or(rest))
}

fn named(behind: &[u8]) -> Escape<'_> {
    for (name, character) in [
        (&b"amp;"[..], '&'),
        (b"lt;", '<'),
        (b"gt;", '>'),
        (b"quot;", '"'),
        (b"apos;", '\''),
    ] {
        if let Some(rest) = behind.strip_prefix(name) {
            return Escape::Character(character, rest);
        }
        if name.starts_with(behind) {
            return Escape::Unfinished;
        }
    }
    Escape::None
}

/// The kind of escapes to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Url,
    Form,
}

/// A view under construction.
struct Made {
    bytes: Vec<u8>,
    sources: Vec<u32>,
    end: End,
}

impl Made {
    fn of(view: &View<'_>) -> Self {
        Self {
            bytes: Vec::with_capacity(view.len()),
            sources: Vec::with_capacity(view.len() + 1),
            end: view.end,
        }
    }

    /// Copies a range without escapes.
    fn copy(&mut self, view: &View<'_>, run: Range<usize>) {
        self.bytes.extend_from_slice(&view.bytes[run.clone()]);
        match &view.sources {
            None => self.sources.extend(run.map(|place| view.at(place))),
            Some(sources) => self.sources.extend_from_slice(&sources[run]),
        }
    }

    fn push(&mut self, bytes: &[u8], source: u32) {
        self.bytes.extend_from_slice(bytes);
        self.sources
            .extend(std::iter::repeat_n(source, bytes.len()));
    }

    fn done<'n>(mut self, end: u32) -> View<'n> {
        self.sources.push(end);
        View {
            bytes: Cow::Owned(self.bytes),
            sources: Some(self.sources),
            folded: OnceCell::new(),
            end: self.end,
        }
    }
}

/// What follows a backslash or ampersand.
enum Escape<'t> {
    /// A character, and the rest of the text.
    Character(char, &'t [u8]),
    /// The text ends within the escape.
    Unfinished,
    /// Not an escape.
    None,
}

fn escape(behind: &[u8]) -> Escape<'_> {
    let Some((&kind, rest)) = behind.split_first() else {
        return Escape::Unfinished;
    };
    let character = match kind {
        b'"' | b'\\' | b'/' => char::from(kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(rest),
        _ => return Escape::None,
    };
    Escape::Character(character, rest)
}

fn unicode(rest: &[u8]) -> Escape<'_> {
    let (first, rest) = match unit(rest) {
        Ok(unit) => unit,
        Err(none) => return none,
    };
    if let Some(character) = char::from_u32(first) {
        return Escape::Character(character, rest);
    }
    // The first half of a surrogate pair (RFC 8259, 7).
    let behind = match rest {
        [b'\\', b'u', behind @ ..] => behind,
        [] | [b'\\'] => return Escape::Unfinished,
        _ => return Escape::None,
    };
    match unit(behind) {
        Ok((second, rest)) => char::decode_utf16([first, second].map(|unit| unit as u16))
            .next()
            .and_then(Result::ok)
            .map_or(Escape::None, |character| Escape::Character(character, rest)),
        Err(none) => none,
    }
}

/// Parses four hexadecimal digits.
fn unit(text: &[u8]) -> Result<(u32, &[u8]), Escape<'_>> {
    let mut value = 0;
    for place in 0..4 {
        let Some(&byte) = text.get(place) else {
            return Err(Escape::Unfinished);
        };
        let digit = digit(byte).ok_or(Escape::None)?;
        value = value << 4 | u32::from(digit);
    }
    Ok((value, &text[4..]))
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

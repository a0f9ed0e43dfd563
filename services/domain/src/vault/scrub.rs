//! Takes credentials out of what comes back from a target: a target that echoes its request must not carry a secret into an event.
//!
//! Each credential is looked for as it is, in whatever case, in base 64 (both alphabets, at each of the three alignments) and in hex; and
//! all of these also behind percent-encoding, form encoding, the escapes of JSON and the entities of HTML. Of these there are endless
//! spellings (which characters are
//! escaped, in which case), so it is not the credential that is encoded but the text that is decoded: [`view`] remembers where each
//! byte came from. Every occurrence is replaced by `[vault:tok_...]`.
//!
//! Each form is searched for by itself (`memmem`, linear in the worst case) and forgotten: an Aho-Corasick automaton over all forms
//! takes longer to build than a usual answer takes to search, and megabytes where a credential has 64 KiB. This is a net, not a proof:
//! a target that encodes as it likes gets through. What keeps a credential from such a target is the list of hosts it is bound to.

mod form;
#[cfg(test)]
mod tests;
mod view;

use std::borrow::Cow;
use std::fmt;

use memchr::memmem::Finder;
use zeroize::Zeroizing;

use super::mask::split_scheme;
use crate::id::TokenId;
use form::{Case, Form, forms};
use view::{View, views};

/// Shorter secrets are only looked for as they are: their other forms are in every text.
const MIN_ENCODED_BYTES: usize = 4;
/// Shorter parts of a secret (the password of a pair) are not looked for by themselves.
const MIN_PART_BYTES: usize = 4;
/// Shorter values of cookies are settings, not secrets.
const MIN_COOKIE_BYTES: usize = 8;
/// As much of a secret must stand at the end of a text that was cut there to be taken for its beginning.
const MIN_CUT_BYTES: usize = 4;

/// Whose credential it is, and what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// That token's: `[vault:tok_...]`.
    Token(TokenId),
    /// The task brought it along: `[vault:task]`.
    Task,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => write!(f, "[vault:{token}]"),
            Self::Task => f.write_str("[vault:task]"),
        }
    }
}

/// Whether a text is all there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of it.
    Whole,
    /// More came and was not kept: the beginning of a credential may stand at the end.
    Cut,
}

/// The credentials that one attempt sends. They are wiped when it is dropped.
#[derive(Default)]
pub struct Scrubber {
    pieces: Vec<Piece>,
}

struct Piece {
    label: Label,
    bytes: Zeroizing<Vec<u8>>,
}

impl Scrubber {
    /// Without any credential.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Adds the value of a token or of a header. Of `Bearer x` it is `x` that is looked for, of `Basic ...` and of anything that reads
    /// like it the user with the password, and the password, as well.
    pub fn add(&mut self, label: &Label, value: &str) {
        let value = value.trim();
        let credential = match split_scheme(value) {
            // Where the whole stands there stands the part.
            Some((_, part)) if part.len() >= MIN_PART_BYTES => part,
            _ => value,
        };
        self.piece(label, credential.as_bytes());
        if let Some(pair) = form::basic_pair(credential) {
            self.piece(label, pair.as_bytes());
            if let Some((_, password)) = pair.split_once(':') {
                self.part(label, password, MIN_PART_BYTES);
            }
        }
    }

    /// Adds a `Cookie` header: as a whole, and the values in it that are long enough to be secrets.
    pub fn add_cookie(&mut self, label: &Label, value: &str) {
        self.add(label, value);
        for pair in value.split(';') {
            if let Some((_, secret)) = pair.split_once('=') {
                self.part(label, secret.trim(), MIN_COOKIE_BYTES);
            }
        }
    }

    fn part(&mut self, label: &Label, part: &str, least: usize) {
        if part.len() >= least {
            self.piece(label, part.as_bytes());
        }
    }

    fn piece(&mut self, label: &Label, bytes: &[u8]) {
        if !bytes.is_empty() && !self.pieces.iter().any(|piece| *piece.bytes == bytes) {
            self.pieces.push(Piece {
                label: label.clone(),
                bytes: Zeroizing::new(bytes.to_vec()),
            });
        }
    }

    /// A text without the credentials, such as an error message. It may be longer than before: a mark takes up to 38 bytes.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.bytes(text.as_bytes(), End::Whole) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(into_text(bytes)),
        }
    }

    /// Bytes without the credentials. They may be more than before.
    #[must_use]
    pub fn bytes<'t>(&self, bytes: &'t [u8], end: End) -> Cow<'t, [u8]> {
        let found = self.search(&[Text { bytes, end }]);
        match found.into_iter().next() {
            Some(spans) if !spans.is_empty() => Cow::Owned(self.replace(bytes, spans)),
            _ => Cow::Borrowed(bytes),
        }
    }

    /// Takes the credentials out of an answer: its headers, names included, and what is kept of its body.
    pub fn answer(&self, headers: &mut [(String, String)], body: &mut Vec<u8>, end: End) {
        if self.is_empty() {
            return;
        }
        let mut texts = Vec::with_capacity(2 * headers.len() + 1);
        for (name, value) in &*headers {
            texts.push(Text {
                bytes: name.as_bytes(),
                end: End::Whole,
            });
            texts.push(Text {
                bytes: value.as_bytes(),
                end: End::Whole,
            });
        }
        texts.push(Text { bytes: body, end });
        let mut found = self.search(&texts).into_iter();
        let mut next = || found.next().unwrap_or_default();
        for (name, value) in headers {
            for text in [name, value] {
                let spans = next();
                if !spans.is_empty() {
                    *text = into_text(self.replace(text.as_bytes(), spans));
                }
            }
        }
        let spans = next();
        if !spans.is_empty() {
            *body = self.replace(body, spans);
        }
    }

    /// Where credentials stand, in each text.
    fn search(&self, texts: &[Text<'_>]) -> Vec<Vec<Span>> {
        let mut found = vec![Vec::new(); texts.len()];
        if self.is_empty() {
            return found;
        }
        let spaces = self.pieces.iter().any(|piece| piece.bytes.contains(&b' '));
        let all: Vec<(usize, View<'_>)> = texts
            .iter()
            .enumerate()
            .flat_map(|(at, text)| {
                views(text.bytes, text.end, spaces)
                    .into_iter()
                    .map(move |view| (at, view))
            })
            .collect();
        let longest = all.iter().map(|(_, view)| view.len()).max().unwrap_or(0);
        let any_cut = texts.iter().any(|text| text.end == End::Cut);
        for (piece, secret) in self.pieces.iter().enumerate() {
            let few = secret.bytes.len() < MIN_ENCODED_BYTES;
            let wanted = if few { &[Form::Exact][..] } else { &Form::ALL };
            forms(&secret.bytes, wanted, |form, case| {
                if form.len() > longest && !any_cut {
                    return;
                }
                // Short ones would be found in every text.
                let folded = !few && case == Case::Any;
                let lower = Zeroizing::new(if folded {
                    form.to_ascii_lowercase()
                } else {
                    Vec::new()
                });
                let form = if folded { &lower[..] } else { form };
                let finder = Finder::new(form);
                for (at, view) in &all {
                    let bytes = if folded { view.folded() } else { view.bytes() };
                    if view.len() >= form.len() {
                        for start in finder.find_iter(bytes) {
                            let (start, end) = view.source(start, start + form.len());
                            found[*at].push(Span { start, end, piece });
                        }
                    }
                    if view.end() == End::Cut
                        && let Some(length) = cut_off(form, bytes)
                    {
                        let (start, _) = view.source(view.len() - length, view.len());
                        let end = texts[*at].bytes.len();
                        found[*at].push(Span { start, end, piece });
                    }
                }
            });
        }
        found
    }

    fn replace(&self, bytes: &[u8], mut spans: Vec<Span>) -> Vec<u8> {
        // The leftmost first, and of those the longest; what overlaps is one, and so is what follows without a gap.
        spans.sort_unstable_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        let mut clean = Vec::with_capacity(bytes.len() + 64);
        let mut kept = 0;
        let mut spans = spans.into_iter().peekable();
        while let Some(span) = spans.next() {
            let label = &self.pieces[span.piece].label;
            let mut end = span.end;
            while let Some(next) = spans.next_if(|next| {
                next.start < end || (next.start == end && self.pieces[next.piece].label == *label)
            }) {
                end = end.max(next.end);
            }
            clean.extend_from_slice(&bytes[kept..span.start]);
            clean.extend_from_slice(label.to_string().as_bytes());
            kept = end;
        }
        clean.extend_from_slice(&bytes[kept..]);
        clean
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.pieces.iter().map(|piece| &piece.label);
        f.debug_set().entries(labels).finish()
    }
}

struct Text<'t> {
    bytes: &'t [u8],
    end: End,
}

/// A place in a text where a piece stands.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    piece: usize,
}

/// What was UTF-8 is UTF-8 with whole characters taken out.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Length of the beginning of the form, not all of it, that the text ends with: Knuth, Morris and Pratt's automaton, run over the end of
/// the text.
fn cut_off(form: &[u8], text: &[u8]) -> Option<usize> {
    let least = MIN_CUT_BYTES.min(form.len().div_ceil(2));
    let tail = &text[text.len().saturating_sub(form.len() - 1)..];
    // Most texts do not end so: then the automaton is not needed.
    let first = *form.first()?;
    memchr::memchr(first, tail)?;
    let mut fallback = vec![0_u32; form.len()];
    let mut matched = 0_usize;
    for at in 1..form.len() {
        while matched > 0 && form[at] != form[matched] {
            matched = fallback[matched - 1] as usize;
        }
        matched += usize::from(form[at] == form[matched]);
        fallback[at] = u32::try_from(matched).unwrap_or(0);
    }
    let mut matched = 0_usize;
    for &byte in tail {
        while matched > 0 && byte != form[matched] {
            matched = fallback[matched - 1] as usize;
        }
        matched += usize::from(byte == form[matched]);
    }
    (matched >= least && matched > 0).then_some(matched)
}

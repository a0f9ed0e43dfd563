//! Removes credentials from the answers of targets, so that a target that echoes its request does
//! not carry a secret into an event.
//!
//! Each credential is searched for as it is, in any case, in base 64 (both alphabets, at each of
//! the three alignments) and in hex; and all of these also under percent-encoding, form encoding,
//! JSON escapes and HTML entities. The latter have endless spellings (which characters are escaped,
//! and in which case), so instead of encoding the credential, the text is decoded: [`view`]
//! remembers which source byte each decoded byte came from. Every occurrence is replaced by
//! `[vault:tok_...]`.
//!
//! Each form is searched for separately (`memmem`, linear in the worst case) and then dropped. An
//! Aho-Corasick automaton over all forms takes longer to build than a usual answer takes to search,
//! and needs megabytes for a credential of 64 KiB. This is a safety net, not a proof: a target that
//! encodes as it likes gets through. The list of allowed hosts is what keeps a credential from such
//! a target.

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

/// Shorter secrets are only searched for as they are, since their encoded forms occur in every
/// text.
const MIN_ENCODED_BYTES: usize = 4;
/// Shorter parts of a secret, such as the password of a pair, are not searched for separately.
const MIN_PART_BYTES: usize = 4;
/// Shorter cookie values count as settings, not as secrets.
const MIN_COOKIE_BYTES: usize = 8;
/// How much of a secret must match at the end of a truncated text to count as its beginning.
const MIN_CUT_BYTES: usize = 4;

/// Owner of a credential, which determines the mark in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// A vault token: `[vault:tok_...]`.
    Token(TokenId),
    /// The task itself: `[vault:task]`.
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

/// Whether a text is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The text is complete.
    Whole,
    /// The text was truncated, so a credential may begin at its end.
    Cut,
}

/// The credentials that one attempt sends. Wiped when dropped.
#[derive(Default)]
pub struct Scrubber {
    pieces: Vec<Piece>,
}

struct Piece {
    label: Label,
    bytes: Zeroizing<Vec<u8>>,
}

impl Scrubber {
    /// A scrubber without credentials.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to search for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Adds the value of a token or header. For `Bearer x`, it searches for `x`. For `Basic ...`,
    /// and whatever can be decoded like it, it also searches for user and password, and for the
    /// password alone.
    pub fn add(&mut self, label: &Label, value: &str) {
        let value = value.trim();
        let credential = match split_scheme(value) {
            // Wherever the whole value occurs, this part does too.
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

    /// Adds a `Cookie` header: as a whole, and its values that are long enough to be secrets.
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

    /// The text without credentials, for example an error message. It may become longer: a mark
    /// takes up to 38 bytes.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.bytes(text.as_bytes(), End::Whole) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(into_text(bytes)),
        }
    }

    /// The bytes without credentials. They may become longer.
    #[must_use]
    pub fn bytes<'t>(&self, bytes: &'t [u8], end: End) -> Cow<'t, [u8]> {
        let found = self.search(&[Text { bytes, end }]);
        match found.into_iter().next() {
            Some(spans) if !spans.is_empty() => Cow::Owned(self.replace(bytes, spans)),
            _ => Cow::Borrowed(bytes),
        }
    }

    /// Removes credentials from an answer: from its headers, including names, and from the stored
    /// part of its body.
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

    /// The occurrences of credentials in each text.
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
                // Short pieces would occur in every text.
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
        // Leftmost first, and longest first among those. Overlapping and adjacent spans are merged.
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

/// An occurrence of a piece.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    piece: usize,
}

/// UTF-8 remains UTF-8 when whole characters are removed.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Length of the longest proper prefix of the form that the text ends with, found with the
/// automaton of Knuth, Morris and Pratt on the end of the text.
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

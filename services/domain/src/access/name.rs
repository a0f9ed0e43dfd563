//! Which characters a name for people may contain, so that names that look alike are alike.

/// Whether a text is visible and hides nothing: it has no control character, no line break, no
/// change of text direction, and nothing that is invisible or looks like a space (Unicode's
/// `Default_Ignorable_Code_Point`, blank letters, and every white space other than U+0020).
///
/// Joiners and variation selectors are needed by some scripts and emoji, so they are allowed after
/// a character that is not ASCII.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    let mut before = None;
    let mut sees_something = false;
    for c in text.chars() {
        let joins = matches!(
            c,
            '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' | '\u{e0020}'..='\u{e007f}'
        );
        let may_join = before.is_some_and(|before: char| !before.is_ascii());
        let looks_like_a_space = c.is_whitespace() && c != ' ';
        let hides = c.is_control() || looks_like_a_space || is_invisible(c);
        if (joins && !may_join) || (!joins && hides) {
            return false;
        }
        sees_something |= !joins && !c.is_whitespace();
        before = Some(c);
    }
    sees_something
}

fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_seen_as_they_are() {
        for plain in [
            "Ops",
            "Zoë",
            "李雷",
            "می\u{200c}خواهم",
            "👩\u{200d}💻 team",
            "❤\u{fe0f}",
            "a b",
        ] {
            assert!(is_plain(plain), "{plain:?}");
        }
        for hidden in [
            "",
            " ",
            "\u{200b}",
            "Ops\u{200b}",
            "O\u{ad}ps",
            "Ops\u{200d}",
            "Ops\u{2060}",
            "\u{3164}",
            "\u{2800}",
            "Ops\u{feff}",
            "Ops\u{202e}spO",
            "Ops\u{2028}",
            "a\nb",
            "a\u{a0}b",
            "a\u{1680}b",
            "a\u{2000}b",
            "a\u{2003}b",
            "a\u{200a}b",
            "a\u{202f}b",
            "a\u{205f}b",
            "a\u{3000}b",
            "a\u{e0061}",
        ] {
            assert!(!is_plain(hidden), "{hidden:?}");
        }
    }
}

//! The activity as a table for spreadsheets (RFC 4180): one line per entry, newest first.
//!
//! Names come from people, and end up in programs that interpret some texts. So no cell begins like a formula, and characters that would
//! move a cursor, break a line or turn the direction of writing are escaped.

use std::fmt::Write;

use waybill_domain::id::Environment;
use waybill_projector::query::Outcome;

use super::entry::ActivityEntry;

/// The names of the columns.
pub(super) const HEADER: &str = "at,type,actor,actorName,actorEmail,targetKind,targetId,targetName,queue,environment,source,requestId,userAgent,outcome,refusalCode,refusalCount,stream,seq\r\n";

/// Adds an entry as one line.
pub(super) fn line(text: &mut String, entry: &ActivityEntry) {
    let target = entry.target.as_ref();
    let refusal = entry.refusal.as_ref();
    let (count, seq) = (
        refusal.map(|refusal| refusal.count.to_string()),
        entry.seq.to_string(),
    );
    let cells = [
        Some(&*entry.at),
        Some(&*entry.kind),
        Some(&*entry.actor),
        entry.actor_name.as_deref(),
        entry.actor_email.as_deref(),
        target.map(|target| &*target.kind),
        target.map(|target| &*target.id),
        target.and_then(|target| target.name.as_deref()),
        entry.queue.as_deref(),
        entry.environment.map(Environment::as_str),
        entry.source.as_deref(),
        entry.request_id.as_deref(),
        entry.user_agent.as_deref(),
        Some(match entry.outcome {
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
        }),
        refusal.map(|refusal| &*refusal.code),
        count.as_deref(),
        Some(entry.stream),
        Some(&*seq),
    ];
    for (at, value) in cells.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        cell(text, value.unwrap_or_default());
    }
    text.push_str("\r\n");
}

/// Writes one cell.
fn cell(text: &mut String, value: &str) {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let quoted = value.contains(['"', ',', '\r', '\n']);
    if quoted {
        text.push('"');
    }
    if is_formula {
        text.push('\'');
    }
    for c in value.chars() {
        match c {
            '"' => text.push_str("\"\""),
            c if c.is_control() || turns_direction(c) => {
                // Writing to memory has no way to fail.
                let _ = write!(text, "\\u{{{:04x}}}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    if quoted {
        text.push('"');
    }
}

/// Characters that reorder what stands around them (UAX #9), and separators that some programs take for the end of a line.
fn turns_direction(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &str) -> String {
        let mut text = String::new();
        cell(&mut text, value);
        text
    }

    #[test]
    fn a_cell_is_text_and_nothing_else() {
        for (value, cell) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\u{0009}=1"),
            ("\r=1", "\"'\\u{000d}=1\""),
            ("two\nlines", "\"two\\u{000a}lines\""),
            ("\u{1b}[31mred", "\\u{001b}[31mred"),
            ("abc\u{202e}txt.exe", "abc\\u{202e}txt.exe"),
            ("<b>ü</b>", "<b>ü</b>"),
            ("=\"a\",1", "\"'=\"\"a\"\",1\""),
        ] {
            assert_eq!(written(value), cell, "{value:?}");
        }
    }
}

//! Takes out of scripts and style sheets what browsers do not need and readers do: comments, indentation, empty lines, and in scripts the
//! blanks around punctuation.
//!
//! Of templates of markup (`html` and `svg`) the blanks at the beginning of lines go, which mean nothing in what pages are made of.
//! Nothing else is touched: names, strings, other templates and regular expressions stay as they are written, and so does every line break that
//! separates statements. What cannot be told for certain is refused, so that the build fails rather than a page. One thing is taken for granted:
//! after a `)` a `/` divides, so a regular expression that is the whole body of an `if` has to stand in braces.

/// Words after which a `/` begins a regular expression.
const BEFORE_A_VALUE: [&str; 14] = [
    "await",
    "case",
    "delete",
    "do",
    "else",
    "extends",
    "in",
    "instanceof",
    "new",
    "of",
    "return",
    "typeof",
    "void",
    "yield",
];

/// After these neither blanks nor a line break mean anything, in scripts and in style sheets.
const NEVER_AN_END: [char; 5] = [';', '{', ',', '(', '['];

/// A file that is no script as it is served, by its name. What is no style sheet either, and what others wrote, stays as it is: their comments
/// hold their licences.
///
/// # Errors
/// Says where a comment, string, template or regular expression does not end, or what is not UTF-8.
pub(crate) fn compacted(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if name.starts_with("vendor/") || !name.ends_with(".css") {
        return Ok(bytes);
    }
    let text = String::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
    let stripped = style(&text).map_err(|error| format!("{name}: {error}"))?;
    Ok(stripped.into_bytes())
}

/// A script as it is served.
pub(crate) struct Script {
    pub(crate) text: String,
    /// Where in the text the words `import` and `export` begin that are code, and neither members nor text.
    pub(crate) links: Vec<usize>,
}

/// Reads a text and writes what is left of it.
struct Reader<'text> {
    text: &'text str,
    at: usize,
    out: String,
    /// Where the line that is being written begins, or the text that must stay as it is ends.
    line: usize,
}

impl<'text> Reader<'text> {
    fn new(text: &'text str) -> Self {
        Self {
            text,
            at: 0,
            out: String::with_capacity(text.len()),
            line: 0,
        }
    }

    fn rest(&self) -> &'text str {
        &self.text[self.at..]
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Ends the line: without blanks at its end, and not at all if nothing is on it.
    fn end_line(&mut self) {
        let kept = self.out[self.line..].trim_end_matches([' ', '\t']).len();
        self.out.truncate(self.line + kept);
        if !self.out.is_empty() && !self.out.ends_with('\n') && !self.out.ends_with(NEVER_AN_END) {
            self.out.push('\n');
        }
        self.line = self.out.len();
    }

    /// One character that is neither quoted nor in a comment.
    fn plain(&mut self, c: char) {
        self.at += c.len_utf8();
        match c {
            '\n' => self.end_line(),
            '\r' => {}
            ' ' | '\t' if self.out.is_empty() || self.out.ends_with(['\n', ' ']) => {}
            ' ' | '\t' if self.out.ends_with(NEVER_AN_END) => {}
            _ => self.out.push(c),
        }
    }

    /// Blanks of a script, which stay where what is on both sides of them might become one without them.
    fn blanks(&mut self) {
        let rest = self.rest();
        let after = rest.trim_start_matches([' ', '\t']);
        self.at += rest.len() - after.len();
        let (Some(before), Some(next)) = (self.out.chars().next_back(), after.chars().next())
        else {
            return;
        };
        if before != '\n' && before != ' ' && !are_apart(before, next) {
            self.out.push(' ');
        }
    }

    /// Writes so many bytes as they are, and keeps blanks at their end.
    fn verbatim(&mut self, length: usize) {
        self.out.push_str(&self.text[self.at..self.at + length]);
        self.at += length;
        self.line = self.out.len();
    }

    /// Skips a comment; if it has lines, one break stays, since that may separate statements.
    fn block_comment(&mut self) -> Result<(), String> {
        let Some(length) = self.rest()[2..].find("*/") else {
            return Err(self.wrong("a comment that does not end"));
        };
        let comment = &self.rest()[..length + 4];
        self.at += comment.len();
        if comment.contains('\n') {
            self.end_line();
        } else if !self.out.is_empty() && !self.out.ends_with(['\n', ' ']) {
            self.out.push(' ');
        }
        Ok(())
    }

    /// A string to its end.
    fn string(&mut self, quote: char) -> Result<(), String> {
        let mut escaped = false;
        for (n, c) in self.rest().char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\n' => break,
                _ if c == quote => {
                    self.verbatim(n + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(self.wrong("a string that does not end on its line"))
    }

    /// A regular expression to the `/` that ends it; its flags are a word.
    fn regular_expression(&mut self) -> Result<(), String> {
        let (mut escaped, mut in_class) = (false, false);
        for (n, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '[' => in_class = true,
                ']' => in_class = false,
                '/' if !in_class => {
                    self.verbatim(n + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(self.wrong("a regular expression that does not end on its line"))
    }

    /// Writes so many bytes of a template; of one of markup, without the blanks after each line break.
    fn of_template(&mut self, length: usize, kind: Template) {
        let from = self.out.len();
        self.verbatim(length);
        if kind == Template::Markup {
            let text = self.out.split_off(from);
            let mut lines = text.split('\n');
            self.out.extend(lines.next());
            for line in lines {
                self.out.push('\n');
                self.out.push_str(line.trim_start_matches([' ', '\t']));
            }
            self.line = self.out.len();
        }
    }

    /// The text of a template up to its end, or up to the `${` of an expression. Answers whether it ended.
    fn template(&mut self, kind: Template) -> Result<bool, String> {
        let mut escaped = false;
        let rest = self.rest();
        for (n, c) in rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '`' => {
                    self.of_template(n + 1, kind);
                    return Ok(true);
                }
                '$' if rest[n..].starts_with("${") => {
                    self.of_template(n + 2, kind);
                    return Ok(false);
                }
                _ => {}
            }
        }
        Err(self.wrong("a template that does not end"))
    }

    fn wrong(&self, what: &str) -> String {
        format!(
            "line {}: {what}",
            self.text[..self.at].matches('\n').count() + 1
        )
    }

    fn finish(mut self) -> String {
        self.end_line();
        self.out
    }
}

/// Whether a template is one of markup, by the word before it.
#[derive(Clone, Copy, PartialEq)]
enum Template {
    Markup,
    Other,
}

impl Template {
    fn after(before: &str) -> Self {
        let word = before.rsplit(|c| !is_of_a_word(c)).next();
        match word {
            Some("html" | "svg") => Self::Markup,
            _ => Self::Other,
        }
    }
}

/// What the last token says about a `/` that follows it.
#[derive(Clone, Copy, PartialEq)]
enum Slash {
    Divides,
    Begins,
    /// After `}`: of a block it begins a regular expression, of an object it divides.
    Unknown,
}

/// A script without comments and indentation.
///
/// # Errors
/// As of [`compacted`].
pub(crate) fn script(text: &str) -> Result<Script, String> {
    let mut reader = Reader::new(text);
    let mut links = Vec::new();
    let mut slash = Slash::Begins;
    // Of each expression in a template: how many braces are open in it, and what the template is.
    let mut braces: Vec<(usize, Template)> = Vec::new();
    while let Some(c) = reader.next() {
        match c {
            '/' if reader.rest().starts_with("//") => {
                let end = reader.rest().find('\n').unwrap_or(reader.rest().len());
                reader.at += end;
                continue;
            }
            '/' if reader.rest().starts_with("/*") => {
                reader.block_comment()?;
                continue;
            }
            '/' => match slash {
                Slash::Begins => {
                    reader.regular_expression()?;
                    slash = Slash::Divides;
                    continue;
                }
                Slash::Divides => slash = Slash::Begins,
                Slash::Unknown => {
                    return Err(reader.wrong("a / after a }: put the value into brackets"));
                }
            },
            '"' | '\'' => {
                reader.string(c)?;
                slash = Slash::Divides;
                continue;
            }
            '`' => {
                let kind = Template::after(&reader.out);
                reader.verbatim(1);
                slash = template(&mut reader, &mut braces, kind)?;
                continue;
            }
            '}' if let Some(&(0, kind)) = braces.last() => {
                braces.pop();
                reader.verbatim(1);
                slash = template(&mut reader, &mut braces, kind)?;
                continue;
            }
            '{' => {
                if let Some((open, _)) = braces.last_mut() {
                    *open += 1;
                }
                slash = Slash::Begins;
            }
            '}' => {
                if let Some((open, _)) = braces.last_mut() {
                    *open -= 1;
                }
                slash = Slash::Unknown;
            }
            ')' | ']' => slash = Slash::Divides,
            _ if is_of_a_word(c) => {
                let rest = reader.rest();
                let end = rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len());
                let is_member = reader.out.ends_with('.');
                slash = if !is_member && BEFORE_A_VALUE.contains(&&rest[..end]) {
                    Slash::Begins
                } else {
                    Slash::Divides
                };
                if !is_member && matches!(&rest[..end], "import" | "export") {
                    links.push(reader.out.len());
                }
                reader.verbatim(end);
                continue;
            }
            ' ' | '\t' => {
                reader.blanks();
                continue;
            }
            // Before a value they would stand before its name, so what they follow is one.
            '+' | '-' if reader.out.ends_with(c) => slash = Slash::Divides,
            _ if c.is_whitespace() => {}
            _ => slash = Slash::Begins,
        }
        reader.plain(c);
    }
    if !braces.is_empty() {
        return Err(reader.wrong("a template that does not end"));
    }
    let text = reader.finish();
    Ok(Script { text, links })
}

/// Text of a template: to its end, or to an expression in it.
fn template(
    reader: &mut Reader<'_>,
    braces: &mut Vec<(usize, Template)>,
    kind: Template,
) -> Result<Slash, String> {
    if reader.template(kind)? {
        return Ok(Slash::Divides);
    }
    braces.push((0, kind));
    Ok(Slash::Begins)
}

/// Whether two characters are of two tokens also without a blank between them: either stands alone always, or one is of a word and the other
/// of an operator. A `.` may be of a number, a `/` of a comment or a regular expression, and two operators may be a third.
fn are_apart(before: char, next: char) -> bool {
    let stands_alone = |c| {
        matches!(
            c,
            '(' | ')' | '[' | ']' | '{' | '}' | ',' | ';' | '"' | '\'' | '`'
        )
    };
    let is_operator = |c| {
        matches!(
            c,
            '=' | '!' | '<' | '>' | '&' | '|' | '?' | ':' | '+' | '-' | '*' | '%'
        )
    };
    if before == '/' || next == '/' || before == '.' || next == '.' {
        return false;
    }
    stands_alone(before)
        || stands_alone(next)
        || (is_of_a_word(before) && is_operator(next))
        || (is_operator(before) && is_of_a_word(next))
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || c == '#'
}

/// A style sheet without comments and indentation.
fn style(text: &str) -> Result<String, String> {
    let mut reader = Reader::new(text);
    while let Some(c) = reader.next() {
        match c {
            '/' if reader.rest().starts_with("/*") => reader.block_comment()?,
            '"' | '\'' => reader.string(c)?,
            _ => reader.plain(c),
        }
    }
    Ok(reader.finish())
}

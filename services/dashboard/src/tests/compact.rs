//! What is taken out of scripts and style sheets on their way into the program, and what never is.

use crate::compact::{self, compacted};

fn script(text: &str) -> String {
    let script = compact::script(text).expect("a script");
    script.text.trim_end().to_owned()
}

fn refusal(text: &str) -> String {
    let refused = compact::script(text).err();
    refused.expect("it cannot be told for certain")
}

#[test]
fn comments_and_indentation_are_taken_out() {
    let text = "// About it.\n\n/** Its type.\n * @type {number}\n */\nconst a = 1; // one\nfunction b(/* no */ c) {\n  return /** @type {any} */ (c);\n}\n";
    assert_eq!(script(text), "const a=1;function b( c){return (c);}");
}

#[test]
fn strings_templates_and_regular_expressions_stay_as_they_are() {
    for text in [
        "const a='http://x  // no';\n",
        "const a=\"\\\"/* no */\";\n",
        "const a='it\\\\';\n",
        "const a=`\n    // no  \n    ${b?`/* ${c}  */`:{}}  // no\n`;\n",
        "const a=`\\`// no\\${ // no`;\n",
        "const a= /[/'\"]  \\/\\//g.test(b);\n",
        "return /\\s+ {2}\"/;\n",
        "const a=[/'/, /\"/].map((one)=> /`/.test(one));\n",
        "const a=(b+c) / 2 / d[0] / e.in / \"'\";\n",
        "i++ / 2;\n",
        "const a=`${{b:{c:1}}.b.c}  // ${'}'}`;\n",
    ] {
        assert_eq!(script(text), text.trim_end());
    }
}

#[test]
fn templates_of_markup_lose_the_indentation_of_their_lines() {
    for (text, left) in [
        (
            "a = html`<p>\n    one  two\n  ${b(`\n  c`)}  <i> d</i>\n\t${html`\n  e`}</p>`;\n",
            "a=html`<p>\none  two\n${b(`\n  c`)}  <i> d</i>\n${html`\ne`}</p>`;",
        ),
        ("svg`\n  <g>`;\n", "svg`\n<g>`;"),
        ("xhtml`\n  a`;\n", "xhtml`\n  a`;"),
    ] {
        assert_eq!(script(text), left);
    }
}

#[test]
fn blanks_go_where_no_token_becomes_another_without_them() {
    for (text, left) in [
        ("a = b ? - 1 : c\n", "a=b? -1:c\n"),
        ("x = a + +b - -c;\n", "x=a+ +b- -c;\n"),
        ("a ? .5 : 1 .b;\n", "a? .5:1 .b;\n"),
        ("export * from \"x\";\n", "export*from\"x\";\n"),
        (
            "for (const one of [ 1, 2 ]) { go (one) }\n",
            "for(const one of[1,2]){go(one)}\n",
        ),
        ("a < ! --b;\n", "a< ! --b;\n"),
    ] {
        assert_eq!(script(text), left.trim_end());
    }
}

#[test]
fn a_comment_of_several_lines_still_separates_statements() {
    assert_eq!(script("a()/* one\n two */b()\n"), "a()\nb()");
    assert_eq!(script("a/* one */b\n"), "a b");
}

#[test]
fn what_is_uncertain_or_does_not_end_is_refused_with_its_line() {
    for (text, what) in [
        ("\nif (a) {} /b/.test(c);", "line 2: a / after a }"),
        ("a = 'b\n'", "line 1: a string"),
        ("a = `${b", "line 1: a template"),
        ("a = `b", "line 1: a template"),
        ("a = /b\n/", "line 1: a regular expression"),
        ("a /* b", "line 1: a comment"),
    ] {
        let said = refusal(text);
        assert!(said.starts_with(what), "{said}");
    }
}

#[test]
fn style_sheets_lose_comments_and_what_others_wrote_loses_nothing() {
    let style = b"/* One. */\na {\n  content: \"/* no */\"; /* two */\n}\n".to_vec();
    let left = compacted("a.css", style).expect("a style sheet");
    assert_eq!(left, b"a {content: \"/* no */\";}\n");
    let licence = b"/* (c) */\n  a();\n".to_vec();
    for name in ["vendor/a.js", "a.svg"] {
        assert_eq!(compacted(name, licence.clone()), Ok(licence.clone()));
    }
}

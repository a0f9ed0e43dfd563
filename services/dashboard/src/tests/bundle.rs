//! How modules are put into one file, and which ones are refused.

use std::collections::BTreeMap;

use crate::bundle::{Bundle, bundle};
use crate::compact::script;

fn bundled(files: &[(&str, &str)]) -> Result<Bundle, String> {
    let read = |&(name, text): &(&str, &str)| (name.to_owned(), script(text).expect("a script"));
    let scripts: BTreeMap<_, _> = files.iter().map(read).collect();
    bundle("main.js", &scripts)
}

fn refusal(files: &[(&str, &str)]) -> String {
    bundled(files).err().expect("it has to be refused")
}

#[test]
fn modules_become_functions_that_answer_what_they_export() {
    let files = [
        (
            "main.js",
            "import { a as b, c } from \"./kit.js\";\nimport { d } from \"./vendor/x.js\";\nb(c, d, () => import(\"./pages/one/page.js\"));\n",
        ),
        (
            "kit.js",
            "export * from \"./core/a.js\";\nexport { e as c } from \"./core/c.js\";\n",
        ),
        (
            "core/a.js",
            "// Says \"export\".\nexport const a = (one) => one.export(`import(\"x\")`);\n",
        ),
        ("core/c.js", "export class e {}\n"),
        (
            "pages/one/page.js",
            "import { c } from \"../../kit.js\";\nexport async function open() {\n  return new URL(\"../../vendor/i.svg\", import.meta.url);\n}\n",
        ),
    ];
    let bundle = bundled(&files).expect("a bundle");
    let wanted = "import*as $foreign0 from\"./vendor/x.js\";\n\
        const $answers=[],$run=(n)=>$answers[n]??=$modules[n](),$later=async(n)=>$run(n),$modules=[\n\
        ()=>{const{a:b,c}=$run(1);const{d}=$foreign0;b(c,d,()=>$later(4));\nreturn{}},\n\
        ()=>{\nreturn{...$run(2),c:$run(3).e}},\n\
        ()=>{const a=(one)=>one.export(`import(\"x\")`);\nreturn{a}},\n\
        ()=>{class e{}\nreturn{e}},\n\
        ()=>{const{c}=$run(1);async function open(){return new URL(\"./vendor/i.svg\",import.meta.url);}\nreturn{open}},\n\
        ];$run(0);\n";
    assert_eq!(bundle.text, wanted);
    assert_eq!(bundle.names.len(), files.len());
}

#[test]
fn what_might_mean_something_else_is_refused() {
    for (text, said) in [
        ("export let a = 1;\n", "only constants"),
        ("export default 1;\n", "only constants"),
        ("export const { a } = b;\n", "only constants"),
        ("import a from \"./b.js\";\n", "not known"),
        ("import \"./b.js\";\n", "not known"),
        ("import(a);\n", "double quotes"),
        ("import { a } from \"b\";\n", "begin with ./"),
        ("import { a } from \"../b.js\";\n", "no path"),
        ("const a = import.meta.url;\n", "`new URL"),
        ("const $run = 1;\n", "a name of the bundle"),
        ("import { a } from \"./b.js\";\n", "no such module"),
    ] {
        let found = refusal(&[("main.js", text)]);
        assert!(found.contains(said), "{text}: {found}");
    }
}

#[test]
fn names_that_are_not_exported_and_circles_are_refused() {
    let missing = [
        ("main.js", "import { a } from \"./b.js\";\n"),
        ("b.js", "export const c = 1, a = 2;\n"),
    ];
    assert_eq!(refusal(&missing), "main.js: b.js does not export a");
    let circle = [
        (
            "main.js",
            "import { a } from \"./b.js\";\nexport const c = 1;\n",
        ),
        (
            "b.js",
            "import { c } from \"./main.js\";\nexport const a = 2;\n",
        ),
    ];
    assert!(
        refusal(&circle).contains("imports itself"),
        "{}",
        refusal(&circle)
    );
    // What is loaded when it is needed may import what is there by then.
    let later = [
        ("main.js", "import(\"./b.js\");\nexport const c = 1;\n"),
        ("b.js", "import { c } from \"./main.js\";\n"),
    ];
    assert!(bundled(&later).is_ok());
}

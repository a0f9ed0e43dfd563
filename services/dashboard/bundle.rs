//! Puts the modules that pages are made of into one file: what is said alike in many of them weighs once when it is compressed, and the first page
//! needs one request for them rather than a hundred.
//!
//! A module becomes a function that runs when it is first needed and answers what it exports. Nothing inside of it is renamed. What others wrote,
//! below `vendor`, stays a module of its own. Forms of `import` and `export` that are not known here are refused, and so are circles and names
//! that the other module does not export: the build fails rather than a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::compact::Script;

/// Runs a module, once, by its number.
const RUN: &str = "$run";
/// The same for modules that are imported when they are needed.
const LATER: &str = "$later";
/// A module of others, with its number behind.
const FOREIGN: &str = "$foreign";

/// One module out of an entry and all that it imports, whichever way.
pub(crate) struct Bundle {
    pub(crate) text: String,
    /// The modules that are in it, and have no file of their own any more.
    pub(crate) names: Vec<String>,
}

/// The bundle of what `entry` needs of `scripts`, which are the scripts of the dashboard itself by their paths.
///
/// # Errors
/// Names the module, and what of it is not understood or does not fit.
pub(crate) fn bundle(entry: &str, scripts: &BTreeMap<String, Script>) -> Result<Bundle, String> {
    let mut bundler = Bundler {
        scripts,
        modules: Vec::new(),
        numbers: BTreeMap::new(),
        foreign: Vec::new(),
    };
    let first = bundler.module(entry)?;
    bundler.no_circles()?;
    bundler.all_exported()?;
    Ok(bundler.finish(first))
}

/// What a module is made of once it is read.
#[derive(Default)]
struct Module {
    name: String,
    body: String,
    /// What it answers, as the members of an object.
    answers: Vec<String>,
    exports: Vec<String>,
    /// The modules all of whose names are exported on.
    exports_on: Vec<usize>,
    /// Which names it takes from which module, or the module alone.
    takes: Vec<(usize, Option<String>)>,
}

/// Another module, as the text says it.
enum Other {
    Ours(usize),
    Foreign(usize),
}

impl Other {
    fn call(&self) -> String {
        match self {
            Self::Ours(number) => format!("{RUN}({number})"),
            Self::Foreign(number) => format!("{FOREIGN}{number}"),
        }
    }
}

struct Bundler<'a> {
    scripts: &'a BTreeMap<String, Script>,
    modules: Vec<Module>,
    numbers: BTreeMap<String, usize>,
    foreign: Vec<String>,
}

impl Bundler<'_> {
    /// The number of a module, which is read if it was not yet.
    fn module(&mut self, name: &str) -> Result<usize, String> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let scripts = self.scripts;
        let script = scripts
            .get(name)
            .ok_or_else(|| format!("{name}: there is no such module"))?;
        let number = self.modules.len();
        self.numbers.insert(name.to_owned(), number);
        self.modules.push(Module::default());
        let read = self.read(name, script);
        self.modules[number] = read.map_err(|error| format!("{name}: {error}"))?;
        Ok(number)
    }

    fn read(&mut self, name: &str, script: &Script) -> Result<Module, String> {
        let mut module = Module {
            name: name.to_owned(),
            ..Module::default()
        };
        for taken in [RUN, LATER, FOREIGN] {
            if script.text.contains(taken) {
                return Err(format!("{taken} is a name of the bundle"));
            }
        }
        let mut done = 0;
        for &at in &script.links {
            module.body.push_str(&script.text[done..at]);
            let link = &script.text[at..];
            let read = self.link(link, &mut module);
            let length = read.map_err(|error| {
                let line: String = link.chars().take(60).collect();
                format!("{error}: {line}")
            })?;
            done = at + length;
        }
        module.body.push_str(&script.text[done..]);
        Ok(module)
    }

    /// Writes what stands for an `import` or `export`, and answers how many bytes of the text that was.
    fn link(&mut self, link: &str, module: &mut Module) -> Result<usize, String> {
        let length = |rest: &str| link.len() - rest.len();
        if let Some(rest) = link.strip_prefix("import.meta.url") {
            // A file beside the module: beside the bundle it has another path.
            let before = module.body.strip_suffix("\",");
            let quoted = before.and_then(|body| body.rsplit_once("new URL(\""));
            let (body, path) =
                quoted.ok_or("`import.meta.url` is known in `new URL(\"...\"` only")?;
            module.body = format!(
                "{body}new URL(\"./{}\",import.meta.url",
                beside(&module.name, path)?
            );
            return Ok(length(rest));
        }
        if let Some(rest) = link.strip_prefix("import(") {
            let (path, rest) = text(rest)?;
            let rest = rest.strip_prefix(')').ok_or("more than a path")?;
            let Other::Ours(number) = self.other(&module.name, path)? else {
                return Err("only modules of our own are loaded when they are needed".into());
            };
            let _ = write!(module.body, "{LATER}({number})");
            return Ok(length(rest));
        }
        if let Some(rest) = link.strip_prefix("import{") {
            let (names, rest) = names(rest)?;
            let (path, rest) = text(rest.strip_prefix("from").ok_or("no `from`")?)?;
            let other = self.other(&module.name, path)?;
            let mut members = Vec::new();
            for (name, own) in names {
                members.push(member(name, own));
                if let Other::Ours(number) = other {
                    module.takes.push((number, Some(name.to_owned())));
                }
            }
            let _ = write!(
                module.body,
                "const{{{}}}={};",
                members.join(","),
                other.call()
            );
            return Ok(length(rest.strip_prefix(';').unwrap_or(rest)));
        }
        if let Some(rest) = link.strip_prefix("export*from") {
            let (path, rest) = text(rest)?;
            let other = self.other(&module.name, path)?;
            let Other::Ours(number) = other else {
                return Err("names of modules of others are exported one by one".into());
            };
            module.takes.push((number, None));
            module.exports_on.push(number);
            module.answers.push(format!("...{}", other.call()));
            return Ok(length(rest.strip_prefix(';').unwrap_or(rest)));
        }
        if let Some(rest) = link.strip_prefix("export{") {
            let (names, rest) = names(rest)?;
            let (path, rest) = text(rest.strip_prefix("from").ok_or("no `from`")?)?;
            let other = self.other(&module.name, path)?;
            for (name, outside) in names {
                if let Other::Ours(number) = other {
                    module.takes.push((number, Some(name.to_owned())));
                }
                module
                    .answers
                    .push(format!("{outside}:{}.{name}", other.call()));
                module.exports.push(outside.to_owned());
            }
            return Ok(length(rest.strip_prefix(';').unwrap_or(rest)));
        }
        let declared = link.strip_prefix("export ").ok_or("this is not known")?;
        let kinds = ["const ", "function ", "async function ", "class "];
        let rest = kinds.iter().find_map(|kind| declared.strip_prefix(kind));
        let rest = rest.ok_or("only constants, functions and classes are exported")?;
        let name = word(rest);
        module.answers.push(name.to_owned());
        module.exports.push(name.to_owned());
        Ok(length(declared))
    }

    /// The module that a path means.
    fn other(&mut self, module: &str, path: &str) -> Result<Other, String> {
        let name = beside(module, path)?;
        if !name.starts_with("vendor/") {
            return Ok(Other::Ours(self.module(&name)?));
        }
        let known = self.foreign.iter().position(|one| *one == name);
        Ok(Other::Foreign(known.unwrap_or_else(|| {
            self.foreign.push(name);
            self.foreign.len() - 1
        })))
    }

    /// A module in a circle would run for ever.
    fn no_circles(&self) -> Result<(), String> {
        let mut settled = vec![false; self.modules.len()];
        // As long as any module has all that it takes, one is settled more.
        loop {
            let ready = (0..self.modules.len()).find(|&number| {
                let mut takes = self.modules[number].takes.iter();
                !settled[number] && takes.all(|(other, _)| settled[*other])
            });
            let Some(ready) = ready else { break };
            settled[ready] = true;
        }
        match settled.iter().position(|is| !is) {
            Some(number) => Err(format!(
                "{}: imports itself, by way of others",
                self.modules[number].name
            )),
            None => Ok(()),
        }
    }

    fn all_exported(&self) -> Result<(), String> {
        for module in &self.modules {
            for (other, name) in &module.takes {
                if let Some(name) = name
                    && !self.exports(*other, name)
                {
                    let other = &self.modules[*other].name;
                    return Err(format!("{}: {other} does not export {name}", module.name));
                }
            }
        }
        Ok(())
    }

    fn exports(&self, number: usize, name: &str) -> bool {
        let module = &self.modules[number];
        let mut on = module.exports_on.iter();
        module.exports.iter().any(|one| one == name) || on.any(|&other| self.exports(other, name))
    }

    fn finish(self, first: usize) -> Bundle {
        let mut text = String::new();
        for (number, name) in self.foreign.iter().enumerate() {
            let _ = writeln!(text, "import*as {FOREIGN}{number} from\"./{name}\";");
        }
        text.push_str("const $answers=[],");
        let _ = writeln!(
            text,
            "{RUN}=(n)=>$answers[n]??=$modules[n](),{LATER}=async(n)=>{RUN}(n),$modules=["
        );
        for module in &self.modules {
            let _ = write!(
                text,
                "()=>{{{}\nreturn{{{}}}}},\n",
                module.body.trim_end(),
                module.answers.join(",")
            );
        }
        let _ = writeln!(text, "];{RUN}({first});");
        Bundle {
            text,
            names: self.modules.into_iter().map(|module| module.name).collect(),
        }
    }
}

/// A path that stands in a module, from the folder of all files.
fn beside(module: &str, path: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = module.split('/').collect();
    parts.pop();
    for (n, part) in path.split('/').enumerate() {
        match part {
            "." if n == 0 => {}
            ".." if parts.pop().is_some() => {}
            "" | "." | ".." => return Err(format!("{path} is no path beside it")),
            _ if n == 0 => return Err(format!("{path} has to begin with ./ or ../")),
            _ => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// A string in double quotes, and what follows it.
fn text(rest: &str) -> Result<(&str, &str), String> {
    let inside = rest
        .strip_prefix('"')
        .ok_or("a path stands in double quotes")?;
    inside
        .split_once('"')
        .ok_or_else(|| "a path that does not end".into())
}

/// Names up to a `}`, each with the one that it has on the other side, and what follows.
#[expect(clippy::type_complexity, reason = "said in the comment")]
fn names(rest: &str) -> Result<(Vec<(&str, &str)>, &str), String> {
    let (inside, rest) = rest.split_once('}').ok_or("names that do not end")?;
    let mut all = Vec::new();
    for one in inside
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty())
    {
        let (name, other) = one.split_once(" as ").unwrap_or((one, one));
        if word(name) != name || word(other) != other {
            return Err(format!("{one} is no name"));
        }
        all.push((name, other));
    }
    Ok((all, rest))
}

fn member(name: &str, own: &str) -> String {
    if name == own {
        name.to_owned()
    } else {
        format!("{name}:{own}")
    }
}

/// The word that a text begins with.
fn word(rest: &str) -> &str {
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
    &rest[..end.unwrap_or(rest.len())]
}

//! Writes the table of the dashboard's files, each with its bytes: a file that is added is in the program without being named anywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const STATIC: &str = "../../web/dashboard/static";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed={STATIC}");
    let root = Path::new(STATIC).canonicalize()?;
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    let named = files.iter().map(|file| Ok((name(&root, file)?, file)));
    let mut named = named.collect::<io::Result<Vec<_>>>()?;
    // By bytes, as the search compares them.
    named.sort();
    let mut table = String::from("&[\n");
    for (name, file) in named {
        let _ = writeln!(table, "    ({name:?}, include_bytes!({file:?})),");
    }
    table.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("files.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn name(root: &Path, file: &Path) -> io::Result<String> {
    let below = file.strip_prefix(root).map_err(io::Error::other)?;
    let name = below.to_str().map(str::to_owned);
    name.ok_or_else(|| io::Error::other(format!("not UTF-8: {}", below.display())))
}

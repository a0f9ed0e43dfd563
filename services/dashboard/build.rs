//! Writes the table of the dashboard's files, each with its bytes as they are served: a file that is added is in the program without being named anywhere.

mod compact;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const STATIC: &str = "../../web/dashboard/static";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed={STATIC}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=compact.rs");
    let root = Path::new(STATIC).canonicalize()?;
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    let named = files.iter().map(|file| Ok((name(&root, file)?, file)));
    let mut named = named.collect::<io::Result<Vec<_>>>()?;
    // By bytes, as the search compares them.
    named.sort();
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let out = Path::new(&out);
    let mut table = String::from("&[\n");
    for (name, file) in named {
        let served = compact::compacted(&name, fs::read(file)?).map_err(io::Error::other)?;
        let copy = out.join("static").join(&name);
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&copy, served)?;
        let _ = writeln!(table, "    ({name:?}, include_bytes!({copy:?})),");
    }
    table.push_str("]\n");
    fs::write(out.join("files.rs"), table)
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

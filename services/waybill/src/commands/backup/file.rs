//! The file: a tar archive that any tar can list, with `streams/NAME/NNNNNN` (the server's own archive of a stream, in parts), `secrets/NAME`, and last
//! `manifest.json`. A file without its manifest was cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use waybill_domain::time::Timestamp;
use waybill_log::jetstream::archive::ArchivedStream;

/// Version of this format. Another one is refused.
const FORMAT: u32 = 1;
/// Name of the last entry.
const MANIFEST: &str = "manifest.json";
/// Bytes of one part of a stream: tar wants to know a length before the bytes, and a stream does not tell its own.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Largest secret file, in bytes: a key or a ring of keys is far smaller.
const SECRET_BYTES: u64 = 1024 * 1024;

/// The contents of the file, and the time that they are from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// Version of the `waybill` that wrote it.
    waybill: String,
    /// When the first stream was taken, RFC 3339.
    pub(super) taken_at: String,
    /// `audit.deployment`, the name in all checkpoints.
    pub(super) deployment: String,
    pub(super) streams: Vec<StoredStream>,
    /// Names of the secret files.
    pub(super) secrets: Vec<String>,
    /// Names of the secret files that were not taken.
    pub(super) left_out: Vec<String>,
}

/// A stream in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredStream {
    #[serde(flatten)]
    pub(super) archived: ArchivedStream,
    parts: u32,
    bytes: u64,
    /// Of all bytes, in hex.
    sha256: String,
}

impl StoredStream {
    /// First and last sequence, and how many messages are between.
    pub(super) fn extent(&self) -> String {
        extent(&self.archived)
    }
}

/// First and last sequence of a stream, and how many messages are between.
pub(super) fn extent(stream: &ArchivedStream) -> String {
    let number = |field: &str| stream.state.get(field).and_then(serde_json::Value::as_u64);
    format!(
        "{} messages, {} to {}",
        number("messages").unwrap_or(0),
        number("first_seq").unwrap_or(0),
        number("last_seq").unwrap_or(0)
    )
}

impl Manifest {
    pub(super) fn new(
        taken_at: Timestamp,
        deployment: String,
        streams: Vec<StoredStream>,
        secrets: Vec<String>,
        left_out: Vec<String>,
    ) -> Self {
        Self {
            format: FORMAT,
            waybill: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at: taken_at.to_rfc3339(),
            deployment,
            streams,
            secrets,
            left_out,
        }
    }
}

/// Writes the file from its first byte to its last. Readable by its owner alone: it holds secrets.
pub(super) struct Writer {
    tar: tar::Builder<File>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .with_context(|| path.display().to_string())?;
        Ok(Self {
            tar: tar::Builder::new(file),
        })
    }

    /// Begins a stream.
    pub(super) fn stream(&mut self, name: &'static str) -> Parts<'_> {
        Parts {
            writer: self,
            name,
            gathered: Vec::with_capacity(PART_BYTES),
            parts: 0,
            bytes: 0,
            hash: Sha256::new(),
        }
    }

    pub(super) fn secret(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        File::open(path)
            .and_then(|file| file.take(SECRET_BYTES).read_to_end(&mut bytes))
            .with_context(|| path.display().to_string())?;
        self.entry(&format!("secrets/{name}"), &bytes)
            .with_context(|| name.to_owned())
    }

    /// Writes the manifest and brings all of it to the disk.
    pub(super) fn finish(mut self, manifest: &Manifest) -> anyhow::Result<()> {
        let json = serde_json::to_vec_pretty(manifest)?;
        self.entry(MANIFEST, &json)?;
        let mut file = self.tar.into_inner()?;
        file.flush()?;
        file.sync_all()?;
        Ok(())
    }

    fn entry(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(0);
        self.tar.append_data(&mut header, path, bytes)
    }
}

/// A stream that is being written.
pub(super) struct Parts<'w> {
    writer: &'w mut Writer,
    name: &'static str,
    gathered: Vec<u8>,
    parts: u32,
    bytes: u64,
    hash: Sha256,
}

impl Parts<'_> {
    pub(super) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(chunk);
        match self.gathered.len() >= PART_BYTES {
            true => self.part(),
            false => Ok(()),
        }
    }

    pub(super) fn finish(mut self, archived: ArchivedStream) -> anyhow::Result<StoredStream> {
        self.part().with_context(|| self.name.to_owned())?;
        Ok(StoredStream {
            archived,
            parts: self.parts,
            bytes: self.bytes,
            sha256: hex::encode(self.hash.finalize()),
        })
    }

    fn part(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let path = part_path(self.name, self.parts);
        self.writer.entry(&path, &self.gathered)?;
        self.hash.update(&self.gathered);
        self.bytes += self.gathered.len() as u64;
        self.parts += 1;
        self.gathered.clear();
        Ok(())
    }
}

fn part_path(stream: &str, part: u32) -> String {
    format!("streams/{stream}/{part:06}")
}

/// Reads the manifest, and every byte once: a damaged or truncated file is refused before anything is restored from it.
pub(super) fn checked(path: &Path) -> anyhow::Result<Manifest> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut archive = tar::Archive::new(file);
    let mut sums: Vec<(String, u32, u64, Sha256)> = Vec::new();
    let mut manifest: Option<Manifest> = None;
    for entry in archive.entries()? {
        let mut entry = entry.with_context(|| format!("{} is no backup", path.display()))?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if name == MANIFEST {
            let mut json = String::new();
            entry.read_to_string(&mut json)?;
            manifest = Some(serde_json::from_str(&json).with_context(|| MANIFEST)?);
        } else if let Some((stream, _)) = name
            .strip_prefix("streams/")
            .and_then(|rest| rest.split_once('/'))
        {
            if sums.last().is_none_or(|(last, ..)| last != stream) {
                sums.push((stream.to_owned(), 0, 0, Sha256::new()));
            }
            if let Some((_, parts, bytes, hash)) = sums.last_mut() {
                *parts += 1;
                *bytes += entry.size();
                hash_all(&mut entry, hash)?;
            }
        }
    }
    let manifest = manifest.with_context(|| {
        format!(
            "{} has no {MANIFEST} at its end: it was cut off, or is no backup of Waybill",
            path.display()
        )
    })?;
    ensure!(
        manifest.format == FORMAT,
        "{} has format {}, this version reads {FORMAT}: restore it with Waybill {}",
        path.display(),
        manifest.format,
        manifest.waybill
    );
    for stream in &manifest.streams {
        let name = &stream.archived.name;
        let found = sums.iter().position(|(of, ..)| of == name);
        let Some(found) = found else {
            ensure!(
                stream.parts == 0,
                "{} lacks the bytes of {name}",
                path.display()
            );
            continue;
        };
        let (_, parts, bytes, hash) = sums.swap_remove(found);
        let is_whole = parts == stream.parts
            && bytes == stream.bytes
            && hex::encode(hash.finalize()) == stream.sha256;
        ensure!(
            is_whole,
            "{} is damaged: the bytes of {name} are not those that were written",
            path.display()
        );
    }
    Ok(manifest)
}

fn hash_all(from: &mut impl Read, hash: &mut Sha256) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// What a restore reads from the file, in order.
pub(super) enum Item {
    /// Some bytes of a stream.
    Part { stream: String, bytes: Vec<u8> },
    /// A secret file.
    Secret {
        name: String,
        bytes: zeroize::Zeroizing<Vec<u8>>,
    },
}

/// Opens a file that was checked.
pub(super) fn open(path: &Path) -> anyhow::Result<tar::Archive<File>> {
    Ok(tar::Archive::new(
        File::open(path).with_context(|| path.display().to_string())?,
    ))
}

/// What an entry is; `None` for the manifest.
pub(super) fn item(entry: &mut tar::Entry<'_, File>) -> anyhow::Result<Option<Item>> {
    let name = entry.path()?.to_string_lossy().into_owned();
    if name == MANIFEST {
        return Ok(None);
    }
    if let Some((stream, _)) = name
        .strip_prefix("streams/")
        .and_then(|rest| rest.split_once('/'))
    {
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        return Ok(Some(Item::Part {
            stream: stream.to_owned(),
            bytes,
        }));
    }
    let secret = name.strip_prefix("secrets/").filter(|name| {
        // The name becomes a path in the folder of secrets: only a plain one may.
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    let Some(secret) = secret else {
        bail!("the backup holds {name:?}, which this version does not know");
    };
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    entry.take(SECRET_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(Item::Secret {
        name: secret.to_owned(),
        bytes,
    }))
}

//! The secrets of a server: the pepper under which API keys are hashed, the master secret from which each team's webhook secret is
//! derived, and the key that signs checkpoints of the activity log. From the environment, or from files in the data folder that only its owner can read.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rustix::fs::OFlags;
use waybill_commands::Pepper;
use waybill_domain::audit::NotaryKey;
use waybill_domain::signature::MasterSecret;
use waybill_identity::SessionSecret;
use zeroize::Zeroizing;

use crate::config::environment;
use crate::ownership::Owner;

/// Bytes of a fresh secret.
const SECRET_BYTES: usize = 32;
/// Which pepper this is; a second one comes with rotation.
const PEPPER_VERSION: u32 = 1;

/// The variable that holds the master secret of webhook signatures.
const WEBHOOK_MASTER: &str = "WAYBILL_WEBHOOK_MASTER";
/// The variable that holds the seed of the key that signs checkpoints.
const NOTARY_KEY: &str = "WAYBILL_NOTARY_KEY";

/// What to do about a missing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make one: the embedded server's first start.
    Create,
    /// Refuse: roles that run apart must all have the same.
    Refuse,
}

/// The pepper of API keys.
pub(crate) fn pepper(data: &Path, missing: Missing) -> anyhow::Result<Pepper> {
    let bytes = secret(data, "pepper", "WAYBILL_PEPPER", missing)?;
    Ok(Pepper::new(PEPPER_VERSION, bytes)?)
}

/// The secret of sessions. Without one of its own a deployment derives it from the pepper, which all of its gateways have.
pub(crate) fn session(data: &Path, missing: Missing) -> anyhow::Result<Option<SessionSecret>> {
    let (name, variable) = ("session", "WAYBILL_SESSION_SECRET");
    let given = environment(variable).is_some() || data.join("secrets").join(name).exists();
    if !given && missing == Missing::Refuse {
        return Ok(None);
    }
    let bytes = secret(data, name, variable, missing)?;
    Ok(Some(SessionSecret::new(bytes)?))
}

/// The master secret of webhook signatures.
pub(crate) fn webhook_master(data: &Path, missing: Missing) -> anyhow::Result<MasterSecret> {
    let bytes = secret(data, "webhook-master", WEBHOOK_MASTER, missing)?;
    Ok(MasterSecret::new(bytes)?)
}

/// The master secret of a gateway, which shows teams their secrets. A gateway of its own may run without it.
pub(crate) fn webhook_master_of_gateway(
    data: &Path,
    missing: Missing,
) -> anyhow::Result<Option<MasterSecret>> {
    let is_given =
        environment(WEBHOOK_MASTER).is_some() || data.join("secrets/webhook-master").exists();
    if missing == Missing::Refuse && !is_given {
        return Ok(None);
    }
    webhook_master(data, missing).map(Some)
}

/// The key that signs checkpoints of the activity log, under that name. `None`: this process is no notary, which is optional.
pub(crate) fn notary(
    data: &Path,
    missing: Missing,
    name: &str,
) -> anyhow::Result<Option<NotaryKey>> {
    let is_given = environment(NOTARY_KEY).is_some() || data.join("secrets/notary").exists();
    if missing == Missing::Refuse && !is_given {
        return Ok(None);
    }
    let seed = Zeroizing::new(secret(data, "notary", NOTARY_KEY, missing)?);
    let key = NotaryKey::new(name, &seed).with_context(|| NOTARY_KEY)?;
    Ok(Some(key))
}

/// A secret by its file below `secrets`, or by its variable.
pub(crate) fn secret(
    data: &Path,
    name: &str,
    variable: &str,
    missing: Missing,
) -> anyhow::Result<Vec<u8>> {
    if let Some(text) = environment(variable) {
        return parse(&text).with_context(|| {
            format!("{variable} must be at least {SECRET_BYTES} random bytes in hex")
        });
    }
    let dir = data.join("secrets");
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let mode = fs::metadata(&path)?.permissions().mode();
            ensure!(
                mode & 0o077 == 0,
                "{} can be read by others; chmod 600 it",
                path.display()
            );
            parse(&text)
                .with_context(|| format!("{} must hold random bytes in hex", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if missing == Missing::Refuse {
                bail!(
                    "set {variable} to {SECRET_BYTES} random bytes in hex, the same for every process, or put them into {}",
                    path.display()
                );
            }
            let mut bytes = vec![0; SECRET_BYTES];
            getrandom::fill(&mut bytes)
                .map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
            write_private(&path, hex::encode(&bytes).as_bytes())?;
            Ok(bytes)
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn parse(text: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = hex::decode(text.trim()).map_err(|_| anyhow::anyhow!("not hex"))?;
    ensure!(
        bytes.len() >= SECRET_BYTES,
        "{} bytes are too few",
        bytes.len()
    );
    Ok(bytes)
}

/// Writes a file that only its owner can read; whole and on disk, or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let owner = make_folder(dir).with_context(|| dir.display().to_string())?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(no_links())
        .open(&partial)
        .with_context(|| partial.display().to_string())?;
    if let Some(owner) = owner {
        owner.takes(&file)?;
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(())
}

/// Creates a folder if it is missing. Returns the owner of what root makes in it, if the folder belongs to somebody else.
fn make_folder(dir: &Path) -> std::io::Result<Option<Owner>> {
    let named = dir.ancestors().filter(|dir| !dir.as_os_str().is_empty());
    let missing: Vec<&Path> = named.take_while(|dir| !dir.is_dir()).collect();
    let there = dir.ancestors().find(|dir| dir.is_dir());
    let owner = Owner::other_than_root(there.unwrap_or(Path::new(".")))?;
    fs::create_dir_all(dir)?;
    if let Some(owner) = owner {
        for made in missing {
            owner.takes(&fs::File::open(made)?)?;
        }
    }
    Ok(owner)
}

/// Flags of an open that follows no link: the owner of the folder must not choose which file root writes.
fn no_links() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_private() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(secret(dir.path(), "s", "WAYBILL_TEST_NO_SUCH", Missing::Refuse).is_err());
        let first = secret(dir.path(), "s", "WAYBILL_TEST_NO_SUCH", Missing::Create).expect("made");
        let again = secret(dir.path(), "s", "WAYBILL_TEST_NO_SUCH", Missing::Refuse).expect("read");
        assert_eq!(first, again);
        let path = dir.path().join("secrets/s");
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o777,
            0o600
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(secret(dir.path(), "s", "WAYBILL_TEST_NO_SUCH", Missing::Create).is_err());
    }

    #[test]
    fn a_notary_signs_only_where_its_key_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let key = |missing| notary(dir.path(), missing, "waybill/test").expect("readable");
        assert!(key(Missing::Refuse).is_none(), "nobody is made a notary");
        let made = key(Missing::Create).expect("made at the first start");
        let again = key(Missing::Refuse).expect("there");
        assert_eq!(made.public(), again.public());
        let path = dir.path().join("secrets/notary");
        write_private(&path, "00".repeat(33).as_bytes()).expect("ours");
        let error = notary(dir.path(), Missing::Refuse, "waybill/test").expect_err("refused");
        assert!(
            format!("{error:#}").contains("32 bytes, not 33"),
            "{error:#}"
        );
    }
}

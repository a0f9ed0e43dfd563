//! `waybill audit verify`: an export, or the log itself.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use waybill_domain::audit::verify::{ExportCheck, LogCheck, Report};
use waybill_domain::audit::{TreeId, TrustedKeys};
use waybill_domain::trust::Void;
use waybill_log::{Checkpoints, Log, MAX_BATCH, Stream, StreamSeq};
use waybill_worker::{Clock, SystemClock};

use super::{Failed, kept, keys, report};
use crate::args::VerifyLog;
use crate::config::Config;
use crate::output;
use crate::running_server::{self, eprint_line};

/// Checkpoints read at a time. One may carry half a MiB of leaves.
const CHECKPOINTS_AT_A_TIME: usize = 50;
const NANOS_PER_MILLI: i64 = 1_000_000;
/// Ignored records that are reported one by one; further ones are only counted.
const MAX_VOIDS_REPORTED: u64 = 20;

pub(super) async fn run(config: &mut Config, options: &VerifyLog) -> Result<ExitCode, Failed> {
    running_server::locate(config, &options.at);
    let keys = keys(config, options.keys.as_deref())?;
    let older = kept(options)?;
    let found = match &options.export {
        Some(file) => export(file, &keys, older.as_deref()).map_err(Failed::Incomplete)?,
        None => log(config, options, &keys, older.as_deref())
            .await
            .map_err(Failed::Incomplete)?,
    };
    if let (Some(file), Some(note)) = (&options.write_checkpoint, &found.trusted) {
        write_whole(file, note).map_err(Failed::Incomplete)?;
    }
    let mut told = Vec::new();
    report::print(&mut told, &found, options.json).map_err(Failed::incomplete)?;
    output::tell_verdict(&String::from_utf8_lossy(&told)).map_err(Failed::incomplete)?;
    Ok(ExitCode::from(found.outcome.exit_code()))
}

/// Written completely and synced, or not at all: half a checkpoint would be useless the next time.
fn write_whole(file: &Path, text: &str) -> anyhow::Result<()> {
    let partial = file.with_extension("partial");
    let mut written = File::create(&partial).with_context(|| partial.display().to_string())?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(&partial, file).with_context(|| file.display().to_string())
}

/// Reads an export, `-` from standard input.
fn export(file: &Path, keys: &TrustedKeys, older: Option<&str>) -> anyhow::Result<Report> {
    let mut reader: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = File::open(file).with_context(|| file.display().to_string())?;
        Box::new(BufReader::new(opened))
    };
    let mut check = ExportCheck::new(keys, older);
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        let Some((&last, text)) = line.split_last() else {
            break;
        };
        if last != b'\n' {
            check.cut_off();
            break;
        }
        // Bytes that are not UTF-8 cannot be a line of an export; the check then reports the line.
        check.line(&String::from_utf8_lossy(text));
    }
    Ok(check.finish())
}

/// Reads AUDITCP and CONTROL. Checkpoints first, so that CONTROL has all that they cover.
async fn log(
    config: &mut Config,
    options: &VerifyLog,
    keys: &TrustedKeys,
    older: Option<&str>,
) -> anyhow::Result<Report> {
    let log = running_server::connect(config, &options.at).await?;
    let bounds = log.bounds(Stream::Control).await?;
    let mut check = LogCheck::new(keys, bounds.incarnation, older);
    let mut from = StreamSeq(1);
    loop {
        let page = log
            .checkpoints(&TreeId::Control, from, CHECKPOINTS_AT_A_TIME)
            .await?;
        for checkpoint in &page {
            check.checkpoint(&checkpoint.value);
            from = checkpoint.seq.next();
        }
        if page.len() < CHECKPOINTS_AT_A_TIME {
            break;
        }
    }
    let last = log.bounds(Stream::Control).await?.last;
    let mut voids = 0;
    let mut from = StreamSeq(1);
    while from <= last {
        let page = log
            .range(Stream::Control, &[], from, last, MAX_BATCH)
            .await?;
        for record in &page {
            check.event(&record.stored());
            if let Some(void) = record.void() {
                report_void(record.seq, void, voids);
                voids += 1;
            }
            from = record.seq.next();
        }
        if page.len() < MAX_BATCH {
            break;
        }
    }
    if voids > 0 {
        eprint_line(&format!(
            "{voids} records of CONTROL do not count: somebody who may not say it had them stored"
        ));
    }
    let now_ns = SystemClock.now().0.saturating_mul(NANOS_PER_MILLI);
    Ok(check.finish(now_ns))
}

/// Reports a record that is in the log but that no reader trusts.
fn report_void(seq: StreamSeq, void: &Void, told: u64) {
    if told < MAX_VOIDS_REPORTED {
        eprint_line(&format!("position {seq} of CONTROL does not count: {void}"));
    }
}

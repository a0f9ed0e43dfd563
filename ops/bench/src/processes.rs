//! Resource use of processes, as counted by the kernel: CPU time, resident memory and its peak.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

/// The counters of one process at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// User and system time, in seconds.
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_mib: f64,
    pub(crate) peak_rss_mib: f64,
}

/// What one process used over a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Spent {
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
    /// Resident memory at the end.
    pub(crate) rss_mib: f64,
    /// Growth of the resident memory.
    pub(crate) rss_growth_mib: f64,
    pub(crate) peak_rss_mib: f64,
}

/// The current counters of processes and all their descendants.
pub(crate) fn family(roots: &[u32]) -> Result<Vec<Usage>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // A process may have ended since it was listed.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
            && let Some(stat) = Stat::parse(&stat)
        {
            parents.push((pid, stat.parent));
        }
    }
    let mut members = roots.to_vec();
    let mut at = 0;
    while at < members.len() {
        let parent = members[at];
        members.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    members.dedup();
    members.iter().map(|&pid| usage(pid)).collect()
}

/// The current counters of one process.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    let stat = Stat::parse(&stat).with_context(|| format!("/proc/{pid}/stat cannot be read"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    // The kernel's clock tick rate is far below 2^32.
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(Usage {
        pid,
        name: stat.name,
        cpu_seconds: stat.ticks as f64 / per_second,
        rss_mib: mib(&status, "VmRSS:"),
        peak_rss_mib: mib(&status, "VmHWM:"),
    })
}

/// What each process used between two moments. A process that is new counts as a whole.
pub(crate) fn spent(before: &[Usage], after: &[Usage]) -> Vec<Spent> {
    let spent = |now: &Usage| {
        let was = before.iter().find(|usage| usage.pid == now.pid);
        Spent {
            name: now.name.clone(),
            cpu_seconds: now.cpu_seconds - was.map_or(0.0, |usage| usage.cpu_seconds),
            rss_mib: now.rss_mib,
            rss_growth_mib: now.rss_mib - was.map_or(0.0, |usage| usage.rss_mib),
            peak_rss_mib: now.peak_rss_mib,
        }
    };
    after.iter().map(spent).collect()
}

struct Stat {
    name: String,
    parent: u32,
    ticks: u64,
}

impl Stat {
    /// `pid (name) state ppid ...`, see proc(5). A name may contain spaces and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        // Counted from the state, the third field: ppid is the fourth, utime and stime the 14th and 15th.
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            name: name.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            ticks: ticks(11)? + ticks(12)?,
        })
    }
}

fn mib(status: &str, name: &str) -> f64 {
    let kib = status.lines().find_map(|line| {
        line.strip_prefix(name)?
            .trim()
            .strip_suffix(" kB")?
            .parse::<f64>()
            .ok()
    });
    kib.unwrap_or(0.0) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = Stat::parse("7 (a) b (c)) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0")
            .expect("read");
        assert_eq!(
            (stat.name.as_str(), stat.parent, stat.ticks),
            ("a) b (c)", 3, 200)
        );
    }

    #[test]
    fn a_process_has_memory_and_its_children_belong_to_it() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep")
            .arg("20")
            .spawn()
            .expect("a child");
        let family = family(&[own]).expect("read");
        assert!(family[0].rss_mib > 0.1 && family[0].peak_rss_mib >= family[0].rss_mib);
        assert!(family.iter().any(|usage| usage.pid == child.id()));
        child.kill().expect("ended");
        child.wait().expect("waited");
    }

    #[test]
    fn processor_time_is_counted() {
        let own = std::process::id();
        let before = usage(own).expect("read");
        let until = std::time::Instant::now() + std::time::Duration::from_millis(200);
        let mut sum = 0_u64;
        while std::time::Instant::now() < until {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let spent = spent(&[before], &[usage(own).expect("read")]);
        assert!(spent[0].cpu_seconds > 0.02, "{spent:?}");
    }
}

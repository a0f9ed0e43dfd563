//! The request that creates a task, built once and patched for each task: number and queue have a
//! fixed width, so nothing else changes.

use anyhow::{Context, Result};
use waybill_domain::time::Timestamp;

use crate::args::Arguments;
use crate::system::Target;

/// Digits of a task's number, at the start of its body.
pub(crate) const NUMBER_WIDTH: usize = 10;
const QUEUE_WIDTH: usize = 2;
/// Digits of the number of a key, for which this many `%` stand.
pub(crate) const KEY_WIDTH: usize = 4;
/// How many keys there are.
const KEYS: u64 = 1_000;

/// When the tasks are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// At once.
    Now,
    /// At an ISO 8601 time.
    At(String),
    /// Each at a time of its own.
    Each(Dates),
}

/// The dates of tasks that are due one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dates {
    /// Number of the first task.
    pub(crate) first: u64,
    /// When that is due, in milliseconds since 1970.
    pub(crate) from_ms: i64,
    pub(crate) per_second: u32,
}

impl Dates {
    /// When a task is due, in milliseconds since 1970.
    pub(crate) fn of(self, number: u64) -> i64 {
        let after = number.saturating_sub(self.first) * 1_000 / u64::from(self.per_second);
        self.from_ms + i64::try_from(after).unwrap_or(i64::MAX)
    }

    fn text(self, number: u64) -> String {
        Timestamp(self.of(number)).to_rfc3339()
    }
}

/// What the tasks of a load are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tasks<'a> {
    /// The target.
    pub(crate) url: &'a str,
    pub(crate) due: &'a Due,
    /// Further members, each followed by a comma; [`KEY_WIDTH`] times `%` stands for the number of one of a thousand keys.
    pub(crate) members: &'a str,
}

/// A template of the request.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    number_at: usize,
    queue_at: usize,
    queues: u64,
    key_at: Option<usize>,
    dates: Option<(usize, Dates)>,
}

impl Template {
    pub(crate) fn new(
        arguments: &Arguments,
        target: &Target,
        sink: &str,
        due: &Due,
    ) -> Result<Self> {
        let members = "";
        let url = sink;
        Self::of(arguments, target, Tasks { url, due, members })
    }

    pub(crate) fn of(arguments: &Arguments, target: &Target, tasks: Tasks<'_>) -> Result<Self> {
        let Tasks { url, due, members } = tasks;
        let date = match due {
            Due::Now => None,
            Due::At(time) => Some(time.clone()),
            Due::Each(dates) => Some(dates.text(dates.first)),
        };
        let delay = date
            .as_ref()
            .map_or_else(String::new, |time| format!(r#""delayUntil":"{time}","#));
        let headers = target
            .credential
            .as_ref()
            .map_or_else(String::new, |credential| {
                format!(r#""headers":{{"Authorization":"{credential}"}},"#)
            });
        let padding = "x".repeat((arguments.body as usize).saturating_sub(NUMBER_WIDTH));
        let number = "#".repeat(NUMBER_WIDTH);
        // The other products have no queues to spread over, and ignore the name.
        let json = format!(
            r#"{{"targetUrl":"{url}","queue":"bench-@@",{delay}{members}{headers}"body":"{number}{padding}"}}"#
        );
        let path = target.product.path();
        let bytes = target.request("POST", path, &json).into_bytes();
        let find = |mark: &str| {
            bytes
                .windows(mark.len())
                .position(|window| window == mark.as_bytes())
                .context("the request has a place for it")
        };
        let (number_at, queue_at) = (find(&number)?, find("bench-@@")? + "bench-".len());
        let dates = match (due, &date) {
            (Due::Each(dates), Some(date)) => Some((find(date)?, *dates)),
            _ => None,
        };
        Ok(Self {
            number_at,
            queue_at,
            key_at: find(&"%".repeat(KEY_WIDTH)).ok(),
            dates,
            queues: u64::from(arguments.queues),
            bytes,
        })
    }

    /// The request for one task.
    pub(crate) fn patch(&mut self, number: u64) -> &[u8] {
        write_digits(&mut self.bytes[self.number_at..][..NUMBER_WIDTH], number);
        let queue = number % self.queues;
        write_digits(&mut self.bytes[self.queue_at..][..QUEUE_WIDTH], queue);
        if let Some(at) = self.key_at {
            write_digits(&mut self.bytes[at..][..KEY_WIDTH], number % KEYS);
        }
        if let Some((at, dates)) = self.dates {
            let date = dates.text(number);
            self.bytes[at..][..date.len()].copy_from_slice(date.as_bytes());
        }
        &self.bytes
    }
}

fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        // A remainder modulo ten fits into a byte.
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The number in the body of a task. `None` if the body is not ours.
pub(crate) fn number_in(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body.get(..NUMBER_WIDTH)?)
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Product;
    use clap::Parser;

    #[test]
    fn a_request_holds_its_number_and_queue() {
        let arguments = Arguments::parse_from(["waybill-bench", "idle", "--queues", "7"]);
        let target = Target {
            product: Product::Waybill,
            address: ([127, 0, 0, 1], 1).into(),
            key: "k".into(),
            credential: Some("tok_1".into()),
        };
        let due = Due::At("2030-01-01T00:00:00.000Z".into());
        let mut template = Template::new(&arguments, &target, "http://s/", &due).expect("made");
        for number in [0, 1, 41, 1_234_567_890] {
            let text = String::from_utf8(template.patch(number).to_vec()).expect("text");
            let (head, json) = text.split_once("\r\n\r\n").expect("a head and a body");
            assert!(
                head.ends_with(&format!("Content-Length: {}", json.len())),
                "{head}"
            );
            let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
            let body = json["body"].as_str().expect("a body");
            assert_eq!(
                (body.len(), number_in(body.as_bytes())),
                (512, Some(number))
            );
            assert_eq!(json["queue"], format!("bench-{:02}", number % 7));
            assert_eq!(json["delayUntil"], "2030-01-01T00:00:00.000Z");
            assert_eq!(json["headers"]["Authorization"], "tok_1");
        }
    }
    #[test]
    fn a_request_may_have_a_date_and_a_key_of_its_own() {
        let arguments = Arguments::parse_from(["waybill-bench", "idle"]);
        let target = Target {
            product: Product::Waybill,
            address: ([127, 0, 0, 1], 1).into(),
            key: "k".into(),
            credential: None,
        };
        let due = Due::Each(Dates {
            first: 200,
            from_ms: 1_893_456_000_000,
            per_second: 1_000,
        });
        let tasks = Tasks {
            url: "http://s/",
            due: &due,
            members: r#""orderingKey":"order-%%%%","#,
        };
        let mut template = Template::of(&arguments, &target, tasks).expect("made");
        for (number, date, key) in [
            (200, "2030-01-01T00:00:00.000Z", "order-0200"),
            (61_701, "2030-01-01T00:01:01.501Z", "order-0701"),
        ] {
            let text = String::from_utf8(template.patch(number).to_vec()).expect("text");
            let (_, json) = text.split_once("\r\n\r\n").expect("a head and a body");
            let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
            assert_eq!(json["delayUntil"], date);
            assert_eq!(json["orderingKey"], key);
        }
    }
}

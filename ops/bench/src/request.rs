//! The request that creates a task, built once and patched for each task: number and queue have a
//! fixed width, so nothing else changes.

use anyhow::{Context, Result};

use crate::args::Arguments;
use crate::system::Target;

/// Digits of a task's number, at the start of its body.
pub(crate) const NUMBER_WIDTH: usize = 10;
const QUEUE_WIDTH: usize = 2;

/// When the tasks are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// At once.
    Now,
    /// At an ISO 8601 time.
    At(String),
}

/// A template of the request.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    number_at: usize,
    queue_at: usize,
    queues: u64,
}

impl Template {
    pub(crate) fn new(
        arguments: &Arguments,
        target: &Target,
        sink: &str,
        due: &Due,
    ) -> Result<Self> {
        let delay = match due {
            Due::Now => String::new(),
            Due::At(time) => format!(r#""delayUntil":"{time}","#),
        };
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
            r#"{{"targetUrl":"{sink}","queue":"bench-@@",{delay}{headers}"body":"{number}{padding}"}}"#
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
        Ok(Self {
            number_at,
            queue_at,
            bytes,
            queues: u64::from(arguments.queues),
        })
    }

    /// The request for one task.
    pub(crate) fn patch(&mut self, number: u64) -> &[u8] {
        write_digits(&mut self.bytes[self.number_at..][..NUMBER_WIDTH], number);
        let queue = number % self.queues;
        write_digits(&mut self.bytes[self.queue_at..][..QUEUE_WIDTH], queue);
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
}

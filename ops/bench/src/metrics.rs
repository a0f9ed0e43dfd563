//! Compares the system's own metrics before and after a run, for averages inside it.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::http1::Connection;

/// The text of a Prometheus endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) async fn read(address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let answer = connection.exchange(request.as_bytes()).await?;
        ensure!(
            answer.status == 200,
            "the metrics endpoint answers {}",
            answer.status
        );
        let text =
            String::from_utf8(connection.body(answer).to_vec()).context("metrics are text")?;
        Ok(Self(text))
    }

    /// Sum of a metric over all series whose labels contain `label`.
    fn sum(&self, name: &str, label: &str) -> f64 {
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            labels
                .contains(label)
                .then(|| value.trim().parse::<f64>().ok())?
        };
        self.0.lines().filter_map(value).sum()
    }

    /// Average of the values that a histogram recorded since `before`; `None` if it recorded nothing.
    pub(crate) fn mean_since(&self, before: &Self, name: &str, label: &str) -> Option<f64> {
        let grown = |part: &str| {
            let name = format!("{name}_{part}");
            self.sum(&name, label) - before.sum(&name, label)
        };
        let count = grown("count");
        (count > 0.0).then(|| grown("sum") / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_what_was_recorded_between() {
        let before = Metrics(
            "x_sum{stream=\"TASKS\"} 10\nx_count{stream=\"TASKS\"} 2\nx_count_more 9\n".into(),
        );
        let after = Metrics(
            "# TYPE x summary\nx_sum{stream=\"TASKS\"} 40\nx_count{stream=\"TASKS\"} 5\nx_sum{stream=\"CONTROL\"} 7\nx_count{stream=\"CONTROL\"} 1\n".into(),
        );
        assert_eq!(after.mean_since(&before, "x", "TASKS"), Some(10.0));
        assert_eq!(after.mean_since(&after, "x", "TASKS"), None);
        assert_eq!(
            after.mean_since(&Metrics::default(), "x", "CONTROL"),
            Some(7.0)
        );
    }
}

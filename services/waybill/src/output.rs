//! Standard output of commands, whose reader may leave early: `waybill replay ... | head`.

use std::error::Error;
use std::io::{self, ErrorKind, Write};

/// The reader of standard output has closed it. A type of its own, since the connection to NATS can break like a pipe, too.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
struct ReaderLeft;

/// Standard output, whose errors say when its reader has left.
#[derive(Debug)]
pub(crate) struct Output(io::Stdout);

pub(crate) fn stdout() -> Output {
    Output(io::stdout())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(name_the_reader)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(name_the_reader)
    }
}

fn name_the_reader(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => io::Error::new(ErrorKind::BrokenPipe, ReaderLeft),
        _ => error,
    }
}

/// Whether a command ended because of that.
pub(crate) fn reader_left(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(is_reader_left)
    })
}

fn is_reader_left(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(<dyn Error + Send + Sync>::is::<ReaderLeft>)
}

/// Prints a verdict that the exit code repeats, so that a closed output is no error.
pub(crate) fn tell_verdict(text: &str) -> io::Result<()> {
    let mut out = stdout();
    let told = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match told {
        Err(error) if is_reader_left(&error) => Ok(()),
        told => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn only_standard_output_has_a_reader_who_leaves() {
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        let left: anyhow::Result<()> = Err(name_the_reader(broken())).context("while printing");
        assert!(reader_left(&left.expect_err("broken")));
        let lost: anyhow::Result<()> = Err(broken()).context("the connection to NATS");
        assert!(!reader_left(&lost.expect_err("broken")));
        let full = name_the_reader(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }
}

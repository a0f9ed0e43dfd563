//! A publisher that sends arbitrary bytes to nats-server, which no client library would.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Header blocks that the server stores but client libraries cannot parse, so that they close the
/// connection.
pub const MALFORMED_HEADERS: [&[u8]; 4] = [
    b"NATS/1.0\r\nWb-Event: \xff\xfe\r\n\r\n",
    b"NATS/1.0\r\na line without a colon\r\n\r\n",
    b"NATS/1.0\r\nna me: value\r\n\r\n",
    b"HTTP/1.1\r\nWb-Event: hello\r\n\r\n",
];

/// Header blocks that can be parsed, but with another meaning: some with a status, which only
/// messages of the server itself should have (nats-server 2.15 removes it), and one without an end,
/// to which the server appends.
pub const ODD_HEADERS: [&[u8]; 4] = [
    b"NATS/1.0 9x9\r\nWb-Event: hello\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0\r\nWb-Event: hello",
];

/// Stores a message with these headers through the server at a local port, and returns its
/// sequence.
pub async fn store(port: u16, subject: &[u8], headers: &[u8], payload: &[u8]) -> Result<u64> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = BufReader::new(stream);
    let mut sent = br#"CONNECT {"verbose":false,"headers":true,"no_responders":true}"#.to_vec();
    sent.extend_from_slice(b"\r\nSUB raw.answer 1\r\nHPUB ");
    sent.extend_from_slice(subject);
    let (of_headers, of_all) = (headers.len(), headers.len() + payload.len());
    sent.extend_from_slice(format!(" raw.answer {of_headers} {of_all}\r\n").as_bytes());
    sent.extend_from_slice(headers);
    sent.extend_from_slice(payload);
    sent.extend_from_slice(b"\r\n");
    stream.write_all(&sent).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        if line.starts_with("-ERR") || line.starts_with("HMSG") {
            bail!("the server says {line}");
        }
        if let Some(length) = line.trim_end().strip_prefix("MSG raw.answer 1 ") {
            let mut answer = vec![0; length.parse()?];
            stream.read_exact(&mut answer).await?;
            let answer = String::from_utf8(answer)?;
            let (_, seq) = answer.split_once("\"seq\":").context(answer.clone())?;
            let digits = seq.trim_start().split(|c: char| !c.is_ascii_digit());
            return Ok(digits.into_iter().next().unwrap_or_default().parse()?);
        }
        line.clear();
    }
    bail!("the server ended the connection")
}

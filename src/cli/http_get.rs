//! One GET over plain HTTP/1.1: what commands that ask a running daemon need of a client.
//!
//! Decides: that a request ends, with an answer or without.
//! Deliberately absent: TLS, redirects, keep-alive, chunked bodies; it talks to our own
//! servers on this machine.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Status and body of `http://{authority}{path}`.
///
/// # Errors
/// When there is no answer within `limit`, or it is no HTTP.
pub(super) async fn http_get(
    authority: &str,
    path: &str,
    limit: Duration,
) -> anyhow::Result<(u16, String)> {
    tokio::time::timeout(limit, exchange(authority, path))
        .await
        .with_context(|| format!("no answer from {authority} within {limit:?}"))?
        .with_context(|| format!("cannot get http://{authority}{path}"))
}

async fn exchange(authority: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("the answer is no HTTP");
    };
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.context("the answer has no status")?;
    Ok((status, body.to_owned()))
}

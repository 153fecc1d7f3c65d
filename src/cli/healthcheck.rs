//! `healthcheck`: asks the daemon in the same container whether it lives.
//!
//! Decides: healthy is a 200 from `/healthz` within three seconds; a daemon that listens on
//! every address is asked on loopback.
//! Deliberately absent: an HTTP client (a status line is all that is read), TLS, readiness
//! (a daemon that waits for AWS must not be restarted for it).

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Below every container platform's own limit for a health check (ECS: 2 s at least, 5 s by
/// default), so that the reason is printed before the check is killed.
const LIMIT: Duration = Duration::from_secs(3);

/// The answer is read up to here: its head and a line of text.
const MOST_BYTES: u64 = 4096;

/// Whether the daemon that listens on `address` is alive; if not, the reason is printed on
/// stderr.
///
/// # Errors
/// When the reason cannot be printed.
pub async fn run(address: SocketAddr) -> anyhow::Result<bool> {
    let Err(reason) = check(reachable(address), LIMIT).await else {
        return Ok(true);
    };
    writeln!(std::io::stderr(), "unhealthy: {reason:#}").context("cannot write to stderr")?;
    Ok(false)
}

/// Where a listener on `address` can be reached from the same host.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        named @ (IpAddr::V4(_) | IpAddr::V6(_)) => named,
    };
    SocketAddr::new(ip, address.port())
}

async fn check(address: SocketAddr, limit: Duration) -> anyhow::Result<()> {
    let answer = tokio::time::timeout(limit, ask(address))
        .await
        .with_context(|| format!("no answer from {address} within {} s", limit.as_secs_f64()))??;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split_whitespace().nth(1).unwrap_or_default();
    if text.starts_with("HTTP/1.") && status == "200" {
        return Ok(());
    }
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    anyhow::bail!("{address} answered {status:?}: {}", body.trim())
}

async fn ask(address: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .with_context(|| format!("cannot ask {address}"))?;
    let mut answer = Vec::new();
    stream
        .take(MOST_BYTES)
        .read_to_end(&mut answer)
        .await
        .with_context(|| format!("cannot read the answer of {address}"))?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn against(answer: &'static str) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // All of it: closing with unread bytes would reset the connection.
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut asked).await.unwrap();
            }
            assert!(asked.starts_with(b"GET /healthz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (result, ()) = tokio::join!(check(address, LIMIT), server);
        result
    }

    #[tokio::test]
    async fn only_a_200_is_healthy() {
        against("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        let error =
            against("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nslow").await;
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.ends_with("answered \"503\": slow"), "{error}");
        let error = format!("{:#}", against("SSH-2.0-200 200").await.unwrap_err());
        assert!(error.contains("answered"), "{error}");
    }

    #[tokio::test]
    async fn nobody_listening_is_unhealthy_and_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = format!("{:#}", check(address, LIMIT).await.unwrap_err());
        assert!(
            error.starts_with(&format!("cannot connect to {address}")),
            "{error}"
        );
        assert!(!run(address).await.unwrap());
    }

    #[tokio::test]
    async fn a_daemon_that_accepts_and_says_nothing_is_unhealthy() {
        // The kernel accepts for a listener that never does.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let error = check(address, Duration::from_millis(20)).await.unwrap_err();
        assert!(error.to_string().contains("within 0.02 s"), "{error}");
    }

    #[test]
    fn every_address_is_asked_on_loopback() {
        let asked = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(asked("[::]:9464"), "[::1]:9464");
        assert_eq!(asked("10.0.0.7:1"), "10.0.0.7:1");
    }
}

//! Connections: how many, for how long, and what happens to them at the end.
//!
//! Decides: a connection carries one request and is over after fifteen seconds whatever the
//! client does, so a slow or silent client can hold nothing; beyond a number of connections
//! new ones wait in the kernel's queue.
//! Deliberately absent: keep-alive (a scrape every few seconds does not need it, and limits
//! are simpler without), HTTP/2, TLS.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Shared, router};

/// A request's head comes in one packet; this is for very bad networks.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// For all of a connection. The largest page, the metrics of a thousand views, is about
/// 2.5 MB; Prometheus itself gives up after 10 s.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15);
/// What requests get to end once the server is told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Far below the usual limit of 1,024 open files.
const MOST_CONNECTIONS: usize = 128;
/// After a failed accept (out of file descriptors), so as not to spin.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Answers on `listener` until `shutdown`, and then gives running requests a second.
///
/// # Errors
/// When the code behind a route panics: then nothing it says can be trusted, and the process
/// should end.
pub async fn serve(
    listener: TcpListener,
    shared: Shared,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let routes = router(shared);
    let mut connections = JoinSet::new();
    loop {
        // The end goes first; finished connections make room for new ones.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => check(ended)?,
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                match accepted {
                    Ok((stream, _)) => {
                        let stop = shutdown.clone();
                        connections.spawn(converse(stream, routes.clone(), stop));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                }
            }
        }
    }
    drop(listener);
    let last_answers = async {
        while let Some(ended) = connections.join_next().await {
            check(ended)?;
        }
        Ok(())
    };
    // What is not finished by then is aborted with the set.
    tokio::time::timeout(LAST_ANSWERS, last_answers)
        .await
        .unwrap_or(Ok(()))
}

async fn converse<S>(stream: S, routes: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let conversation = async {
        let mut connection = pin!(connection);
        // An answer that is ready goes out before the end is looked at.
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match tokio::time::timeout(CONNECTION_LIMIT, conversation).await {
        Ok(Ok(())) => {}
        // The client's affair: it went away, was too slow, or speaks no HTTP.
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended badly"),
        Err(_) => tracing::debug!("a connection took too long"),
    }
}

fn check(ended: Result<(), JoinError>) -> io::Result<()> {
    ended.map_err(|error| io::Error::other(format!("a request ended the server: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::net::TcpStream;

    use super::*;
    use crate::http::tests::House;

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_over_a_socket_beside_a_silent_client_and_ends_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let house = House::new();
        let end = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, house.shared.clone(), end.clone()));

        let silent = TcpStream::connect(address).await.unwrap();
        let answer = ask(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        let answer = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.ends_with("\r\n\r\n"), "a head has no body: {answer}");
        assert!(crate::cli::healthcheck::run(address).await.unwrap());

        end.cancel();
        tasks.join_next().await.unwrap().unwrap().unwrap();
        drop(silent);
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let house = House::with_token("t");
        let mut tasks = JoinSet::new();
        let end = CancellationToken::new();
        tasks.spawn(serve(listener, house.shared.clone(), end.clone()));
        let head = "POST /api/v1/views/orders/refresh HTTP/1.1\r\nHost: a\r\n\
                    Authorization: Bearer t\r\nContent-Length: 10241\r\n\r\n";
        let answer = ask(address, &(head.to_owned() + &"x".repeat(10_241))).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        end.cancel();
        tasks.join_next().await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_panic_behind_a_route_ends_the_server_with_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut shared = House::new().shared;
        shared.now = Arc::new(|| panic!("no clock"));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, shared, CancellationToken::new()));
        let answer = ask(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer, "");
        let error = tasks.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains("no clock"), "{error}");
    }

    /// A connection without a socket, so that its clock can be paused.
    fn connection(buffer: usize) -> (DuplexStream, JoinSet<()>) {
        let (client, server) = tokio::io::duplex(buffer);
        let mut tasks = JoinSet::new();
        let routes = router(House::new().shared);
        tasks.spawn(converse(server, routes, CancellationToken::new()));
        (client, tasks)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_finish_its_head_is_cut_off() {
        let (mut client, mut tasks) = connection(1_024);
        client.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        let ended = tokio::time::timeout(HEAD_LIMIT * 2, tasks.join_next()).await;
        ended.unwrap().unwrap().unwrap();
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_is_cut_off() {
        let (mut client, mut tasks) = connection(64);
        let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        let ended = tokio::time::timeout(CONNECTION_LIMIT * 2, tasks.join_next()).await;
        ended.unwrap().unwrap().unwrap();
        drop(client);
    }
}

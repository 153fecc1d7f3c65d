//! The lab alone, for tests and for trying it: `serve [--listen ADDR] [--world FILE]`. Prints
//! `listening on http://ADDR` once it is ready, and ends when its standard input is closed.

use std::error::Error;
use std::io::{Read, Write};

use tidekeeper_lab::{World, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut listen, mut world) = ("127.0.0.1:0".to_owned(), World::sample());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--listen" => listen = value,
            "--world" => world = World::from_toml(&std::fs::read_to_string(&value)?, &value)?,
            _ => return Err(format!("{argument} is unknown").into()),
        }
    }
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    serve(world, listener, end_of_input()).await?;
    // Standard input is read on a thread of its own, which may outlive the server.
    std::process::exit(0)
}

async fn end_of_input() {
    let (done, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let read = std::io::stdin().read_to_end(&mut Vec::new());
        drop(done.send(read));
    });
    drop(wait.await);
}

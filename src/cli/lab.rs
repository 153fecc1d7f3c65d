//! `tidekeeper lab`: the local warehouse alone.
//!
//! Decides: where it listens and when it ends. What it is, is the lab's own business.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tidekeeper_lab::World;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::shutdown;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8439")]
    listen: String,
    /// The streams, producers, views, timings and faults (docs/lab.md); a sample if absent.
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
    /// End when standard input is closed.
    #[arg(long)]
    until_eof: bool,
}

pub(super) async fn run(args: Args, stdout: &mut impl Write) -> anyhow::Result<ExitCode> {
    let world = match &args.world {
        None => World::sample(),
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
            World::from_toml(&text, &name)?
        }
    };
    let listener = TcpListener::bind(&args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    tidekeeper_lab::serve(world, listener, ended(args.until_eof)).await?;
    Ok(ExitCode::SUCCESS)
}

/// Resolves when the lab is to end: a signal, or the end of standard input where asked for.
async fn ended(until_eof: bool) {
    let input = async {
        if !until_eof {
            return std::future::pending().await;
        }
        let mut bytes = [0_u8; 64];
        let mut stdin = tokio::io::stdin();
        while stdin.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    tokio::select! {
        biased;
        () = shutdown::terminated() => {}
        () = input => {}
    }
}

//! `tidekeeper lab`: the local warehouse alone.
//!
//! Decides: where it listens and when it ends. What it is, is the lab's own business.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tidekeeper_lab::{Lab, Place, World};
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
    /// Keep streams, views and positions in this file, and go on from what is in it.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// End when standard input is closed.
    #[arg(long)]
    until_eof: bool,
}

pub(super) async fn run(args: Args, stdout: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut world = match &args.world {
        None => World::sample(),
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
            World::from_toml(&text, &name)?
        }
    };
    if let Some(file) = args.data {
        world = world.with_data(file);
    }
    let places = world.places();
    let lab = Lab::open(&world)?;
    let listener = TcpListener::bind(&args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let url = format!("http://{}", listener.local_addr()?);
    writeln!(stdout, "listening on {url}")?;
    stdout.flush()?;
    write_guide(&mut std::io::stderr().lock(), &url, &places)?;
    lab.serve(listener, ended(args.until_eof)).await?;
    Ok(ExitCode::SUCCESS)
}

/// How to point an SDK, the AWS CLI and the daemon at the lab.
fn write_guide(to: &mut impl Write, url: &str, places: &[Place]) -> std::io::Result<()> {
    let Some(place) = places.first() else {
        return Ok(());
    };
    let (option, key) = if place.workgroup {
        ("--workgroup-name", "workgroup")
    } else {
        ("--cluster-identifier", "cluster")
    };
    let (name, database) = (&place.warehouse, &place.database);
    write!(
        to,
        "
Any SDK, and the AWS CLI (any credentials and any Region will do):
  export AWS_ENDPOINT_URL_REDSHIFT_DATA={url} AWS_ENDPOINT_URL_KINESIS={url}
  export AWS_ACCESS_KEY_ID=lab AWS_SECRET_ACCESS_KEY=lab AWS_REGION=us-east-1
  aws redshift-data execute-statement {option} {name} --database {database} \\
      --sql 'SELECT schema_name, name FROM svv_mv_info'

The daemon:
  [warehouses.{name}]
  {key} = \"{name}\"
  database = \"{database}\"
  region = \"us-east-1\"
  endpoint_url = \"{url}\"

"
    )
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

//! `tidekeeper demo`: the lab and the unmodified daemon, each a child process of this binary,
//! talking over real sockets; then what the lab saw.
//!
//! Decides: the sample views and their targets (`tidekeeper.toml` beside this file).
//! Deliberately absent: any way for the daemon to know that it is in a demo.

mod summary;

use std::io::{IsTerminal as _, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

use self::summary::{History, Summary, Views};
use super::http_get::http_get;
use crate::clock::{Clock, duration};
use crate::config;

const WORLD: &str = tidekeeper_lab::DEMO_WORLD;
const CONFIG: &str = include_str!("tidekeeper.toml");
/// The daemon's usual address; a free port if it is taken.
const LISTEN: &str = "127.0.0.1:9464";
const START_LIMIT: Duration = Duration::from_secs(30);
/// The daemon drains for 25 s at most.
const STOP_LIMIT: Duration = Duration::from_secs(40);
const ASK_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long to run.
    #[arg(long = "for", value_name = "DUR", default_value = "60s", value_parser = config::parse_duration)]
    duration: Duration,
    /// Print the summary as one JSON object, and nothing else.
    #[arg(long)]
    json: bool,
    /// Write what the lab saw, statement by statement, to this file.
    #[arg(long, value_name = "FILE")]
    history: Option<std::path::PathBuf>,
}

pub(super) async fn run(args: Args, stdout: &mut impl Write) -> anyhow::Result<ExitCode> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let mut lab = Lab::start(dir.path()).await?;
    let mut daemon = Daemon::start(dir.path(), &lab.address).await?;
    if !args.json {
        writeln!(stdout, "lab     http://{}/__lab/history", lab.address)?;
        writeln!(
            stdout,
            "daemon  http://{}/  /metrics  /healthz\n",
            daemon.address
        )?;
        stdout.flush()?;
    }
    let views = daemon.watch(args.duration, args.json, stdout).await?;
    daemon.stop().await?;
    let (_, history) = http_get(&lab.address, "/__lab/history", ASK_LIMIT).await?;
    lab.stop().await?;
    if let Some(path) = &args.history {
        std::fs::write(path, &history).with_context(|| path.display().to_string())?;
    }
    let history: History = serde_json::from_str(&history).context("the lab's history")?;
    let targets = targets(&views);
    let summary = Summary::new(args.duration.as_secs_f64(), &targets, &history, &views);
    if args.json {
        serde_json::to_writer(&mut *stdout, &summary)?;
        writeln!(stdout)?;
    } else {
        writeln!(stdout, "\n{summary}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn targets(views: &Views) -> Vec<(String, f64)> {
    views
        .views
        .iter()
        .filter_map(|view| Some((view.view.clone(), view.target_lag_seconds?)))
        .collect()
}

/// The lab, ended when its standard input closes.
struct Lab {
    child: Child,
    stdin: Option<ChildStdin>,
    address: String,
}

impl Lab {
    async fn start(dir: &Path) -> anyhow::Result<Self> {
        let world = dir.join("world.toml");
        std::fs::write(&world, WORLD)?;
        let mut child = this_program()?
            .args(["lab", "--until-eof", "--listen", "127.0.0.1:0", "--world"])
            .arg(world)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the lab")?;
        let stdout = child.stdout.take().context("the lab has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(START_LIMIT, lines.next_line())
            .await
            .context("the lab does not start")??
            .context("the lab ended at once")?;
        let address = line
            .strip_prefix("listening on http://")
            .with_context(|| format!("the lab said `{line}`"))?
            .to_owned();
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            address,
        })
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        timeout(STOP_LIMIT, self.child.wait())
            .await
            .context("the lab does not end")??;
        Ok(())
    }
}

struct Daemon {
    child: Child,
    address: String,
    log: std::path::PathBuf,
}

impl Daemon {
    async fn start(dir: &Path, lab: &str) -> anyhow::Result<Self> {
        let address = free_address().await?;
        let path = dir.join("tidekeeper.toml");
        let log = dir.join("daemon.log");
        std::fs::write(
            &path,
            CONFIG.replace("{lab}", lab).replace("{listen}", &address),
        )?;
        let child = this_program()?
            .args(["run", "--config"])
            .arg(path)
            .env("AWS_ACCESS_KEY_ID", "demo")
            .env("AWS_SECRET_ACCESS_KEY", "demo")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("cannot start the daemon")?;
        let mut daemon = Self {
            child,
            address,
            log,
        };
        daemon.ready().await?;
        Ok(daemon)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let clock = Clock::start();
        let until = clock.now() + crate::clock::span(START_LIMIT);
        while clock.now() < until {
            self.alive()?;
            if let Ok((200, _)) = http_get(&self.address, "/readyz", ASK_LIMIT).await {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("the daemon does not get ready\n{}", self.last_words())
    }

    fn alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon ended with {status}\n{}", self.last_words());
        }
        Ok(())
    }

    /// Shows how the views do until the time is over; gives their last state.
    async fn watch(
        &mut self,
        length: Duration,
        quiet: bool,
        stdout: &mut impl Write,
    ) -> anyhow::Result<Views> {
        let clock = Clock::start();
        let until = clock.now() + crate::clock::span(length);
        let live = std::io::stdout().is_terminal();
        let mut lines_above = 0;
        let mut seconds = 0_u64;
        loop {
            let (_, body) = http_get(&self.address, "/api/v1/views", ASK_LIMIT).await?;
            let views: Views = serde_json::from_str(&body).context("the daemon's views")?;
            if !quiet && live {
                lines_above = redraw(stdout, &views, lines_above)?;
            } else if !quiet && seconds.is_multiple_of(10) {
                plain(stdout, &views, seconds)?;
            }
            let left = duration(until - clock.now());
            if left.is_zero() {
                return Ok(views);
            }
            self.alive()?;
            sleep(left.min(Duration::from_secs(1))).await;
            seconds += 1;
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(pid.context("the daemon has ended")?, Signal::TERM)?;
        let status = timeout(STOP_LIMIT, self.child.wait())
            .await
            .context("the daemon does not drain")??;
        if !status.success() {
            bail!("the daemon ended with {status}\n{}", self.last_words());
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

fn this_program() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.kill_on_drop(true);
    Ok(command)
}

/// The usual address if nobody listens there, else a free port.
async fn free_address() -> anyhow::Result<String> {
    let usual = tokio::net::TcpListener::bind(LISTEN).await;
    let listener = match usual {
        Ok(listener) => listener,
        Err(_) => tokio::net::TcpListener::bind("127.0.0.1:0").await?,
    };
    Ok(listener.local_addr()?.to_string())
}

/// One line a view, over the lines drawn before.
fn redraw(stdout: &mut impl Write, views: &Views, above: usize) -> std::io::Result<usize> {
    if above > 0 {
        write!(stdout, "\x1b[{above}A")?;
    }
    for view in &views.views {
        let bar = lag_bar(view.clock_lag_seconds, view.target_lag_seconds);
        let mark = if view.infeasible { "  infeasible" } else { "" };
        writeln!(
            stdout,
            "\x1b[2K{:<22} {:<10} {bar} {:>4} refreshes{mark}",
            view.view, view.state, view.refreshes
        )?;
    }
    stdout.flush()?;
    Ok(views.views.len())
}

/// Lag against target, twenty characters to the target.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=25"
)]
fn lag_bar(lag: Option<f64>, target: Option<f64>) -> String {
    let (Some(lag), Some(target)) = (lag, target) else {
        return format!("{:<27}", "no data yet");
    };
    let filled = (20.0 * lag / target).clamp(0.0, 25.0) as usize;
    let bar: String = (0..25)
        .map(|i| match (i < filled, i == 19) {
            (true, _) => '█',
            (false, true) => '│',
            (false, false) => '·',
        })
        .collect();
    format!("{bar} {lag:5.1}s of {target:>2}s")
}

fn plain(stdout: &mut impl Write, views: &Views, seconds: u64) -> std::io::Result<()> {
    for view in &views.views {
        let lag = view
            .clock_lag_seconds
            .map_or_else(|| "-".to_owned(), |lag| format!("{lag:.1}s"));
        let target = view.target_lag_seconds.unwrap_or_default();
        writeln!(
            stdout,
            "{seconds:>4}s {:<22} {:<10} lag {lag} of {target}s, {} refreshes",
            view.view, view.state, view.refreshes
        )?;
    }
    stdout.flush()
}

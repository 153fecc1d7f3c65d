//! A running daemon: the only place where everything meets.
//!
//! Decides: what is started and ended in which order, and what a reload may change.
//! Deliberately absent: decisions about views (the scheduler), about files (config).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use anyhow::Context as _;
use tidekeeper_scheduler::{
    Event, Origin, Phase, ScheduleId, Scheduler, Snapshot, Span, ViewId, WarehouseId,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::calendar::{self, CalendarTick, CronEdges};
use crate::clock::{self, Clock};
use crate::config::{self, Config, Environment, Loaded, Source};
use crate::dependants::{self, Parents, Place};
use crate::fleet::Fleet;
use crate::http;
use crate::metrics::Metrics;
use crate::notices::NoticeLog;
use crate::observe::{Observer, Rehearsal};
use crate::report::Reporter;
use crate::run_loop::RunLoop;
use crate::shutdown::{Signal, Signals};
use crate::stream::{self, Prober};
use crate::translate;
use crate::warehouse::{Client, Clients, Life};

/// Wishes that may wait for the loop at once.
const INBOX: usize = 1024;
/// How long HTTP may take to finish its answers.
const HTTP_END: Duration = Duration::from_secs(2);
/// How often files and calendars are looked at. Calendars too, whatever the next edge is
/// thought to be: the host's clock may have been corrected.
const LOOK_EVERY: Span = Span::from_secs(2);

/// How a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has drained, or left what still ran to be adopted.
    Drained,
    /// A second signal cut the drain short.
    AtOnce,
    /// Nothing in the configuration could run.
    NoConfiguration,
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// When it cannot listen, or a part of it fails; not for anything that AWS does.
pub async fn run(source: Source, environment: Environment) -> anyhow::Result<Ended> {
    let loaded = config::load(&source, &environment);
    report_problems(&loaded);
    let Some(config) = loaded.config.clone() else {
        tracing::error!(
            "nothing in the configuration can run; `tidekeeper check` names every mistake"
        );
        return Ok(Ended::NoConfiguration);
    };
    let listen = config.daemon.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let mut signals = Signals::listen()?;
    let mut daemon = Daemon::assemble(source, environment, config, &loaded).await?;
    daemon.start(listener).await?;
    daemon.supervise(&mut signals).await
}

fn report_problems(loaded: &Loaded) {
    if !loaded.invalid_views.is_empty() {
        let views = loaded.invalid_views.join(", ");
        tracing::error!(views, "left out because of mistakes in the configuration");
    }
    for problem in &loaded.problems {
        tracing::error!(%problem, "mistake in the configuration; what it touches does not run");
    }
}

/// A daemon and the ends of everything that runs in it.
struct Daemon {
    source: Source,
    environment: Environment,
    config: Config,
    /// What the files said when they were last read.
    seen: config::Fingerprint,
    clock: Clock,
    clients: Clients,
    prober: Prober,
    observer: Arc<Observer>,
    fleet: Arc<Fleet>,
    metrics: Arc<Metrics>,
    heartbeat: Arc<AtomicI64>,
    events: mpsc::Sender<Event>,
    core: Option<Core>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    ticks: mpsc::Receiver<CalendarTick>,
    cron: CronEdges,
    phases: BTreeMap<ScheduleId, Phase>,
    /// Where the catalog has been asked which views stand on others, and what it said.
    asked: BTreeSet<Place>,
    asking: JoinSet<Parents>,
    parents: Parents,
    http_ends: CancellationToken,
    tasks: JoinSet<anyhow::Result<Part>>,
}

/// What the loop is made of, until it is started.
struct Core {
    scheduler: Scheduler,
    inbox: mpsc::Receiver<Event>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    rehearsal: Rehearsal,
}

/// Which part of the daemon has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Loop,
    Http,
}

impl Daemon {
    async fn assemble(
        source: Source,
        environment: Environment,
        config: Config,
        loaded: &Loaded,
    ) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new().context("metrics")?);
        let (events, inbox) = mpsc::channel(INBOX);
        let scheduler = Scheduler::new(clock.now(), translate::seed(&config.daemon.instance));
        let (snapshots, snapshot) = watch::channel(Arc::new(scheduler.snapshot()));
        let (tick_sender, ticks) = mpsc::channel(INBOX);
        let count = Arc::clone(&metrics);
        let life = Life {
            instance: config.daemon.instance.clone(),
            boot: boot_id(),
            now: Arc::new(move || clock.now()),
            on_call: Arc::new(move |call| {
                count.count_call(call.warehouse.as_str(), call.operation, call.result);
            }),
        };
        let (observer, rehearsal) = Observer::new(clock);
        let (probes, looks) = (Arc::clone(&metrics), Arc::clone(&observer));
        let prober = Prober::new(stream::Life {
            clock,
            events: events.clone(),
            snapshots: snapshot.clone(),
            on_fact: Arc::new(move |fact| {
                probes.count_probe(fact);
                if let stream::Fact::Looked {
                    stream,
                    at,
                    arrivals,
                } = fact
                {
                    looks.looked(stream, at, arrivals);
                }
            }),
        });
        // In force, whatever is quarantined in it.
        metrics.config_loaded(true, clock.now(), loaded.invalid_views.len());
        Ok(Self {
            source,
            environment,
            config,
            seen: loaded.fingerprint.clone(),
            clock,
            clients: Clients::new(life),
            prober,
            observer,
            fleet: Arc::new(Fleet::default()),
            metrics,
            heartbeat: Arc::new(AtomicI64::new(clock.now().as_micros())),
            events,
            core: Some(Core {
                scheduler,
                inbox,
                snapshots,
                rehearsal,
            }),
            snapshot,
            ticks,
            cron: CronEdges::start(tick_sender).await?,
            phases: BTreeMap::new(),
            asked: BTreeSet::new(),
            asking: JoinSet::new(),
            parents: Parents::new(),
            http_ends: CancellationToken::new(),
            tasks: JoinSet::new(),
        })
    }

    async fn start(&mut self, listener: TcpListener) -> anyhow::Result<()> {
        let core = self.core.take().context("a daemon starts once")?;
        let address = listener.local_addr()?;
        self.apply().await?;
        let clock = self.clock;
        let shared = http::Shared {
            snapshot: self.snapshot.clone(),
            metrics: Arc::clone(&self.metrics),
            observer: Arc::clone(&self.observer),
            now: Arc::new(move || clock.now()),
            heartbeat: Arc::clone(&self.heartbeat),
            config_loaded: Arc::new(AtomicBool::new(true)),
            wishes: self.events.clone(),
            admin_token: self.config.daemon.admin_token.clone(),
        };
        let ends = self.http_ends.clone();
        self.tasks.spawn(async move {
            http::serve(listener, shared, ends).await?;
            Ok(Part::Http)
        });
        let run_loop = RunLoop {
            scheduler: core.scheduler,
            clock,
            executor: Arc::clone(&self.fleet),
            report: Reporter {
                metrics: Arc::clone(&self.metrics),
                heartbeat: Arc::clone(&self.heartbeat),
                log: NoticeLog::default(),
                observer: Arc::clone(&self.observer),
            },
            inbox: core.inbox,
            snapshots: core.snapshots,
        };
        self.tasks.spawn(async move {
            run_loop.run().await?;
            Ok(Part::Loop)
        });
        self.tasks.spawn(async move {
            core.rehearsal.run().await?;
            // Its end is nobody's concern.
            std::future::pending().await
        });
        tracing::info!(
            %address,
            instance = self.config.daemon.instance,
            views = self.config.views.len(),
            version = env!("CARGO_PKG_VERSION"),
            "started"
        );
        Ok(())
    }

    /// Hands the configuration to everyone it concerns: clients before the plan, so that no
    /// command meets a fleet that does not know its view.
    async fn apply(&mut self) -> anyhow::Result<()> {
        dependants::complete(&mut self.config, &self.parents);
        let mut clients = BTreeMap::new();
        for settings in translate::warehouses(&self.config) {
            clients.insert(settings.id.clone(), self.clients.client(settings).await);
        }
        self.ask_for_parents(&clients);
        self.fleet
            .replace(clients, translate::refreshes(&self.config));
        self.metrics.set_catalog(translate::catalog(&self.config));
        // Before the plan too: what arrives from now on is seen.
        let streams = translate::streams(&self.config);
        self.metrics
            .set_probed(streams.iter().map(|stream| stream.name.clone()).collect());
        self.phases = self.current_phases();
        let plan = translate::plan(&self.config, &self.phases);
        let prices = &self.metrics.catalog().prices;
        self.observer.replace(&plan, &streams, prices);
        self.prober.replace(streams).await;
        self.send(Event::Plan(plan)).await;
        let pinned = self.config.views.values();
        self.cron
            .replace(pinned.flat_map(|view| view.refresh_at.iter().cloned()))
            .await
            .context("pinned times")
    }

    /// Asks the catalog for parents, unless this has been asked.
    fn ask_for_parents(&mut self, clients: &BTreeMap<WarehouseId, Arc<Client>>) {
        let places = dependants::places(&self.config);
        for place in places.difference(&self.asked) {
            if let Some(client) = clients.get(&WarehouseId::from(place.warehouse())) {
                let (place, client) = (place.clone(), Arc::clone(client));
                let mut snapshot = self.snapshot.clone();
                self.asking.spawn(async move {
                    let warehouse = WarehouseId::from(place.warehouse());
                    let open = |known: &Arc<Snapshot>| known.may_be_used(&warehouse);
                    // Like anything else that is submitted: after the adoption scan.
                    match snapshot.wait_for(open).await.map(|_| ()) {
                        Ok(()) => place.parents(client).await,
                        Err(_) => Parents::new(),
                    }
                });
            }
        }
        self.asked = places;
    }

    async fn supervise(&mut self, signals: &mut Signals) -> anyhow::Result<Ended> {
        let mut look_at = self.clock.now();
        loop {
            // A part that has ended comes first: nothing else makes sense after it. Then
            // signals, then calendars, then files.
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    return self.part_ended(ended.context("a task panicked")??).await;
                }
                panic = self.prober.panicked() => {
                    return Err(panic).context("a probe panicked");
                }
                signal = signals.next() => match signal {
                    Signal::Reload => self.reload(true).await?,
                    Signal::Drain => self.drain().await,
                    Signal::Now => {
                        tracing::warn!("second signal: ending at once; what runs is adopted by the next start");
                        return Ok(Ended::AtOnce);
                    }
                },
                Some(found) = self.asking.join_next() => {
                    let found = found.context("a task panicked")?;
                    if !found.is_empty() {
                        self.parents.extend(found);
                        self.apply().await?;
                    }
                }
                Some(tick) = self.ticks.recv() => self.tick(tick).await,
                () = tokio::time::sleep_until(self.clock.instant(look_at)) => {
                    self.turn_calendars().await;
                    self.reload(false).await?;
                    look_at = self.next_look();
                }
            }
        }
    }

    async fn part_ended(&mut self, part: Part) -> anyhow::Result<Ended> {
        anyhow::ensure!(part == Part::Loop, "the HTTP server has ended by itself");
        self.cron.shutdown().await;
        self.http_ends.cancel();
        let http = tokio::time::timeout(HTTP_END, self.tasks.join_next()).await;
        if http.is_err() {
            tracing::warn!("HTTP answers are still under way; leaving them");
        }
        tracing::info!("stopped");
        Ok(Ended::Drained)
    }

    async fn drain(&mut self) {
        self.prober.stop();
        let budget = clock::span(self.config.daemon.drain);
        let until = self.clock.now() + budget;
        tracing::info!(%budget, "draining: nothing new begins");
        self.observer.rehearse(Event::Shutdown { until });
        self.send(Event::Shutdown { until }).await;
    }

    /// The loop takes events faster than anyone can make them; it is gone only at the end.
    async fn send(&self, event: Event) {
        if self.events.send(event).await.is_err() {
            tracing::debug!("the loop has ended; an event is dropped");
        }
    }

    async fn tick(&self, tick: CalendarTick) {
        match tick {
            CalendarTick::RefreshAt { cron } => {
                for (id, view) in &self.config.views {
                    if view.refresh_at.contains(&cron) {
                        let view = ViewId::from(id.as_str());
                        let origin = Origin::Pinned;
                        let event = Event::Refresh { view, origin };
                        self.observer.rehearse(event.clone());
                        self.send(event).await;
                    }
                }
            }
            CalendarTick::Housekeeping => self.fleet.forget_absent(),
        }
    }

    /// Sends the phases that have changed since they were last looked at.
    async fn turn_calendars(&mut self) {
        let phases = self.current_phases();
        for (schedule, phase) in &phases {
            if self.phases.get(schedule) != Some(phase) {
                let (schedule, phase) = (schedule.clone(), *phase);
                let event = Event::Phase { schedule, phase };
                self.observer.rehearse(event.clone());
                self.send(event).await;
            }
        }
        self.phases = phases;
    }

    fn current_phases(&self) -> BTreeMap<ScheduleId, Phase> {
        let now = clock::wall();
        let schedules = self.config.schedules.iter();
        schedules
            .map(|(name, schedule)| {
                let phase = translate::phase(calendar::phase(schedule, translate::moment(now)));
                (ScheduleId::from(name.as_str()), phase)
            })
            .collect()
    }

    /// The next look at calendars and files.
    fn next_look(&self) -> tidekeeper_scheduler::Timestamp {
        let now = self.clock.now();
        let edge = self.phases.values().filter_map(|phase| phase.until).min();
        let every = now + LOOK_EVERY;
        edge.filter(|edge| *edge > now)
            .map_or(every, |edge| edge.min(every))
    }

    /// Takes a changed configuration over, or says why not and keeps the old one. `asked`:
    /// by a signal, so that an unchanged file is read again too.
    async fn reload(&mut self, asked: bool) -> anyhow::Result<()> {
        let watched = self.config.daemon.watch;
        if !asked && !watched {
            return Ok(());
        }
        if !asked && !config::changed(&self.source, &self.seen) {
            return Ok(());
        }
        let loaded = config::load(&self.source, &self.environment);
        self.seen = loaded.fingerprint.clone();
        let refusal = self.refusal(&loaded);
        let good = refusal.is_none();
        self.metrics
            .config_loaded(good, self.clock.now(), loaded.invalid_views.len());
        if let Some(refusal) = refusal {
            for problem in &loaded.problems {
                tracing::error!(%problem, "mistake in the configuration");
            }
            tracing::error!(
                reason = refusal,
                "reload refused; the running configuration stays"
            );
            return Ok(());
        }
        if let Some(config) = loaded.config {
            self.config = config;
            self.apply().await?;
            tracing::info!(views = self.config.views.len(), "configuration reloaded");
        }
        Ok(())
    }

    fn refusal(&self, loaded: &Loaded) -> Option<String> {
        if !loaded.problems.is_empty() {
            return Some(format!("{} mistakes", loaded.problems.len()));
        }
        let changed = config::restart_only_changes(&self.config, loaded.config.as_ref()?);
        if changed.is_empty() {
            return None;
        }
        Some(format!("needs a restart: {}", changed.join(", ")))
    }
}

/// Different in every life of the daemon: when it was born, in base 36.
pub(crate) fn boot_id() -> String {
    let mut rest = clock::wall().as_micros().unsigned_abs();
    let mut digits = Vec::new();
    while rest > 0 {
        let digit = u32::try_from(rest % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        rest /= 36;
    }
    digits.iter().rev().collect()
}

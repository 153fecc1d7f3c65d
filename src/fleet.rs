//! From the scheduler's names to clients: who carries out which command.
//!
//! Decides: that questions about a statement go to the client that submitted it, also after
//! a reload has moved the view elsewhere.
//! Deliberately absent: the calls themselves (`warehouse`), and when they are made.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tidekeeper_scheduler::{
    AttemptId, Command, DescribeAnswer, Event, Failure, FailureClass, ResolveAnswer, SubmitAnswer,
    ViewId, WarehouseId,
};

use crate::run_loop::Execute;
use crate::warehouse::{Client, Refresh};

/// The clients of all warehouses, and what each view's refresh is.
#[derive(Default)]
pub struct Fleet {
    routes: Mutex<Routes>,
}

#[derive(Default)]
struct Routes {
    clients: BTreeMap<WarehouseId, Arc<Client>>,
    views: BTreeMap<ViewId, Route>,
    /// The route of each view's latest attempt.
    attempts: BTreeMap<ViewId, (AttemptId, Route)>,
}

#[derive(Clone)]
struct Route {
    client: Arc<Client>,
    refresh: Arc<Refresh>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Fleet {
    /// Takes over a configuration. Views whose client is not given are left out.
    pub fn replace(
        &self,
        clients: BTreeMap<WarehouseId, Arc<Client>>,
        refreshes: Vec<(WarehouseId, Refresh)>,
    ) {
        let views = refreshes
            .into_iter()
            .filter_map(|(warehouse, refresh)| {
                let client = Arc::clone(clients.get(&warehouse)?);
                let refresh = Arc::new(refresh);
                Some((refresh.view.clone(), Route { client, refresh }))
            })
            .collect();
        let mut routes = self.lock();
        routes.clients = clients;
        routes.views = views;
    }

    /// Forgets the routes of views that are no longer configured.
    pub fn forget_absent(&self) {
        let mut routes = self.lock();
        let Routes {
            views, attempts, ..
        } = &mut *routes;
        attempts.retain(|view, _| views.contains_key(view));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Routes> {
        // Every write is a single assignment, so a panic elsewhere leaves nothing half done.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, warehouse: &WarehouseId) -> Option<Arc<Client>> {
        self.lock().clients.get(warehouse).cloned()
    }

    /// What refreshing each view of a client is.
    fn refreshes(&self, client: &Arc<Client>) -> Vec<Arc<Refresh>> {
        let routes = self.lock();
        let views = routes.views.values();
        views
            .filter(|route| Arc::ptr_eq(&route.client, client))
            .map(|route| Arc::clone(&route.refresh))
            .collect()
    }

    /// The route on which an attempt began; its first command fixes it.
    fn route(&self, view: &ViewId, attempt: AttemptId) -> Option<Route> {
        let mut routes = self.lock();
        if let Some((known, route)) = routes.attempts.get(view)
            && *known == attempt
        {
            return Some(route.clone());
        }
        let route = routes.views.get(view)?.clone();
        routes
            .attempts
            .insert(view.clone(), (attempt, route.clone()));
        Some(route)
    }
}

impl Execute for Fleet {
    async fn execute(self: Arc<Self>, command: Command) -> Event {
        match command {
            Command::Scan { warehouse } => {
                let result = match self.client(&warehouse) {
                    Some(client) => client.scan().await,
                    None => Err(unknown("warehouse")),
                };
                Event::Scanned { warehouse, result }
            }
            Command::Submit {
                attempt,
                view,
                wait,
            } => {
                let answer = match self.route(&view, attempt) {
                    Some(route) => route.client.submit(&route.refresh, attempt, wait).await,
                    None => SubmitAnswer::NotExecuted(unknown("view")),
                };
                Event::Submitted { attempt, answer }
            }
            Command::Describe {
                attempt,
                view,
                statement,
                wait,
            } => {
                let answer = match self.route(&view, attempt) {
                    Some(route) => route.client.describe(&statement, wait).await,
                    None => DescribeAnswer::Gone(unknown("view")),
                };
                Event::Described { attempt, answer }
            }
            Command::Cancel {
                attempt,
                view,
                statement,
            } => {
                let result = match self.route(&view, attempt) {
                    Some(route) => route.client.cancel(&statement).await,
                    None => Err(unknown("view")),
                };
                Event::Cancelled { attempt, result }
            }
            Command::Sweep {
                warehouse,
                since,
                asked,
            } => {
                let result = match self.client(&warehouse) {
                    Some(client) => client.sweep(&self.refreshes(&client), since, &asked).await,
                    None => Err(unknown("warehouse")),
                };
                Event::Swept { warehouse, result }
            }
            Command::Resolve { attempt, view } => {
                let answer = match self.route(&view, attempt) {
                    Some(route) => route.client.resolve(&route.refresh.view, attempt).await,
                    None => ResolveAnswer::CallFailed(unknown("view")),
                };
                Event::Resolved { attempt, answer }
            }
        }
    }
}

/// Cannot happen while plan and fleet are replaced together; said rather than assumed.
fn unknown(what: &str) -> Failure {
    let message = format!("this {what} is not in the running configuration");
    Failure::new(FailureClass::Unknown, &message)
}

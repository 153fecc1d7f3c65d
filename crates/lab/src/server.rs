//! Decides how a lab begins and ends.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::wire::service::Service;
use crate::wire::{self, Door};
use crate::world::World;

/// How long connections get to end after the lab was told to: long polls answer at once, so
/// that only a client that does not read can need it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a lab ended.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The listening socket failed.
    #[error("the lab's socket failed")]
    Socket(#[source] io::Error),
    /// The data of an earlier life cannot be read, or a view cannot be defined.
    #[error("the lab cannot start: {0}")]
    World(String),
}

/// A lab that has not been let in on a socket yet. Its clock has started.
#[derive(Debug)]
pub struct Lab {
    service: Arc<Service>,
    close: watch::Sender<bool>,
}

impl Lab {
    /// Opens the world's data, if it keeps any, and defines its views.
    ///
    /// # Errors
    /// [`LabError::World`] when the world, or what is kept of it, is not sound.
    pub fn open(world: &World) -> Result<Self, LabError> {
        let (close, closing) = watch::channel(false);
        let service = Service::open(world, closing).map_err(LabError::World)?;
        Ok(Self {
            service: Arc::new(service),
            close,
        })
    }

    /// Serves on `listener` until `shutdown` resolves. Long polls answer with the status of
    /// the moment when the lab ends.
    ///
    /// # Errors
    /// [`LabError::Socket`] when the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), LabError> {
        let Self { service, close } = self;
        let serving = wire::serve(Arc::clone(&service), Door(listener));
        let ending = async {
            shutdown.await;
            close.send_replace(true);
            tokio::time::sleep(FAREWELL).await;
        };
        // The server first: it ends by itself once it was told to and every connection is done.
        tokio::select! {
            biased;
            served = serving => served.map_err(LabError::Socket),
            () = ending => Ok(()),
            () = service.drive() => Ok(()),
        }
    }
}

/// Opens `world` and serves it on `listener` until `shutdown` resolves.
///
/// # Errors
/// As [`Lab::open`] and [`Lab::serve`].
pub async fn serve(
    world: World,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), LabError> {
    Lab::open(&world)?.serve(listener, shutdown).await
}

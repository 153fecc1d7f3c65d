//! Operating-system signals → what the daemon is asked to do.
//!
//! Decides: the first SIGTERM or SIGINT asks for a drain, every later one for an end at once;
//! SIGHUP asks for a reload.
//! Deliberately absent: the drain itself, which is the scheduler's decision.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Begin nothing new and end when all is finished.
    Drain,
    /// End without waiting for anything.
    Now,
    /// Read the configuration again.
    Reload,
}

/// Resolves with the first signal that asks for an end; never where signals cannot be had.
pub async fn terminated() {
    let Ok(mut signals) = Signals::listen() else {
        return std::future::pending().await;
    };
    while signals.next().await == Signal::Reload {}
}

/// The signals of this process from the moment [`Signals::listen`] returned.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    drain_asked: bool,
}

impl Signals {
    /// Takes the three signals over from the operating system's defaults.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            drain_asked: false,
        })
    }

    /// The next signal. Cancel-safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Signal {
        // An end that is asked for goes before a reload that is asked for too.
        tokio::select! {
            biased;
            _ = self.terminate.recv() => self.end(),
            _ = self.interrupt.recv() => self.end(),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    fn end(&mut self) -> Signal {
        if std::mem::replace(&mut self.drain_asked, true) {
            Signal::Now
        } else {
            Signal::Drain
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};

    use super::*;

    fn send(signal: &str) {
        let pid = id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.unwrap().success(), "kill {signal}");
    }

    /// One test for all: the signals are the process's, and tests share it.
    #[tokio::test]
    async fn the_first_end_drains_the_second_is_at_once_and_hangup_reloads() {
        let mut signals = Signals::listen().unwrap();
        send("-HUP");
        assert_eq!(signals.next().await, Signal::Reload);
        send("-INT");
        assert_eq!(signals.next().await, Signal::Drain);
        send("-HUP");
        assert_eq!(signals.next().await, Signal::Reload);
        send("-TERM");
        assert_eq!(signals.next().await, Signal::Now);
        send("-TERM");
        assert_eq!(signals.next().await, Signal::Now);
    }
}

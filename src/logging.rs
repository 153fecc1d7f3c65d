//! Log lines on stderr, and the type that keeps secrets out of them.
//!
//! Decides: text for a person at a terminal, one JSON object per line for a machine, and that
//! the AWS crates and the HTTP stack say warnings only unless asked by name.
//! Deliberately absent: the environment and the command line (whoever reads `--log-level` or
//! `TIDEKEEPER_LOG` passes the value in), files and rotation (stderr is the container's).

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The level of everything, and of the crates whose `info` is about their own insides. A role
/// that is refused is said once by who wanted it, not at every try. What the operator gives
/// comes after it and therefore wins.
const DEFAULT_DIRECTIVES: &str = "info,aws_config=warn,aws_config::sts=error,\
    aws_credential_types=warn,aws_runtime=warn,aws_sdk_dynamodb=warn,aws_sdk_kinesis=warn,\
    aws_sdk_redshiftdata=warn,aws_sdk_sts=warn,aws_sigv4=warn,aws_smithy_http=warn,aws_smithy_http_client=warn,\
    aws_smithy_runtime=warn,aws_smithy_runtime_api=warn,h2=warn,hyper=warn,hyper_util=warn,\
    rustls=warn,tokio_cron_scheduler=warn";

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

impl LogFormat {
    /// Text where somebody looks on.
    #[must_use]
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(word: &str) -> Result<Self, LoggingError> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::Format(other.to_owned())),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    #[error("log level \"{directives}\" is not understood")]
    Filter {
        directives: String,
        source: ParseError,
    },
    #[error("log format \"{0}\" is neither text nor json")]
    Format(String),
    #[error("logging is set up already")]
    AlreadySet(#[source] TryInitError),
}

/// Sets up the process's log: `format` or what suits stderr, `directives` as in
/// `debug` or `info,tidekeeper::http=trace`.
///
/// # Errors
/// When the directives cannot be read, or when logging was set up before.
pub fn init(format: Option<LogFormat>, directives: Option<&str>) -> Result<(), LoggingError> {
    let format = format.unwrap_or_else(LogFormat::for_stderr);
    subscriber(format, filter(directives)?, io::stderr)
        .try_init()
        .map_err(LoggingError::AlreadySet)
}

fn filter(directives: Option<&str>) -> Result<EnvFilter, LoggingError> {
    let given = directives.map(str::trim).unwrap_or_default();
    let all = match given {
        "" => DEFAULT_DIRECTIVES.to_owned(),
        given => format!("{DEFAULT_DIRECTIVES},{given}"),
    };
    EnvFilter::builder()
        .parse(all)
        .map_err(|source| LoggingError::Filter {
            directives: given.to_owned(),
            source,
        })
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(io::stderr().is_terminal()).finish()),
        LogFormat::Json => Box::new(
            lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .finish(),
        ),
    }
}

/// Text that must not be seen: it prints as `[redacted]` however it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Log lines of one test, read back.
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What `act` logs as JSON under these directives.
    pub(crate) fn logged(directives: Option<&str>, act: impl FnOnce()) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let filter = filter(directives).unwrap();
        let subscriber = subscriber(LogFormat::Json, filter, lines.clone());
        tracing::subscriber::with_default(subscriber, act);
        let bytes = lines.0.lock().unwrap();
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_json_line_is_one_flat_object_with_its_fields() {
        let lines = logged(None, || {
            tracing::info!(view = "orders", attempt = 7_u64, "refreshed\nwell");
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["message"], "refreshed\nwell");
        assert_eq!(lines[0]["view"], "orders");
        assert_eq!(lines[0]["attempt"], 7);
        assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn aws_crates_say_warnings_only_unless_they_are_asked_by_name() {
        let speak = || {
            tracing::info!(target: "aws_smithy_runtime::client", "insides");
            tracing::warn!(target: "aws_smithy_runtime::client", "trouble");
            tracing::debug!(target: "tidekeeper::run_loop", "detail");
        };
        let levels = |directives| -> Vec<String> {
            logged(directives, speak)
                .iter()
                .map(|line| line["message"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(levels(None), ["trouble"]);
        assert_eq!(levels(Some("debug")), ["trouble", "detail"]);
        assert_eq!(
            levels(Some("aws_smithy_runtime=info")),
            ["insides", "trouble"]
        );
        assert_eq!(levels(Some(" ")), ["trouble"], "an empty setting is none");
    }

    #[test]
    fn a_mistaken_level_is_named() {
        let error = filter(Some("tidekeeper=loud")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "log level \"tidekeeper=loud\" is not understood"
        );
        let error = "xml".parse::<LogFormat>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "log format \"xml\" is neither text nor json"
        );
    }

    #[test]
    fn text_for_a_file_has_no_colours() {
        let lines = Lines::default();
        let filter = filter(None).unwrap();
        let text = subscriber(LogFormat::Text, filter, lines.clone());
        tracing::subscriber::with_default(text, || tracing::warn!(view = "v", "late"));
        let bytes = lines.0.lock().unwrap().clone();
        let line = String::from_utf8(bytes).unwrap();
        if !io::stderr().is_terminal() {
            assert!(!line.contains('\u{1b}'), "{line}");
            assert!(line.contains(r#"late view="v""#), "{line}");
        }
    }

    #[test]
    fn a_secret_shows_in_no_print() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(
            format!("{:?}", Some(&secret)),
            "Some([redacted])",
            "nor inside another type"
        );
        assert_eq!(secret.expose(), "hunter2");
    }
}

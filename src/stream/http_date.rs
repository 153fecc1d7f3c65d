//! The `Date` header of an answer: what time it is where it was written.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use tidekeeper_scheduler::Timestamp;

/// Takes it out of one call's answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpDate(Arc<Mutex<Option<Timestamp>>>);

impl HttpDate {
    /// On their clock, in whole seconds.
    pub(crate) fn seen(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for HttpDate {
    fn name(&self) -> &'static str {
        "HttpDate"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let text = context.response().headers().get("date");
        let date = text.and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        let date = date.map(|date| Timestamp::from_micros(date.secs() * 1_000_000));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

//! Statement names and client tokens.
//!
//! Decides: `tidekeeper/<instance>/<warehouse>/<view id>/<boot>-<n>`, segments
//! percent-encoded, and the token: a hash of the name. A later life finds by prefix what an
//! earlier one left running; a repeated submit has the same name and so the same token.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use tidekeeper_scheduler::{AttemptId, ViewId, WarehouseId};

/// All but the characters that RFC 3986 calls unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What every statement of an instance on a warehouse begins with.
pub(super) fn prefix(instance: &str, warehouse: &WarehouseId) -> String {
    let encode = |text| utf8_percent_encode(text, SEGMENT);
    format!(
        "tidekeeper/{}/{}/",
        encode(instance),
        encode(warehouse.as_str())
    )
}

/// The name of one attempt's statement.
pub(super) fn statement_name(
    prefix: &str,
    view: &ViewId,
    boot: &str,
    attempt: AttemptId,
) -> String {
    let view = utf8_percent_encode(view.as_str(), SEGMENT);
    format!("{prefix}{view}/{boot}-{attempt}")
}

/// The view that a statement name speaks of; `None` for names that are not ours.
pub(super) fn view_of(prefix: &str, name: &str) -> Option<ViewId> {
    let (view, attempt) = name.strip_prefix(prefix)?.split_once('/')?;
    let (boot, serial) = attempt.rsplit_once('-')?;
    if boot.is_empty() || serial.parse::<u64>().is_err() {
        return None;
    }
    let view = percent_decode_str(view).decode_utf8().ok()?;
    Some(ViewId::from(view.as_ref()))
}

/// The token under which the API executes a name once (64 characters at most, kept 8 h).
pub(super) fn client_token(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    digest
        .iter()
        .fold(String::with_capacity(64), |mut token, byte| {
            // Writing into a String cannot fail.
            let _ = write!(token, "{byte:02x}");
            token
        })
}

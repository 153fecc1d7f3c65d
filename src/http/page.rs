//! The status page: the API's report as one self-contained table.
//!
//! Decides: that everything which comes from configuration or from a service is escaped, and
//! that the page needs no script and no other file.
//! Deliberately absent: history and graphs; Prometheus has them.

use std::fmt::Write;

use tidekeeper_scheduler::Span;

use super::explain;
use super::report::{Report, ViewReport};

/// Colours follow the reader's light or dark setting; state is said in words as well.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;max-width:90rem}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;width:100%}\
caption{text-align:left;padding:.5rem 0}\
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #8886}\
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
.bad{color:#b3261e;font-weight:600}\
@media(prefers-color-scheme:dark){.bad{color:#ff9a90}}";

pub(super) fn render(report: &Report) -> String {
    let mut page = begin("Tidekeeper");
    if report.draining {
        page += "<p class=\"bad\">The daemon is shutting down.</p>\n";
    }
    warehouses(&mut page, report);
    views(&mut page, report);
    page += "<p><a href=\"/report\">report</a> · <a href=\"/api/v1/views\">JSON</a> · <a href=\"/metrics\">metrics</a> · \
             <a href=\"/healthz\">alive?</a> · <a href=\"/readyz\">ready?</a></p>\n\
             </body></html>\n";
    page
}

/// A page's head and heading.
pub(super) fn begin(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"10\"><title>{title}</title><style>{STYLE}\
         </style></head>\n<body><h1>{title}</h1>\n"
    )
}

fn warehouses(page: &mut String, report: &Report) {
    if report.warehouses.is_empty() {
        return;
    }
    *page += "<ul>";
    for warehouse in &report.warehouses {
        *page += &format!(
            "<li>Warehouse <b>{}</b>: {}, {} of {} slots in use",
            escape(&warehouse.warehouse),
            warehouse.access,
            warehouse.in_flight,
            warehouse.slots,
        );
        if warehouse.deferred > 0 {
            *page += &format!(", {} views due and waiting", warehouse.deferred);
        }
        if let Some(awake) = &warehouse.awake {
            *page += &format!("; {}", escape(&awake.explain));
        }
        if let Some(failure) = &warehouse.sweep_failure {
            let why = escape(&failure.message);
            *page += &format!(": <span class=\"bad\">its records cannot be read: {why}</span>");
        }
        if let Some(blocked) = &warehouse.blocked {
            let why = escape(&blocked.failure.message);
            *page += &format!(": <span class=\"bad\">{why}</span>");
        }
        *page += "</li>";
    }
    *page += "</ul>\n";
}

fn views(page: &mut String, report: &Report) {
    let at = report.at.as_deref().unwrap_or("an unknown moment");
    *page += &format!(
        "<div class=\"wide\"><table><caption>{} views at {}</caption><thead><tr>\
         <th scope=\"col\">View</th><th scope=\"col\">State</th>\
         <th scope=\"col\" class=\"n\">Lag</th><th scope=\"col\" class=\"n\">Unread</th>\
         <th scope=\"col\" class=\"n\">Target</th>\
         <th scope=\"col\" class=\"n\">Last refresh</th>\
         <th scope=\"col\" class=\"n\">In target</th><th scope=\"col\">Why</th></tr></thead>\n\
         <tbody>",
        report.views.len(),
        escape(at),
    );
    for view in &report.views {
        row(page, view);
    }
    *page += "</tbody></table></div>\n";
}

fn row(page: &mut String, view: &ViewReport) {
    // The target is on the age of what is unread where that is known. What others do to a view
    // that is only observed is known up to the latest look; /report tells how fresh it was.
    let age = view.unread_age_seconds.or(view.clock_lag_seconds);
    let late = match (age, view.target_lag_seconds) {
        (Some(lag), Some(target)) => lag > target && view.mode == "active",
        (None, _) | (_, None) => false,
    };
    let cycles = view.cycles.in_target + view.cycles.missed;
    let alarm = |on: bool| if on { " bad" } else { "" };
    // Writing to a string cannot fail.
    let _written = writeln!(
        page,
        "<tr><th scope=\"row\"><a href=\"/api/v1/views/{}\">{}</a></th>\
         <td class=\"{}\">{}</td><td class=\"n{}\">{}</td><td class=\"n{}\">{}</td>\
         <td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{} of {cycles}</td><td>{}</td></tr>",
        percent_encoding::utf8_percent_encode(&view.view, percent_encoding::NON_ALPHANUMERIC),
        escape(&view.view),
        alarm(view.state == "suspended" || view.infeasible || view.alert.is_some()),
        view.state,
        alarm(late && view.unread_age_seconds.is_none()),
        seconds(view.clock_lag_seconds),
        alarm(late && view.unread_age_seconds.is_some()),
        seconds(view.unread_age_seconds),
        seconds(view.target_lag_seconds),
        seconds(view.last_refresh_seconds),
        view.cycles.in_target,
        escape(&view.explain),
    );
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(
        || "–".to_owned(),
        |seconds| explain::span(Span::from_secs_f64(seconds)),
    )
}

/// Safe as text and inside a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            other => safe.push(other),
        }
    }
    safe
}

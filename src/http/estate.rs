//! The report page: how fresh every view is, by whom, and what Tidekeeper would do.
//!
//! Decides: columns. Deliberately absent: figures and wording (`observe::report`).

use std::fmt::Write;

use tidekeeper_scheduler::Span;

use super::explain;
use super::page::{begin, escape};
use crate::observe::report::{Report, ViewReport};

pub(super) fn render(report: &Report) -> String {
    let mut page = begin("Tidekeeper: report");
    page += "<ul>";
    for warehouse in &report.warehouses {
        let name = escape(&warehouse.warehouse);
        page += &format!(
            "<li>Warehouse <b>{name}</b>: {}</li>",
            escape(&warehouse.explain)
        );
    }
    page += "</ul>\n";
    page += &format!(
        "<div class=\"wide\"><table><caption>{} views at {}</caption><thead><tr>\
         <th scope=\"col\">View</th><th scope=\"col\" class=\"n\">Target</th>\
         <th scope=\"col\" class=\"n\">In target</th>\
         <th scope=\"col\" class=\"n\">with Tidekeeper</th>\
         <th scope=\"col\" class=\"n\">Refreshes an hour</th>\
         <th scope=\"col\" class=\"n\">with Tidekeeper</th>\
         <th scope=\"col\" class=\"n\">Saves an hour</th>\
         <th scope=\"col\">In words</th></tr></thead><tbody>\n",
        report.views.len(),
        escape(report.at.as_deref().unwrap_or("an unknown moment"))
    );
    for view in &report.views {
        row(&mut page, view);
    }
    page += "</tbody></table></div>\n\
             <p><a href=\"/\">status</a> · <a href=\"/api/v1/report\">JSON</a></p>\n</body></html>\n";
    page
}

fn row(page: &mut String, view: &ViewReport) {
    let forecast = view.forecast.as_ref();
    // Writing to a string cannot fail.
    let _ = writeln!(
        page,
        "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
        escape(&view.view),
        explain::span(Span::from_secs_f64(view.target_lag_seconds)),
        share(view.seen.in_target),
        share(forecast.and_then(|forecast| forecast.in_target)),
        number(view.seen.refreshes_per_hour),
        number(forecast.and_then(|forecast| forecast.refreshes_per_hour)),
        number(view.saves_refreshes_per_hour),
        escape(&view.explain),
    );
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(unknown, |share| format!("{:.1} %", share * 100.0))
}

fn number(number: Option<f64>) -> String {
    number.map_or_else(unknown, |number| format!("{number:.1}"))
}

fn unknown() -> String {
    "–".to_owned()
}

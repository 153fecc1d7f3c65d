//! The report in words and as a table.
//!
//! Decides: wording; what is unknown is a dash, or left out of a sentence.
//! Deliberately absent: figures (`report`), HTML (`http::estate`).

use std::cmp::Reverse;

use tidekeeper_scheduler::Span;

use super::report::{Report, Saves, Service, Use};

/// Users, or views, that a sentence names.
const NAMED: usize = 3;

pub(super) fn of_view(
    target: Span,
    why: Option<&str>,
    seen: &Service,
    forecast: Option<&Service>,
    saves: Option<f64>,
) -> String {
    let why = why.map_or_else(String::new, |why| format!("; {why}"));
    if seen.refreshes == 0 && seen.in_target.is_none() {
        return format!("no refresh of it is known{why}");
    }
    let by = by_whom(seen);
    let mut text = match seen.in_target {
        Some(share) => format!("within {target} for {} of the time; {by}", percent(share)),
        None => format!("how fresh it was is not known; {by}"),
    };
    if seen.failed > 0 {
        text += &format!(", {} of {} failed", seen.failed, seen.refreshes);
    }
    text += &why;
    if let Some(forecast) = forecast
        && let (Some(share), Some(often)) = (forecast.in_target, forecast.refreshes_per_hour)
    {
        let share = percent(share);
        text += &format!("; Tidekeeper: {share} of the time, {often:.1} times an hour");
        text += &saved([refreshes(saves)]);
    }
    text
}

/// Each with his own rate: the warehouse, the users who refresh it most, Tidekeeper.
fn by_whom(seen: &Service) -> String {
    let Some(all) = seen.refreshes_per_hour else {
        return "how often it was refreshed is not known".to_owned();
    };
    if seen.refreshes == 0 {
        return "nobody refreshed it".to_owned();
    }
    let mut users: Vec<(&str, u64)> = (seen.users.iter())
        .map(|(user, number)| (user.as_str(), *number))
        .collect();
    users.sort_by_key(|(_, number)| Reverse(*number));
    users.truncate(NAMED);
    let named: u64 = users.iter().map(|(_, number)| number).sum();
    let mut whose = vec![("AUTO REFRESH", seen.auto)];
    whose.extend(users);
    whose.push(("others", seen.statement.saturating_sub(named)));
    whose.push(("Tidekeeper", seen.tidekeeper));
    let each = whose.into_iter().filter(|(_, number)| *number > 0);
    #[expect(clippy::cast_precision_loss, reason = "numbers of refreshes")]
    let each = each.map(|(who, number)| (who, number as f64 / seen.refreshes as f64));
    let each = each.map(|(who, share)| (who, share * all));
    let texts = each.enumerate().map(|(index, (who, often))| {
        let times = if index == 0 { " times an hour" } else { "" };
        format!("{often:.1}{times} by {who}")
    });
    format!("refreshed {}", texts.collect::<Vec<_>>().join(", "))
}

/// `auto` is what AUTO REFRESH works a day, in seconds.
pub(super) fn of_warehouse(
    seen: &Use,
    forecast: Option<&Use>,
    saves: &Saves,
    left_out: &[&str],
    auto: Option<f64>,
) -> String {
    let mut text = used(seen);
    if let Some(forecast) = forecast {
        text += &format!("; Tidekeeper: {}", used(forecast));
        let hours = saves.awake_seconds_per_day.map(|awake| awake / 3_600.0);
        text += &saved([
            refreshes(saves.refreshes_per_hour),
            (saves.busy_seconds_per_hour, 0, "s of work an hour"),
            (hours, 1, "h awake a day"),
            (saves.price_per_day, 2, "a day"),
        ]);
    }
    if !left_out.is_empty() {
        let views = listed(left_out);
        text += &format!("; not in the forecast, for no refresh was seen: {views}");
    }
    if let Some(auto) = auto.filter(|auto| *auto > 0.0) {
        text += &format!("; AUTO REFRESH alone: {auto:.0} s of work a day");
    }
    text
}

fn used(of: &Use) -> String {
    let mut text = match (of.refreshes_per_hour, of.busy_seconds_per_hour) {
        (Some(refreshes), Some(busy)) => {
            format!("{refreshes:.1} refreshes and {busy:.0} s of work an hour")
        }
        _ => "how often its views are refreshed is not known".to_owned(),
    };
    if let Some(share) = of.awake_share {
        text += &format!(", awake {} of the time", percent(share));
    }
    if let Some(price) = of.price_per_day {
        text += &format!(", {price:.2} a day");
    }
    text
}

/// How much, with how many digits, of what.
type Amount = (Option<f64>, usize, &'static str);

fn refreshes(often: Option<f64>) -> Amount {
    (often, 1, "refreshes an hour")
}

/// What would be saved, and what would be more; not what would be the same.
fn saved<const N: usize>(amounts: [Amount; N]) -> String {
    let (mut saves, mut costs) = (Vec::new(), Vec::new());
    for (by, digits, of) in amounts {
        let Some(by) = by else { continue };
        let number = format!("{:.digits$}", by.abs());
        let text = format!("{number} {of}");
        if number.bytes().all(|digit| matches!(digit, b'0' | b'.')) {
            continue;
        }
        if by > 0.0 {
            saves.push(text);
        } else {
            costs.push(text);
        }
    }
    match (saves.is_empty(), costs.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("; it would save {}", joined(&saves)),
        (true, false) => format!("; it would cost {} more", joined(&costs)),
        (false, false) => format!(
            "; it would save {}, and cost {} more",
            joined(&saves),
            joined(&costs)
        ),
    }
}

fn joined(texts: &[String]) -> String {
    match texts {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => texts.concat(),
    }
}

fn listed(names: &[&str]) -> String {
    let named = names.get(..NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

impl Report {
    /// As a table for people.
    pub(crate) fn text(&self) -> String {
        let widest = self.views.iter().map(|view| view.view.chars().count());
        let name = widest.max().unwrap_or(4).clamp(4, 40);
        let mut text = format!(
            "{:name$}  {:>9}  {:>17}  {:>26}  {:>17}\n{:name$}  {:>9}  {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>8} {:>8}\n",
            "",
            "",
            "in target",
            "refreshes an hour",
            "seconds each",
            "view",
            "target",
            "seen",
            "forecast",
            "seen",
            "forecast",
            "saves",
            "seen",
            "forecast"
        );
        let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
        let number =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |n| format!("{n:.1}"));
        for view in &self.views {
            let forecast = view.forecast.as_ref();
            text += &format!(
                "{:name$}  {:>9}  {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>8} {:>8}\n",
                view.view,
                Span::from_secs_f64(view.target_lag_seconds).to_string(),
                share(view.seen.in_target),
                share(forecast.and_then(|forecast| forecast.in_target)),
                number(view.seen.refreshes_per_hour),
                number(forecast.and_then(|forecast| forecast.refreshes_per_hour)),
                number(view.saves_refreshes_per_hour),
                number(view.seen.mean_refresh_seconds),
                number(forecast.and_then(|forecast| forecast.mean_refresh_seconds)),
            );
        }
        for warehouse in &self.warehouses {
            text += &format!("\n{}: {}\n", warehouse.warehouse, warehouse.explain);
        }
        for view in &self.views {
            text += &format!("{}: {}\n", view.view, view.explain);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_refreshes_a_view_has_his_own_rate() {
        let users = [("a", 1), ("b", 40), ("c", 3), ("d", 2), ("e", 1)];
        let seen = Service {
            in_target: None,
            known_seconds: 0.0,
            refreshes: 60,
            failed: 0,
            auto: 8,
            statement: 47,
            tidekeeper: 5,
            users: users.map(|(user, number)| (user.to_owned(), number)).into(),
            refreshes_per_hour: Some(120.0),
            mean_refresh_seconds: None,
        };
        assert_eq!(
            by_whom(&seen),
            "refreshed 16.0 times an hour by AUTO REFRESH, 80.0 by b, 6.0 by c, 4.0 by d, \
             4.0 by others, 10.0 by Tidekeeper"
        );
    }

    #[test]
    fn what_would_cost_more_is_said_too_and_what_stays_the_same_is_not() {
        let times = |often: f64| refreshes(Some(often));
        let awake = |hours: f64| (Some(hours), 1, "h awake a day");
        assert_eq!(
            saved([times(-3.0)]),
            "; it would cost 3.0 refreshes an hour more"
        );
        assert_eq!(
            saved([times(-3.0), awake(2.0)]),
            "; it would save 2.0 h awake a day, and cost 3.0 refreshes an hour more"
        );
        assert_eq!(saved([times(0.04), awake(-0.04), refreshes(None)]), "");
    }
}

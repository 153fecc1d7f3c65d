//! Words into values: durations, names, ARNs, addresses, cron patterns.
//!
//! Decides: what each kind of value may look like; every refusal says what to write instead.
//! Deliberately absent: keys and tables.

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::Duration;

use croner::parser::{CronParser, Seconds};

/// Units of a duration, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// `30s`, `2m`, `1h30m`, `500ms`, `1d`.
///
/// # Errors
/// What to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write one like \"30s\", \"2m\" or \"1h30m\"");
    let mut rest = text.trim();
    let mut millis = 0_u64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(|| format!("`{text}` has no unit; write \"{text}s\" for seconds"))?;
        let (number, tail) = rest.split_at(digits);
        let (unit, scale) = UNITS
            .iter()
            .find(|(unit, _)| tail.starts_with(unit))
            .ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        millis = number
            .checked_mul(*scale)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(wrong)?;
        rest = tail.get(unit.len()..).unwrap_or_default();
    }
    Ok(Duration::from_millis(millis))
}

/// The shortest way to write a duration.
pub(super) fn write_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in [UNITS[1], UNITS[2], UNITS[3], UNITS[4], UNITS[0]] {
        if millis >= scale {
            text.push_str(&format!("{}{unit}", millis / scale));
            millis %= scale;
        }
    }
    text
}

/// A cron pattern of five fields, in UTC.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_cron(text: &str) -> Result<String, String> {
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Err(format!(
            "`{text}` has {fields} fields; write five, like \"0 2 * * *\" (minute hour day month weekday, UTC)"
        ));
    }
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .build()
        .parse(text)
        .map_err(|error| {
            format!(
                "`{text}` is no cron pattern: {}",
                lower_first(&error.to_string())
            )
        })?;
    Ok(text.to_owned())
}

pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    SocketAddr::from_str(text).map_err(|_| {
        format!("`{text}` is no address to listen on; write one like \"127.0.0.1:9464\"")
    })
}

/// An absolute URL without a path, a query or a user.
pub(super) fn parse_endpoint(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is no endpoint; write one like \"https://host:8080\"");
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .ok_or_else(wrong)?;
    let host = rest.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(wrong());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// An ARN of one service, and one kind of thing in it: `arn:partition:service:region:account:kind/name`.
pub(super) fn parse_arn(text: &str, service: &str, kind: &str) -> Result<String, String> {
    let like = format!("write one like \"arn:aws:{service}:…:{kind}…\"");
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, its_service, region, account, resource] = parts.as_slice() else {
        return Err(format!("`{text}` is no ARN; {like}"));
    };
    if *arn != "arn" {
        return Err(format!(
            "`{text}` is no ARN: it does not begin with `arn:`; {like}"
        ));
    }
    if !["aws", "aws-cn", "aws-us-gov"].contains(partition) {
        return Err(format!(
            "`{partition}` in `{text}` is no partition; write aws, aws-cn or aws-us-gov"
        ));
    }
    if *its_service != service {
        return Err(format!(
            "`{text}` is an ARN of `{its_service}`, not of `{service}`; {like}"
        ));
    }
    if account.len() != 12 || !account.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!(
            "`{account}` in `{text}` is no account id; write its twelve digits"
        ));
    }
    if service == "iam" && !region.is_empty() {
        return Err(format!(
            "`{text}` names the region `{region}`; roles have none: leave it empty"
        ));
    }
    if service != "iam" && region.is_empty() {
        return Err(format!("`{text}` names no region; {like}"));
    }
    if resource
        .strip_prefix(kind)
        .is_none_or(|name| name.is_empty())
    {
        return Err(format!("`{resource}` in `{text}` is no `{kind}…`; {like}"));
    }
    Ok(text.to_owned())
}

pub(super) fn parse_role(text: &str) -> Result<String, String> {
    parse_arn(text, "iam", "role/")
}

/// The parts of an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    pub partition: &'a str,
    pub service: &'a str,
    pub region: &'a str,
    pub account: &'a str,
    /// What stands after the fifth colon: `role/path/Name`, `stream/name`.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// `None` for what has not the shape of an ARN.
    #[must_use]
    pub fn split(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = *parts.as_slice() else {
            return None;
        };
        Some(Self {
            partition,
            service,
            region,
            account,
            resource,
        })
    }

    /// The last part of the resource: the name of a role or a stream, without its path.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.resource
            .rsplit_once('/')
            .map_or(self.resource, |(_, name)| name)
    }
}

/// Brokers as Redshift takes them: `host:port`, separated by commas.
pub(super) fn parse_brokers(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let broker = |broker: &str| {
        let (host, port) = broker.split_once(':')?;
        let fits = !host.is_empty() && host.chars().all(plain);
        port.parse::<u16>().ok().filter(|_| fits)
    };
    if text.split(',').all(|one| broker(one).is_some()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` names no brokers; write host:port, more of them after commas, without spaces"
    ))
}

/// A label that Prometheus takes and that the metrics do not use themselves.
pub(super) fn check_label(name: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let valid = name.chars().next().is_some_and(first)
        && name.chars().all(|c| first(c) || c.is_ascii_digit());
    if !valid || name.starts_with("__") {
        return Err(format!(
            "`{name}` is no label name; write letters, digits and single underscores, like `team`"
        ));
    }
    if ["view", "warehouse", "database", "stream"].contains(&name) {
        return Err(format!(
            "the label `{name}` is set by the metrics themselves; choose another name"
        ));
    }
    Ok(())
}

/// The name of a cluster: `[a-z][a-z0-9]*(-[a-z0-9]+)*`, at most 63 characters (Data API model).
pub(super) fn check_cluster(name: &str) -> Result<(), String> {
    let words_fit = name.split('-').all(|word| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    });
    if name.len() <= 63 && words_fit && name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is no cluster identifier; write lower-case letters, digits and single hyphens, 63 characters at most"
    ))
}

/// The name of a workgroup. Serverless wants three characters at least; the lab does not mind.
pub(super) fn check_workgroup(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is no workgroup name; write lower-case letters, digits and hyphens, 64 characters at most"
    ))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for text in ["30s", "2m", "1h30m", "500ms", "1d", "1m500ms", "0s"] {
            assert_eq!(write_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["", "60", "5.9s", "s", "1x", "-1s", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arns_say_which_part_is_wrong() {
        let role = |text| parse_arn(text, "iam", "role/");
        assert!(role("arn:aws:iam::222222222222:role/Tidekeeper").is_ok());
        for (text, part) in [
            ("role/Tidekeeper", "no ARN"),
            ("arn:azure:iam::222222222222:role/T", "partition"),
            ("arn:aws:kinesis::222222222222:role/T", "ARN of `kinesis`"),
            ("arn:aws:iam::2222:role/T", "account id"),
            ("arn:aws:iam:eu-west-1:222222222222:role/T", "region"),
            ("arn:aws:iam::222222222222:user/T", "`user/T`"),
        ] {
            let said = role(text).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn cron_patterns_have_five_fields() {
        assert!(parse_cron("0 2 * * *").is_ok());
        assert!(parse_cron("0 0 2 * * *").unwrap_err().contains("6 fields"));
        assert!(parse_cron("61 2 * * *").is_err());
    }
}

//! The keys of a stream: what it is, and how Redshift and the daemon reach it.
//!
//! Decides: that a stream is Kinesis or Kafka, never half of each, and that its roles stand in
//! its partition. Deliberately absent: whether roles and stream exist (`setup verify`), and
//! whether a chain ends in the stream's account (`setup iam`: a stream may have a policy of its own).

use super::decode::Table;
use super::problem::{At, Place, Problems};
use super::types::{Brokers, KafkaAuth, Stream, StreamSource};
use super::values::{Arn, parse_arn, parse_brokers, parse_role};

/// Share of a shard's reads that probes may take unless stated: one read a second.
const PROBE_SHARE: f64 = 0.2;
/// Redshift follows no longer chain.
const LONGEST_CHAIN: usize = 10;

/// Keys that only a Kafka topic has, as they stand in the file.
struct KafkaKeys {
    uri: Option<At<String>>,
    auth: Option<At<&'static str>>,
    certificate: Option<At<String>>,
    secret: Option<At<String>>,
    /// Whether the first two, where given, are what they should be.
    sound: bool,
}

pub(super) fn stream(mut table: Table<'_>, label: &str, problems: &mut Problems) -> Option<Stream> {
    let place = table.place;
    let kinesis = table.text("kinesis", problems);
    let kafka = table.text("kafka", problems);
    let chain = table.texts("role_chain", problems);
    let probe_role = table.text("probe_role_arn", problems);
    let probe_share = table.share("probe_share", problems);
    let retention = table.duration("retention", problems);
    let words = [("none", "none"), ("iam", "iam"), ("mtls", "mtls")];
    let before = problems.count();
    let keys = KafkaKeys {
        uri: table.text("kafka_uri", problems),
        auth: table.choice("kafka_auth", &words, problems),
        sound: problems.count() == before,
        certificate: table.text("authentication_arn", problems),
        secret: table.text("secret_arn", problems),
    };
    table.finish(&format!("[{label}]"), problems);
    let source = source(kinesis, kafka, place, label, problems)?;
    let brokers = match &source {
        StreamSource::Kinesis(_) => {
            refuse_kafka_keys(&keys, label, problems);
            None
        }
        StreamSource::Kafka(_) => brokers(&keys, label, problems),
    };
    let role = |role: &At<String>, key: &str, problems: &mut Problems| {
        role.parse(key, parse_role, problems)
    };
    let chain = chain.map(|chain| {
        if !(1..=LONGEST_CHAIN).contains(&chain.value.len()) {
            let found = chain.value.len();
            let wrong = format!(
                "`role_chain` has {found} roles; list 1 to {LONGEST_CHAIN}, or leave it out"
            );
            problems.add(chain.place, wrong);
        }
        let roles = chain.value.iter();
        roles
            .filter_map(|arn| role(arn, "role_chain", problems))
            .collect::<Vec<_>>()
    });
    let chain = chain.unwrap_or_default();
    let probe_role = probe_role.and_then(|arn| role(&arn, "probe_role_arn", problems));
    check_partitions(&source, &chain, probe_role.as_ref(), problems);
    Some(Stream {
        source,
        role_chain: chain.into_iter().map(|role| role.value).collect(),
        probe_role_arn: probe_role.map(|role| role.value),
        probe_share: probe_share.unwrap_or(PROBE_SHARE),
        retention: retention.map(|retention| retention.value),
        brokers,
    })
}

fn source(
    kinesis: Option<At<String>>,
    kafka: Option<At<String>>,
    place: Place,
    label: &str,
    problems: &mut Problems,
) -> Option<StreamSource> {
    match (kinesis, kafka) {
        (Some(arn), None) => {
            let read = |text: &str| parse_arn(text, "kinesis", "stream/");
            Some(StreamSource::Kinesis(
                arn.parse("kinesis", read, problems)?.value,
            ))
        }
        (None, Some(topic)) => Some(StreamSource::Kafka(topic.value)),
        (Some(_), Some(kafka)) => {
            let wrong = format!("[{label}] has both `kinesis` and `kafka`; keep the one it is");
            problems.add(kafka.place, wrong);
            None
        }
        (None, None) => {
            let wrong = format!("[{label}] has neither `kinesis` nor `kafka`; name one");
            problems.add(place, wrong);
            None
        }
    }
}

/// Roles are assumed within one partition only.
fn check_partitions(
    source: &StreamSource,
    chain: &[At<String>],
    probe_role: Option<&At<String>>,
    problems: &mut Problems,
) {
    let partition = |arn: &str| Arn::split(arn).map(|arn| arn.partition.to_owned());
    let (what, wanted) = match source {
        StreamSource::Kinesis(arn) => ("the stream", partition(arn)),
        StreamSource::Kafka(_) => (
            "its first role",
            chain.first().and_then(|role| partition(&role.value)),
        ),
    };
    let Some(wanted) = wanted else {
        return;
    };
    for role in chain.iter().chain(probe_role) {
        let found = partition(&role.value).unwrap_or_default();
        if found != wanted {
            let wrong = format!(
                "`{}` is in partition {found}, {what} in {wanted}; no role reaches from one into the other",
                role.value
            );
            problems.add(role.place, wrong);
        }
    }
}

fn refuse_kafka_keys(keys: &KafkaKeys, label: &str, problems: &mut Problems) {
    let found = [
        ("kafka_uri", keys.uri.as_ref().map(|at| at.place)),
        ("kafka_auth", keys.auth.as_ref().map(|at| at.place)),
        (
            "authentication_arn",
            keys.certificate.as_ref().map(|at| at.place),
        ),
        ("secret_arn", keys.secret.as_ref().map(|at| at.place)),
    ];
    for (key, place) in found {
        if let Some(place) = place {
            let wrong = format!("[{label}] is a Kinesis stream; `{key}` is for Kafka: drop it");
            problems.add(place, wrong);
        }
    }
}

fn brokers(keys: &KafkaKeys, label: &str, problems: &mut Problems) -> Option<Brokers> {
    let auth = keys.auth.as_ref();
    let auth = auth.and_then(|word| kafka_auth(word, keys, problems));
    let uri = keys.uri.as_ref();
    let parsed = uri.and_then(|uri| uri.parse("kafka_uri", parse_brokers, problems));
    let rest = [keys.auth.as_ref().map(|at| at.place)]
        .into_iter()
        .chain([&keys.certificate, &keys.secret].map(|at| at.as_ref().map(|at| at.place)));
    match (uri, rest.flatten().next()) {
        (Some(uri), _) if keys.auth.is_none() && keys.sound => {
            let wrong = format!(
                "[{label}] has `kafka_uri` but no `kafka_auth`; write \"none\", \"iam\" or \"mtls\""
            );
            problems.add(uri.place, wrong);
        }
        (None, Some(place)) if keys.sound => {
            let wrong = format!(
                "[{label}] has no `kafka_uri`; write its brokers like \"b-1.x.kafka.eu-west-1.amazonaws.com:9098\""
            );
            problems.add(place, wrong);
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    Some(Brokers {
        uri: parsed?.value,
        auth: auth?,
    })
}

fn kafka_auth(
    word: &At<&'static str>,
    keys: &KafkaKeys,
    problems: &mut Problems,
) -> Option<KafkaAuth> {
    match (word.value, &keys.certificate, &keys.secret) {
        ("mtls", Some(arn), None) => {
            let read = |text: &str| parse_arn(text, "acm", "certificate/");
            let arn = arn.parse("authentication_arn", read, problems)?;
            Some(KafkaAuth::MtlsCertificate(arn.value))
        }
        ("mtls", None, Some(arn)) => {
            let read = |text: &str| parse_arn(text, "secretsmanager", "secret:");
            let arn = arn.parse("secret_arn", read, problems)?;
            Some(KafkaAuth::MtlsSecret(arn.value))
        }
        ("mtls", Some(_), Some(_)) | ("mtls", None, None) => {
            let wrong = "mtls wants one of `authentication_arn` and `secret_arn`";
            problems.add(word.place, wrong);
            None
        }
        ("iam", None, None) => Some(KafkaAuth::Iam),
        (_, None, None) => Some(KafkaAuth::None),
        (other, Some(arn), _) | (other, None, Some(arn)) => {
            let wrong = format!("a certificate is for kafka_auth = \"mtls\", not \"{other}\"");
            problems.add(arn.place, wrong);
            None
        }
    }
}

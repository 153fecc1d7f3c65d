//! The roles that a configuration asks for, account by account.
//!
//! Decides: who trusts whom along each chain, and the least that each role must be allowed:
//! actions on the exact stream where AWS knows such a resource. One role has one policy, from
//! everything that any stream, warehouse or chain wants of it.
//! Deliberately absent: AWS (nothing is asked or changed), and keys of KMS: the configuration
//! does not know them (`notes` says so).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::names::acting_role;
use super::policy::{Document, Statement};
use crate::config::{
    Arn, Auth, Config, KafkaAuth, Problem, Stream, StreamSource, Target, Warehouse,
};

/// What Redshift asks of a stream (the walkthrough's list).
pub(super) const READ_STREAM: [&str; 4] = [
    "kinesis:DescribeStreamSummary",
    "kinesis:GetShardIterator",
    "kinesis:GetRecords",
    "kinesis:DescribeStream",
];
pub(super) const LIST_STREAMS: [&str; 2] = ["kinesis:ListStreams", "kinesis:ListShards"];
/// What the daemon's probe asks of a stream.
pub(super) const PROBE_STREAM: [&str; 4] = [
    "kinesis:ListShards",
    "kinesis:GetShardIterator",
    "kinesis:GetRecords",
    "kinesis:DescribeStreamSummary",
];
/// A refresh with session settings travels as a batch.
pub(super) const SUBMIT: [&str; 2] = [
    "redshift-data:ExecuteStatement",
    "redshift-data:BatchExecuteStatement",
];
/// AWS knows no resource for these. A condition on the statement's owner (aws:userid) would
/// keep a new task from adopting what the old one left running.
pub(super) const FOLLOW: [&str; 4] = [
    "redshift-data:DescribeStatement",
    "redshift-data:GetStatementResult",
    "redshift-data:ListStatements",
    "redshift-data:CancelStatement",
];
/// Serverless asks for credentials as the first, clusters as the second; a role for either
/// trusts both.
pub(super) const REDSHIFT: [&str; 2] = [
    "redshift.amazonaws.com",
    "redshift-serverless.amazonaws.com",
];

/// By account id.
pub type Accounts = BTreeMap<String, Account>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub roles: Vec<Role>,
    /// Whether a stream is in it, or the warehouse's side of things.
    #[serde(skip)]
    pub sides: BTreeSet<Side>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Stream,
    Warehouse,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Role {
    #[serde(skip)]
    pub arn: String,
    pub name: String,
    /// Left out where it is the plain `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub trust: Document,
    pub policies: BTreeMap<String, Document>,
}

/// Everything that is asked of one role.
#[derive(Debug, Default)]
struct Wants {
    /// Services that assume it, each under conditions of its own.
    redshift: bool,
    tasks: bool,
    /// Roles that assume it, by the external id that they give.
    trusted: BTreeMap<Option<String>, BTreeSet<String>>,
    reads: BTreeSet<String>,
    probes: BTreeSet<String>,
    /// The next roles of chains, and those that the daemon goes on to.
    chains_on: BTreeSet<String>,
    assumes: BTreeSet<String>,
    topics: BTreeSet<String>,
    clusters: BTreeSet<String>,
    certificates: BTreeSet<String>,
    secrets: BTreeSet<String>,
    submits: BTreeSet<String>,
    serverless: BTreeSet<String>,
    iam_databases: BTreeSet<String>,
    user_databases: BTreeSet<String>,
    stream_side: bool,
}

type Roles = BTreeMap<String, Wants>;

/// The roles of every account.
///
/// # Errors
/// Where a chain cannot reach its stream, or it is not known who follows it.
pub fn documents(config: &Config) -> Result<Accounts, Vec<Problem>> {
    let mut roles = Roles::new();
    let mut problems = Vec::new();
    let mut note = |part: String, found: Result<(), String>| {
        let message = found.err();
        problems.extend(message.map(|message| Problem {
            file: part,
            at: None,
            message,
        }));
    };
    for (name, stream) in &config.streams {
        let part = format!("streams.{name}");
        note(part.clone(), chain(stream, &mut roles));
        note(part, probe(config, name, stream, &mut roles));
    }
    for (name, warehouse) in &config.warehouses {
        let found = daemon(config, name, warehouse, &mut roles);
        note(format!("warehouses.{name}"), found);
    }
    if problems.is_empty() {
        Ok(accounts(&roles))
    } else {
        Err(problems)
    }
}

/// Redshift's way to a stream: each role trusts the one before, the last one reads.
fn chain(stream: &Stream, roles: &mut Roles) -> Result<(), String> {
    let (Some(first), Some(last)) = (stream.role_chain.first(), stream.role_chain.last()) else {
        return Ok(());
    };
    let account = |arn: &str| Arn::split(arn).map_or("", |arn| arn.account).to_owned();
    if let StreamSource::Kinesis(arn) = &stream.source
        && account(arn) != account(last)
    {
        return Err(format!(
            "the last role of `role_chain`, {last}, is in account {}, the stream in {}; \
             end the chain with a role of the stream's account",
            account(last),
            account(arn)
        ));
    }
    roles.entry(first.clone()).or_default().redshift = true;
    for (role, next) in stream
        .role_chain
        .iter()
        .zip(stream.role_chain.iter().skip(1))
    {
        let from = roles.entry(role.clone()).or_default();
        from.chains_on.insert(next.clone());
        trusted(roles, next, role, None);
    }
    let end = roles.entry(last.clone()).or_default();
    end.stream_side = true;
    match &stream.source {
        StreamSource::Kinesis(arn) => {
            end.reads.insert(arn.clone());
        }
        StreamSource::Kafka(topic) => read_topic(end, stream, topic, last),
    }
    Ok(())
}

/// A broker's name tells its region; its cluster's full name is not known.
fn read_topic(role: &mut Wants, stream: &Stream, topic: &str, last: &str) {
    let (Some(brokers), Some(arn)) = (&stream.brokers, Arn::split(last)) else {
        return;
    };
    match &brokers.auth {
        KafkaAuth::None => {}
        KafkaAuth::Iam => {
            let region = broker_region(&brokers.uri);
            let prefix = format!("arn:{}:kafka:{region}:{}", arn.partition, arn.account);
            role.clusters.insert(format!("{prefix}:cluster/*"));
            role.topics.insert(format!("{prefix}:topic/*/{topic}"));
        }
        KafkaAuth::MtlsCertificate(arn) => {
            role.certificates.insert(arn.clone());
        }
        KafkaAuth::MtlsSecret(arn) => {
            role.secrets.insert(arn.clone());
        }
    }
}

fn broker_region(uri: &str) -> &str {
    let host = uri.split([',', ':']).next().unwrap_or_default();
    let mut labels = host.split('.');
    let service = |label: &str| label == "kafka" || label == "kafka-serverless";
    let found = labels.any(service).then(|| labels.next()).flatten();
    found.unwrap_or("*")
}

fn trusted(roles: &mut Roles, role: &str, by: &str, external_id: Option<String>) {
    let wants = roles.entry(role.to_owned()).or_default();
    let who = wants.trusted.entry(external_id).or_default();
    who.insert(by.to_owned());
}

/// The daemon goes from one role to the next.
fn assume(roles: &mut Roles, role: &str, next: &str, external_id: Option<String>) {
    let from = roles.entry(role.to_owned()).or_default();
    from.assumes.insert(next.to_owned());
    trusted(roles, next, role, external_id);
}

/// The daemon's own look at a stream, through whoever acts for the warehouses that read it.
fn probe(config: &Config, name: &str, stream: &Stream, roles: &mut Roles) -> Result<(), String> {
    let (Some(role), StreamSource::Kinesis(arn)) = (&stream.probe_role_arn, &stream.source) else {
        return Ok(());
    };
    let readers = config.views.values();
    let readers = readers.filter(|view| view.stream.as_deref() == Some(name));
    let warehouses: BTreeSet<&str> = readers.map(|view| view.warehouse.as_str()).collect();
    for warehouse in warehouses {
        let Some(settings) = config.warehouses.get(warehouse) else {
            continue;
        };
        let Some(acting) = acting_role(config, settings) else {
            return Err(format!(
                "who assumes `probe_role_arn` for warehouse `{warehouse}` is not known; \
                 set `role_arn` in [daemon] to the role that the daemon runs as"
            ));
        };
        assume(roles, acting, role, None);
    }
    // A stream that no view reads is not probed.
    let Some(wants) = roles.get_mut(role) else {
        return Ok(());
    };
    wants.probes.insert(arn.clone());
    wants.stream_side = true;
    Ok(())
}

/// The daemon's way to a warehouse, and what it does there.
fn daemon(
    config: &Config,
    name: &str,
    warehouse: &Warehouse,
    roles: &mut Roles,
) -> Result<(), String> {
    let own = config.daemon.role_arn.as_deref();
    if let Some(own) = own {
        roles.entry(own.to_owned()).or_default().tasks = true;
    } else if let Some(first) = warehouse.assume_role.first() {
        return Err(format!(
            "who assumes {} is not known; set `role_arn` in [daemon] to the role that the daemon runs as",
            first.arn
        ));
    }
    let mut before = own;
    for role in &warehouse.assume_role {
        if let Some(before) = before {
            assume(roles, before, &role.arn, role.external_id.clone());
        }
        before = Some(&role.arn);
    }
    if let Some(acting) = acting_role(config, warehouse) {
        refresh(config, name, warehouse, acting, roles);
    }
    Ok(())
}

/// What is asked of a warehouse, and as whom.
fn refresh(config: &Config, name: &str, warehouse: &Warehouse, acting: &str, roles: &mut Roles) {
    let Some(arn) = Arn::split(acting) else {
        return;
    };
    let region = warehouse.region.as_deref().unwrap_or("*");
    let place = |service: &str| format!("arn:{}:{service}:{region}:{}", arn.partition, arn.account);
    let wants = roles.entry(acting.to_owned()).or_default();
    match &warehouse.target {
        Target::Cluster(cluster) => {
            let arn = format!("{}:cluster:{cluster}", place("redshift"));
            wants.submits.insert(arn);
        }
        // The ARN of a workgroup ends in an id that its name does not tell.
        Target::Workgroup(_) => {
            let arn = format!("{}:workgroup/*", place("redshift-serverless"));
            wants.submits.insert(arn);
        }
    }
    for view in config.views.values().filter(|view| view.warehouse == name) {
        match (&view.auth, &warehouse.target) {
            (Auth::SecretArn(secret), Target::Cluster(_) | Target::Workgroup(_)) => {
                wants.secrets.insert(secret.clone());
            }
            (Auth::Iam | Auth::DbUser(_), Target::Workgroup(_)) => {
                let arn = format!("{}:workgroup/*", place("redshift-serverless"));
                wants.serverless.insert(arn);
            }
            (Auth::Iam, Target::Cluster(cluster)) => {
                let database = format!("{}:dbname:{cluster}/{}", place("redshift"), view.database);
                wants.iam_databases.insert(database);
            }
            (Auth::DbUser(user), Target::Cluster(cluster)) => {
                let database = format!("{}:dbname:{cluster}/{}", place("redshift"), view.database);
                let user = format!("{}:dbuser:{cluster}/{user}", place("redshift"));
                wants.user_databases.extend([database, user]);
            }
        }
    }
}

fn accounts(roles: &Roles) -> Accounts {
    let mut accounts = Accounts::new();
    for (role, wants) in roles {
        let Some(arn) = Arn::split(role) else {
            continue;
        };
        let account = accounts.entry(arn.account.to_owned()).or_default();
        let path = arn.resource.strip_prefix("role").unwrap_or_default();
        let path = path.strip_suffix(arn.name()).unwrap_or("/");
        let policy = policy(wants);
        let policies = policy.map(|policy| (policy_name(arn.name()), policy));
        account.sides.insert(if wants.stream_side {
            Side::Stream
        } else {
            Side::Warehouse
        });
        // A chain of one role is both ends.
        if wants.redshift || !wants.submits.is_empty() {
            account.sides.insert(Side::Warehouse);
        }
        account.roles.push(Role {
            arn: role.clone(),
            name: arn.name().to_owned(),
            path: Some(path.to_owned()).filter(|path| path != "/"),
            trust: trust(wants, arn.account),
            policies: policies.into_iter().collect(),
        });
    }
    accounts
}

fn policy_name(role: &str) -> String {
    format!("{}Policy", role.strip_suffix("Role").unwrap_or(role))
}

fn trust(wants: &Wants, account: &str) -> Document {
    let mut statements = Vec::new();
    if wants.redshift {
        let services = REDSHIFT.map(str::to_owned);
        statements.push(Statement::trust("Service", services));
    }
    if wants.tasks {
        let tasks = ["ecs-tasks.amazonaws.com".to_owned()];
        statements.push(Statement::trust("Service", tasks).only_if("aws:SourceAccount", account));
    }
    for (external_id, who) in &wants.trusted {
        let statement = Statement::trust("AWS", who.iter().cloned());
        statements.push(match external_id {
            Some(id) => statement.only_if("sts:ExternalId", id),
            None => statement,
        });
    }
    Document::new(statements)
}

fn policy(wants: &Wants) -> Option<Document> {
    let everywhere = || BTreeSet::from(["*".to_owned()]);
    let listed = if wants.reads.is_empty() {
        BTreeSet::new()
    } else {
        everywhere()
    };
    let followed = if wants.submits.is_empty() {
        BTreeSet::new()
    } else {
        everywhere()
    };
    let parts: [(&str, &[&str], &BTreeSet<String>); 14] = [
        ("ReadStream", &READ_STREAM, &wants.reads),
        ("ListStream", &LIST_STREAMS, &listed),
        ("ProbeStream", &PROBE_STREAM, &wants.probes),
        (
            "ReachCluster",
            &["kafka-cluster:Connect", "kafka:GetBootstrapBrokers"],
            &wants.clusters,
        ),
        (
            "ReadTopic",
            &["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"],
            &wants.topics,
        ),
        (
            "Certificate",
            &["acm:ExportCertificate"],
            &wants.certificates,
        ),
        ("StmtStreamRole", &["sts:AssumeRole"], &wants.chains_on),
        ("AssumeRole", &["sts:AssumeRole"], &wants.assumes),
        ("Submit", &SUBMIT, &wants.submits),
        ("Follow", &FOLLOW, &followed),
        (
            "WorkgroupUser",
            &["redshift-serverless:GetCredentials"],
            &wants.serverless,
        ),
        (
            "ClusterIamUser",
            &["redshift:GetClusterCredentialsWithIAM"],
            &wants.iam_databases,
        ),
        (
            "ClusterDbUser",
            &["redshift:GetClusterCredentials"],
            &wants.user_databases,
        ),
        ("Secret", &["secretsmanager:GetSecretValue"], &wants.secrets),
    ];
    let statements: Vec<Statement> = parts
        .iter()
        .filter(|(_, _, resources)| !resources.is_empty())
        .map(|(sid, actions, resources)| Statement::allow(sid, actions, resources.iter().cloned()))
        .collect();
    (!statements.is_empty()).then(|| Document::new(statements))
}

/// What the documents cannot say.
#[must_use]
pub fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let streams = || config.streams.values();
    if streams().any(|stream| matches!(stream.source, StreamSource::Kinesis(_))) {
        notes.push(
            "a stream encrypted with a key of your own: add kms:Decrypt on that key to the roles that read it, and let the key's policy allow them"
                .to_owned(),
        );
    }
    let iam = |stream: &Stream| {
        let brokers = stream.brokers.as_ref();
        brokers.is_some_and(|brokers| brokers.auth == KafkaAuth::Iam)
    };
    if streams().any(iam) {
        notes.push("the name of an MSK cluster is not in the configuration: `cluster/*` and `topic/*` stand for it, narrow them".to_owned());
    }
    let acting = |warehouse: &Warehouse| acting_role(config, warehouse).is_some();
    let serverless = |warehouse: &&Warehouse| matches!(warehouse.target, Target::Workgroup(_));
    let warehouses = || config.warehouses.values();
    if warehouses().filter(serverless).any(acting) {
        notes.push("the ARN of a workgroup ends in an id that its name does not tell: `workgroup/*` stands for it, narrow it".to_owned());
    }
    if warehouses().any(|warehouse| warehouse.region.is_none() && acting(warehouse)) {
        notes.push("a warehouse has no `region`: `*` stands for it".to_owned());
    }
    if config.daemon.role_arn.is_none() {
        notes.push(
            "the daemon's own role is not known and left out: set `role_arn` in [daemon]"
                .to_owned(),
        );
    }
    notes
}

//! The JSON Schema of the configuration, for editors and CI.
//!
//! Decides: what an editor can know without reading the rest of the file: keys, kinds, words.
//! Deliberately absent: everything that refers to something else; `check` knows that.

use serde_json::{Map, Value, json};

const DURATION: &str = r"^([0-9]+(ms|s|m|h|d))+$";

/// JSON Schema (draft 2020-12) of `tidekeeper.toml`.
#[must_use]
pub fn schema() -> Value {
    let mut view = view_keys();
    view.insert("name".to_owned(), text("The view's name, or schema.name."));
    view.insert("id".to_owned(), text("Unique id; the name unless given."));
    view.insert("extends".to_owned(), text("A group to inherit from."));
    let view = json!({ "oneOf": [text("A view's name."), {
        "type": "object", "properties": view, "required": ["name"], "additionalProperties": false
    }]});
    let mut group = view_keys();
    group.insert("extends".to_owned(), text("A group to inherit from."));
    group.insert(
        "views".to_owned(),
        json!({ "type": "array", "items": view }),
    );
    let mut warehouse = view_keys();
    warehouse.remove("warehouse");
    warehouse.extend(warehouse_keys());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidekeeper configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "include": texts("More files, relative to this one; `*` in the last part."),
            "daemon": object(json!({
                "instance": text("Names this daemon's statements."),
                "listen": text("Address of metrics, health and API."),
                "drain": duration("How long a shutdown waits for running statements."),
                "watch": { "type": "boolean", "description": "Reload when a file changes." },
                "role_arn": text("The role it runs as, for `setup`."),
                "admin_token_file": text("File with the token that turns mutating routes on."),
            })),
            "defaults": object(Value::Object(view_keys())),
            "warehouses": named(object(Value::Object(warehouse))),
            "streams": named(object(json!({
                "kinesis": text("ARN of the data stream."),
                "kafka": text("Name of the topic."),
                "role_chain": texts("The roles that Redshift walks to the stream."),
                "probe_role_arn": text("The role that the daemon may assume."),
                "probe_share": { "type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.2,
                    "description": "Share of each shard's five reads a second that probes may take." },
                "retention": duration("How long the stream keeps records."),
                "kafka_uri": text("Brokers: host:port, separated by commas."),
                "kafka_auth": { "enum": ["none", "iam", "mtls"] },
                "authentication_arn": text("Certificate of ACM, for mtls."),
                "secret_arn": text("Secret with a certificate, for mtls."),
            }))),
            "schedules": named(object(json!({
                "timezone": text("IANA time zone."),
                "open": texts("Windows like `mon-fri 07:00-19:00`."),
                "closed": { "oneOf": [{ "const": "pause" }, object(json!({ "target_lag": duration("Laxer target.") }))] },
            }))),
            "groups": named(object(Value::Object(group))),
            "views": { "type": "array", "items": view },
        }
    })
}

fn view_keys() -> Map<String, Value> {
    let keys = json!({
        "warehouse": text("The warehouse that holds the view."),
        "database": text("Its database."),
        "schema": text("Its schema."),
        "stream": text("The stream behind it."),
        "target_lag": duration("The freshness target."),
        "miss_rate": { "type": "number", "exclusiveMinimum": 0, "maximum": 0.5 },
        "min_interval": duration("Refreshes are at least so far apart."),
        "max_interval": duration("Refreshes are at most so far apart."),
        "priority": { "enum": ["low", "normal", "high"] },
        "schedule": text("The calendar that the view follows."),
        "labels": { "type": "object", "additionalProperties": { "type": "string" } },
        "after": texts("Views that it is refreshed after."),
        "refresh_at": texts("Pinned times: cron patterns of five fields, UTC."),
        "mode": { "enum": ["active", "observe"] },
        "auth": object(json!({
            "db_user": text("Database user (clusters only)."),
            "secret_arn": text("Secret with the owner's credentials."),
        })),
        "session": object(json!({
            "query_group": text("Set before the refresh."),
            "case_sensitive": { "type": "boolean" },
        })),
        "statement_timeout": duration("A statement that runs longer is cancelled."),
        "create": create(),
    });
    match keys {
        Value::Object(keys) => keys,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

fn create() -> Value {
    object(json!({
        "external_schema": text("Schema that leads to the stream; the stream's name unless given."),
        "select": texts("SQL expressions that the view keeps."),
        "where": text("Condition on records; CAN_JSON_PARSE unless given."),
        "as": text("The whole defining query, instead of `select` and `where`."),
        "diststyle": { "enum": ["even", "key", "all"] },
        "distkey": text("Column."),
        "sortkey": texts("Columns."),
        "auto_refresh": { "type": "boolean", "default": false },
    }))
}

fn warehouse_keys() -> Vec<(String, Value)> {
    let role = json!({ "oneOf": [text("Role ARN."), object(json!({
        "arn": text("Role ARN."),
        "external_id": text("What the role's trust policy asks for."),
    }))]});
    [
        ("cluster", text("Identifier of a provisioned cluster.")),
        ("workgroup", text("Name of a Serverless workgroup.")),
        (
            "region",
            text("AWS region; from the environment unless given."),
        ),
        (
            "endpoint_url",
            text("Where every AWS service is asked instead."),
        ),
        ("assume_role", json!({ "type": "array", "items": role })),
        (
            "max_in_flight",
            json!({ "type": "integer", "minimum": 1, "maximum": 500 }),
        ),
        (
            "quota_share",
            json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
        ),
        (
            "overload",
            json!({ "enum": ["fair", "priority", "max_satisfied"], "default": "fair" }),
        ),
        ("outcomes", json!({ "enum": ["every", "sampled", "off"] })),
        ("billing", json!({ "enum": ["provisioned", "serverless"] })),
        (
            "wake_minimum",
            duration("What a wake-up is billed at least; Serverless only."),
        ),
        (
            "price_per_hour",
            json!({ "type": "number", "exclusiveMinimum": 0 }),
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "description": description })
}

fn texts(description: &str) -> Value {
    let one = json!({ "type": "string", "minLength": 1 });
    json!({ "oneOf": [one, { "type": "array", "items": one }], "description": description })
}

fn duration(description: &str) -> Value {
    json!({ "type": "string", "pattern": DURATION, "description": description })
}

fn object(properties: impl Into<Value>) -> Value {
    let properties = properties.into();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn named(value: impl Into<Value>) -> Value {
    let value = value.into();
    json!({ "type": "object", "additionalProperties": value })
}

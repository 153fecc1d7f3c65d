//! Decides which system views there are, and their columns (Developer Guide, "SYS monitoring
//! views", "SVV metadata views"; the two last columns of the scan's states are not documented
//! and were seen on Serverless).

use super::types::{Column, Relation, Type};

const NAME: Type = Type::Char(128);
const STREAM: Type = Type::Char(255);
const TEXT: Type = Type::Varchar(4000);

type Columns = &'static [(&'static str, Type)];

const REFRESH_HISTORY: Columns = &[
    ("user_id", Type::Int4),
    ("session_id", Type::Int4),
    ("transaction_id", Type::Int8),
    ("database_name", NAME),
    ("schema_name", NAME),
    ("mv_id", Type::Int8),
    ("mv_name", NAME),
    ("refresh_type", Type::Char(32)),
    ("status", TEXT),
    ("start_time", Type::Timestamp),
    ("end_time", Type::Timestamp),
    ("duration", Type::Int8),
    ("consumer_account", NAME),
    ("consumer_region", NAME),
    ("consumer_namespace", NAME),
];

const REFRESH_STATUS: Columns = &[
    ("db_name", NAME),
    ("userid", Type::Int8),
    ("schema_name", NAME),
    ("mv_name", NAME),
    ("xid", Type::Int8),
    ("starttime", Type::Timestamp),
    ("endtime", Type::Timestamp),
    ("status", TEXT),
    ("refresh_type", Type::Char(32)),
];

const SCAN_STATES: Columns = &[
    ("external_schema_name", NAME),
    ("stream_name", STREAM),
    ("mv_name", NAME),
    ("transaction_id", Type::Int8),
    ("query_id", Type::Int8),
    ("record_time", Type::Timestamp),
    ("partition_id", NAME),
    ("latest_position", NAME),
    ("scanned_rows", Type::Int8),
    ("skipped_rows", Type::Int8),
    ("scanned_bytes", Type::Int8),
    ("stream_record_time_min", Type::Timestamp),
    ("stream_record_time_max", Type::Timestamp),
    ("lag_from_latest", Type::Int8),
    ("max_latency_s", Type::Int8),
];

const SCAN_ERRORS: Columns = &[
    ("external_schema_name", NAME),
    ("stream_name", STREAM),
    ("mv_name", NAME),
    ("transaction_id", Type::Int8),
    ("query_id", Type::Int8),
    ("stream_timestamp_type", Type::Char(1)),
    ("stream_timestamp", Type::Timestamp),
    ("record_time", Type::Timestamp),
    ("partition_id", NAME),
    ("position", NAME),
    ("error_code", Type::Int4),
    ("error_reason", NAME),
];

const MV_INFO: Columns = &[
    ("database_name", NAME),
    ("schema_name", NAME),
    ("user_name", NAME),
    ("name", NAME),
    ("is_stale", Type::Char(1)),
    ("state", Type::Int4),
    ("autorewrite", Type::Char(1)),
    ("autorefresh", Type::Char(1)),
];

const STV_MV_INFO: Columns = &[
    ("db_name", NAME),
    ("schema", NAME),
    ("name", NAME),
    ("updated_upto_xid", Type::Int8),
    ("is_stale", Type::Char(1)),
    ("owner_user_name", NAME),
    ("state", Type::Int4),
    ("autorewrite", Type::Char(1)),
    ("autorefresh", Type::Char(1)),
];

const MV_STATE: Columns = &[
    ("user_id", Type::Int4),
    ("transaction_id", Type::Int8),
    ("database_name", NAME),
    ("event_desc", Type::Char(500)),
    ("start_time", Type::Timestamp),
    ("base_table_database_name", NAME),
    ("base_table_schema", NAME),
    ("base_table_name", NAME),
    ("mv_schema", NAME),
    ("mv_name", NAME),
    ("state", Type::Char(32)),
];

const MV_DEPS: Columns = &[
    ("db_name", NAME),
    ("schema", NAME),
    ("name", NAME),
    ("ref_schema", NAME),
    ("ref_name", NAME),
    ("ref_database_name", NAME),
];

const EXTERNAL_SCHEMAS: Columns = &[
    ("esoid", Type::Int8),
    ("eskind", Type::Int2),
    ("schemaname", Type::Varchar(128)),
    ("esowner", Type::Int4),
    ("databasename", Type::Varchar(128)),
    ("esoptions", TEXT),
];

const QUERY_HISTORY: Columns = &[
    ("user_id", Type::Int4),
    ("query_id", Type::Int8),
    ("query_label", Type::Char(320)),
    ("transaction_id", Type::Int8),
    ("session_id", Type::Int4),
    ("database_name", NAME),
    ("query_type", Type::Char(32)),
    ("status", Type::Char(10)),
    ("result_cache_hit", Type::Bool),
    ("start_time", Type::Timestamp),
    ("end_time", Type::Timestamp),
    ("elapsed_time", Type::Int8),
    ("queue_time", Type::Int8),
    ("execution_time", Type::Int8),
    ("error_message", Type::Char(512)),
    ("returned_rows", Type::Int8),
    ("returned_bytes", Type::Int8),
    ("query_text", Type::Char(4000)),
    ("redshift_version", NAME),
    ("usage_limit", Type::Char(150)),
    ("compute_type", Type::Varchar(32)),
    ("compile_time", Type::Int8),
    ("planning_time", Type::Int8),
    ("lock_wait_time", Type::Int8),
    ("username", Type::Varchar(255)),
];

const SERVERLESS_USAGE: Columns = &[
    ("start_time", Type::Timestamp),
    ("end_time", Type::Timestamp),
    ("compute_seconds", Type::Float8),
    ("compute_capacity", Type::Float8),
    ("data_storage", Type::Int4),
    ("cross_region_transferred_data", Type::Int4),
    ("charged_seconds", Type::Int4),
];

const TABLES: Columns = &[
    ("table_catalog", Type::Varchar(128)),
    ("table_schema", Type::Varchar(128)),
    ("table_name", Type::Varchar(128)),
    ("table_type", Type::Varchar(128)),
    ("remarks", Type::Varchar(256)),
];

const COLUMNS: Columns = &[
    ("table_catalog", Type::Varchar(128)),
    ("table_schema", Type::Varchar(128)),
    ("table_name", Type::Varchar(128)),
    ("column_name", Type::Varchar(128)),
    ("ordinal_position", Type::Int4),
    ("column_default", TEXT),
    ("is_nullable", Type::Varchar(3)),
    ("data_type", Type::Varchar(128)),
    ("character_maximum_length", Type::Int4),
];

const TABLE_INFO: Columns = &[
    ("database", TEXT),
    ("schema", TEXT),
    ("table_id", Type::Int8),
    ("table", TEXT),
    ("size", Type::Int8),
    (
        "tbl_rows",
        Type::Numeric {
            precision: 38,
            scale: 0,
        },
    ),
];

const USERS: Columns = &[
    ("usename", Type::Varchar(128)),
    ("usesysid", Type::Int4),
    ("usesuper", Type::Bool),
];

const USER_INFO: Columns = &[
    ("user_name", TEXT),
    ("user_id", Type::Int4),
    ("superuser", Type::Bool),
    ("syslog_access", TEXT),
];

/// Whether there is a system view of this name, or a column `view.column`.
pub(crate) fn is_system_name(name: &str) -> bool {
    let (view, column) = name
        .split_once('.')
        .map_or((name, None), |(view, column)| (view, Some(column)));
    system_relations("").iter().any(|relation| {
        relation.name == view
            && column.is_none_or(|column| {
                let mut columns = relation.columns.iter();
                columns.any(|known| known.name == column)
            })
    })
}

/// The system views of one warehouse.
pub(crate) fn system_relations(namespace: &str) -> Vec<Relation> {
    let views = [
        ("sys_mv_refresh_history", REFRESH_HISTORY),
        ("svl_mv_refresh_status", REFRESH_STATUS),
        ("sys_stream_scan_states", SCAN_STATES),
        ("sys_stream_scan_errors", SCAN_ERRORS),
        ("svv_mv_info", MV_INFO),
        ("stv_mv_info", STV_MV_INFO),
        ("sys_mv_state", MV_STATE),
        ("stv_mv_deps", MV_DEPS),
        ("svv_external_schemas", EXTERNAL_SCHEMAS),
        ("sys_query_history", QUERY_HISTORY),
        ("sys_serverless_usage", SERVERLESS_USAGE),
        ("svv_tables", TABLES),
        ("svv_columns", COLUMNS),
        ("svv_table_info", TABLE_INFO),
        ("pg_user", USERS),
        ("svv_user_info", USER_INFO),
    ];
    let standard = [("tables", TABLES), ("columns", COLUMNS)];
    let relation = |schema: &str, (name, columns): (&str, Columns)| Relation {
        namespace: namespace.to_owned(),
        schema: schema.to_owned(),
        name: name.to_owned(),
        columns: columns
            .iter()
            .map(|(name, ty)| Column::new(name, *ty))
            .collect(),
    };
    views
        .into_iter()
        .map(|view| relation("pg_catalog", view))
        .chain(
            standard
                .into_iter()
                .map(|view| relation("information_schema", view)),
        )
        .collect()
}

//! A corpus of statements and what Redshift answers: the walkthrough's, the documentation's
//! shapes, what dashboards and dbt ask the system views, casts, SUPER, errors.
//!
//! Each file of `corpus/` holds statements, each followed by `--|` lines: `name:type` of every
//! column and then the rows, or the error. `UPDATE_GOLDEN=1` writes what the lab answers, to
//! be read before it is kept.

use std::fmt::Write as _;

use super::{Cell, Column, Context, Db, Relation, Type, output, system_relations};
use crate::sql::{self, Command};

const PLACE: &str = "wh/dev";

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn relation(name: &str, columns: &[(&str, Type)]) -> Relation {
    Relation {
        namespace: PLACE.to_owned(),
        schema: "public".to_owned(),
        name: name.to_owned(),
        columns: columns
            .iter()
            .map(|(name, ty)| Column::new(name, *ty))
            .collect(),
    }
}

type Filled = (Relation, Vec<Vec<Cell>>);

fn stream_view() -> Filled {
    let user = |first: &str, last: &str, city: &str, age: i64| {
        text(&format!(
            r#"{{"name":{{"title":"Ms","first":"{first}","last":"{last}"}},"dob":{{"date":"1990-02-03T00:00:00.000Z","age":{age}}},"cell":"081-1","location":{{"city":"{city}"}},"email":"{}@example.com","tags":["a","b"],"active":true,"score":1.5,"none":null}}"#,
            first.to_lowercase()
        ))
    };
    let at = |second: i64| text(&format!("2026-11-23 12:00:0{second}.000000"));
    let view = relation(
        "my_stream_vw",
        &[
            ("approximatearrivaltimestamp", Type::Timestamp),
            ("partitionkey", Type::Varchar(256)),
            ("shardid", Type::Char(20)),
            ("sequencenumber", Type::Varchar(128)),
            ("payload", Type::Super),
        ],
    );
    let shard = text("shardId-000000000000");
    let rows = vec![
        vec![
            at(1),
            text("k1"),
            shard.clone(),
            text("491"),
            user("Ada", "Brandt", "Bergen", 36),
        ],
        vec![
            at(2),
            text("k2"),
            shard.clone(),
            text("492"),
            user("Björn", "Ito", "Graz", 41),
        ],
        vec![
            at(3),
            text("k1"),
            shard,
            text("493"),
            text("{\"name\":\"plain\"}"),
        ],
    ];
    (view, rows)
}

fn orders() -> Filled {
    let money = Type::Numeric {
        precision: 12,
        scale: 2,
    };
    let orders = relation(
        "orders",
        &[
            ("id", Type::Int4),
            ("customer", Type::Varchar(40)),
            ("amount", money),
            ("placed", Type::Timestamp),
            ("day", Type::Date),
            ("paid", Type::Bool),
            ("weight", Type::Float8),
            ("note", Type::Char(8)),
        ],
    );
    let order = |id, customer: Cell, amount: &str, day: &str, paid: Cell, weight| {
        vec![
            Cell::Int(id),
            customer,
            text(amount),
            text(&format!("{day} 10:30:00.250000")),
            text(day),
            paid,
            Cell::Float(weight),
            text("n"),
        ]
    };
    let sold = vec![
        order(
            1,
            text("ada"),
            "10.50",
            "2026-11-01",
            Cell::Bool(true),
            1.25,
        ),
        order(
            2,
            text("bob"),
            "20.00",
            "2026-11-02",
            Cell::Bool(false),
            2.5,
        ),
        order(3, text("ada"), "5.25", "2026-11-02", Cell::Bool(true), 0.5),
        order(4, Cell::Null, "7.00", "2026-12-31", Cell::Null, 4.0),
    ];
    (orders, sold)
}

fn customers() -> Filled {
    let customers = relation(
        "customers",
        &[("name", Type::Varchar(40)), ("city", Type::Varchar(40))],
    );
    let known = vec![
        vec![text("ada"), text("Bergen")],
        vec![text("eve"), text("Graz")],
    ];
    (customers, known)
}

/// Rows of the system views, by the names of their columns.
fn system_rows() -> Vec<(&'static str, Vec<(&'static str, Cell)>)> {
    let at = |time: &str| text(&format!("2026-11-23 {time}.000000"));
    vec![
        (
            "sys_mv_refresh_history",
            vec![
                ("session_id", Cell::Int(1_073_741_824)),
                ("transaction_id", Cell::Int(100_001)),
                ("database_name", text("dev")),
                ("schema_name", text("public")),
                ("mv_id", Cell::Int(100_001)),
                ("mv_name", text("my_stream_vw")),
                ("refresh_type", text("Manual")),
                (
                    "status",
                    text("Refresh successfully updated MV incrementally"),
                ),
                ("start_time", at("12:00:05")),
                ("end_time", at("12:00:06")),
                ("duration", Cell::Int(1_000_000)),
            ],
        ),
        (
            "sys_stream_scan_states",
            vec![
                ("external_schema_name", text("schema_stream")),
                ("stream_name", text("my-data-stream")),
                ("mv_name", text("my_stream_vw")),
                ("transaction_id", Cell::Int(100_001)),
                ("query_id", Cell::Int(7)),
                ("record_time", at("12:00:06")),
                ("partition_id", text("shardId-000000000000")),
                ("latest_position", text("493")),
                ("scanned_rows", Cell::Int(3)),
                ("skipped_rows", Cell::Int(0)),
                ("scanned_bytes", Cell::Int(600)),
                ("stream_record_time_min", at("12:00:01")),
                ("stream_record_time_max", at("12:00:03")),
                ("lag_from_latest", Cell::Int(0)),
                ("max_latency_s", Cell::Int(5)),
            ],
        ),
        (
            "svv_mv_info",
            vec![
                ("database_name", text("dev")),
                ("schema_name", text("public")),
                ("user_name", text("IAMR:tidekeeper")),
                ("name", text("my_stream_vw")),
                ("is_stale", text("f")),
                ("state", Cell::Int(1)),
                ("autorewrite", text("f")),
                ("autorefresh", text("f")),
            ],
        ),
    ]
}

fn fixture() -> (Db, Context) {
    let mut db = Db::open(None).unwrap();
    for relation in system_relations("wh") {
        db.create(relation).unwrap();
    }
    for (relation, rows) in [stream_view(), orders(), customers()] {
        let (schema, name) = (relation.schema.clone(), relation.name.clone());
        db.create(relation).unwrap();
        db.insert(PLACE, &schema, &name, &rows).unwrap();
    }
    for (name, values) in system_rows() {
        let relation = db.relations().find(|known| known.name == name).unwrap();
        let value = |column: &Column| {
            let found = values.iter().find(|(name, _)| *name == column.name);
            found.map_or(Cell::Null, |(_, cell)| cell.clone())
        };
        let row = relation.columns.iter().map(value).collect();
        db.insert("wh", "pg_catalog", name, &[row]).unwrap();
    }
    let context = Context {
        namespaces: vec![PLACE.to_owned(), "wh".to_owned()],
        search_path: vec!["public".to_owned(), "pg_catalog".to_owned()],
        now_us: super::value::read_timestamp("2026-11-23 14:02:52.5").unwrap(),
        user: "IAMR:tidekeeper".to_owned(),
        database: "dev".to_owned(),
        pid: 1_073_741_824,
    };
    (db, context)
}

fn answer(db: &Db, context: &Context, sql: &str) -> String {
    let result = match sql::parse(sql) {
        Ok(Command::Select(query)) => db.select(&query, context),
        Ok(other) => panic!("{sql}: {other:?}"),
        Err(text) => Err(text),
    };
    let table = match result {
        Ok(table) => table,
        Err(text) => return format!("--| {}\n", text.replace('\n', "\n--| ")),
    };
    let names = table
        .columns
        .iter()
        .map(|c| format!("{}:{}", c.name, c.ty.name()));
    let mut written = format!("--| {}\n", names.collect::<Vec<_>>().join("|"));
    for row in &table.rows {
        let cells = row
            .iter()
            .zip(&table.columns)
            .map(|(cell, column)| match cell {
                Cell::Null => "NULL".to_owned(),
                Cell::Bool(_) | Cell::Int(_) | Cell::Float(_) | Cell::Text(_) | Cell::Bytes(_) => {
                    output(cell, column.ty)
                }
            });
        writeln!(written, "--| {}", cells.collect::<Vec<_>>().join("|")).unwrap();
    }
    written
}

#[test]
fn every_statement_of_the_corpus_is_answered_as_it_is_written_there() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/db/corpus");
    let update = std::env::vars().any(|(name, _)| name == "UPDATE_GOLDEN");
    let (db, context) = fixture();
    let (mut statements, mut wrong) = (0, Vec::new());
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let held = std::fs::read_to_string(&file).unwrap();
        let mut made = String::new();
        let mut sql = String::new();
        for line in held.lines().filter(|line| !line.starts_with("--|")) {
            if sql.is_empty() && (line.is_empty() || line.starts_with("--")) {
                writeln!(made, "{line}").unwrap();
                continue;
            }
            writeln!(sql, "{line}").unwrap();
            if line.ends_with(';') {
                statements += 1;
                write!(made, "{sql}{}", answer(&db, &context, sql.trim_end())).unwrap();
                sql.clear();
            }
        }
        assert_eq!(
            sql,
            "",
            "the last statement of {} has no end",
            file.display()
        );
        if update {
            std::fs::write(&file, &made).unwrap();
        } else if made != held {
            let differs = made
                .lines()
                .zip(held.lines())
                .find(|(made, held)| made != held);
            wrong.push(format!("{}: {differs:?}", file.display()));
        }
    }
    assert!(statements >= 150, "{statements} statements");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn rude_texts_get_an_error_and_never_a_panic() {
    let (db, context) = fixture();
    let deep = |open: &str, close: &str, times: usize| {
        format!("SELECT {}1{}", open.repeat(times), close.repeat(times))
    };
    let mut rude: Vec<String> = vec![
        String::new(),
        ";".to_owned(),
        "SELECT".to_owned(),
        "SELECT *".to_owned(),
        "SELECT * FROM".to_owned(),
        "SELECT 'unended".to_owned(),
        "SELECT \"unended".to_owned(),
        "SELECT /* unended".to_owned(),
        "SELECT \u{0} FROM orders".to_owned(),
        "SELECT '\u{202e}' || FROM orders".to_owned(),
        "💥".to_owned(),
        deep("(", ")", 5_000),
        deep("-(", ")", 400),
        deep("abs(", ")", 300),
        deep("(SELECT ", ")", 300),
        deep("CASE WHEN true THEN ", " END", 300),
        format!("SELECT {}", "1+".repeat(20_000)),
        format!("SELECT {}1", "1 UNION SELECT ".repeat(500)),
        format!("SELECT * FROM {}orders", "orders, ".repeat(200)),
        format!("SELECT {}", "x".repeat(100_000)),
        format!(
            "SELECT payload{} FROM my_stream_vw WHERE nothing",
            ".a".repeat(2_000)
        ),
        "SELECT id FROM orders; DROP TABLE orders".to_owned(),
        "SELECT * FROM \"orders\"\" WHERE 1\"".to_owned(),
        "SELECT rs_int(1, 4)".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        "SELECT sqlite_version()".to_owned(),
        "SELECT readfile('/etc/passwd')".to_owned(),
        "SELECT randomblob(1000000000)".to_owned(),
        "SELECT zeroblob(1000000000)".to_owned(),
        "SELECT repeat('x', 2000000000)".to_owned(),
        "SELECT lpad('x', 2000000000, 'y')".to_owned(),
        "PRAGMA journal_mode".to_owned(),
        "ATTACH DATABASE 'x' AS y".to_owned(),
        "SELECT * FROM sqlite_master".to_owned(),
        "SELECT * FROM lab_state".to_owned(),
        "SELECT * FROM \"wh/dev/public.orders\"".to_owned(),
        "SELECT * FROM a.b.c.d.e".to_owned(),
        "SELECT id, count(*) FROM orders".to_owned(),
        "SELECT sum(sum(id)) FROM orders".to_owned(),
        "SELECT row_number() FROM orders".to_owned(),
        "SELECT id FROM orders ORDER BY 99".to_owned(),
        "SELECT id FROM orders GROUP BY 99".to_owned(),
        "SELECT id FROM orders LIMIT 'x'".to_owned(),
        "SELECT id FROM orders LIMIT -1".to_owned(),
        "SELECT 9223372036854775807 + 1 + 'x'".to_owned(),
        "SELECT 1/0".to_owned(),
        "SELECT 1 % 0".to_owned(),
        "SELECT 1.0/0".to_owned(),
        "SELECT '1e999'::int".to_owned(),
        "SELECT 1e400".to_owned(),
        "SELECT '2026-02-30'::date".to_owned(),
        "SELECT dateadd(year, 100000, getdate())".to_owned(),
        "SELECT dateadd(fortnight, 1, getdate())".to_owned(),
        "SELECT interval '1 parsec'".to_owned(),
        "SELECT json_parse('{')".to_owned(),
        "SELECT 'x'::nonsense".to_owned(),
        "SELECT 1::decimal(50,2)".to_owned(),
        "SELECT a.* FROM orders b".to_owned(),
        "SELECT * FROM orders o JOIN customers o ON true".to_owned(),
        "SELECT name FROM customers a, customers b".to_owned(),
        "SELECT (SELECT id, id FROM orders)".to_owned(),
        "SELECT id IN (SELECT id, id FROM orders) FROM orders".to_owned(),
        "SELECT 1 UNION SELECT 1, 2".to_owned(),
        "WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x".to_owned(),
        "SELECT * FROM generate_series(1, 1000000000)".to_owned(),
    ];
    let seed =
        "SELECT payload.name.first, count(*) FROM my_stream_vw WHERE a BETWEEN 1 AND 2 GROUP BY 1";
    rude.extend(
        (1..seed.len())
            .step_by(7)
            .map(|end| seed.chars().take(end).collect()),
    );
    let mut outcomes = Vec::new();
    for sql in &rude {
        let result = sql::parse(sql).and_then(|command| match command {
            Command::Select(query) => db.select(&query, &context).map(|_| ()),
            other => Err(format!("ERROR: {} is not a query", other.kind())),
        });
        if let Err(text) = &result {
            assert!(text.starts_with("ERROR:"), "{sql}: {text}");
        } else {
            outcomes.push(sql.chars().take(80).collect::<String>());
        }
    }
    assert_eq!(outcomes, Vec::<String>::new(), "these are no statements");
    let rows = db.select(
        &sql::parse_query("SELECT count(*) FROM orders").unwrap(),
        &context,
    );
    assert_eq!(rows.unwrap().rows, [[Cell::Int(4)]], "nothing was lost");
}

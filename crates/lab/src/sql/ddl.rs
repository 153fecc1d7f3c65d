//! Decides how the statements read that `sqlparser` does not know, or not as Redshift has
//! them: `REFRESH`, external schemas over streams, materialized views and their attributes.
//!
//! The order of a view's attributes is Redshift's: distribution and sort keys stand before
//! `AUTO REFRESH`, or it is a bare syntax error.

use sqlparser::tokenizer::Token;

use super::words::Words;
use super::{Command, CreateView, ExternalSchema, SchemaSource};

/// What has no effect here.
const ACCEPTED: [&str; 10] = [
    "GRANT",
    "REVOKE",
    "ALTER USER",
    "CREATE USER",
    "ALTER DEFAULT PRIVILEGES",
    "COMMENT ON",
    "ANALYZE",
    "VACUUM",
    "BEGIN",
    "COMMIT",
];

/// Reads the statement, if it is one of these.
pub(super) fn read(mut words: Words<'_>) -> Result<Option<Command>, String> {
    let command = if words.accept("REFRESH") {
        refresh(words)?
    } else if words.accept("CREATE EXTERNAL SCHEMA") {
        external_schema(words)?
    } else if words.accept("CREATE MATERIALIZED VIEW") {
        create_view(words)?
    } else if words.accept("DROP MATERIALIZED VIEW") {
        let if_exists = words.accept("IF EXISTS");
        let name = words.view()?;
        let cascade = restrict_or_cascade(&mut words);
        words.end()?;
        Command::DropView {
            name,
            if_exists,
            cascade,
        }
    } else if words.accept("ALTER MATERIALIZED VIEW") {
        let name = words.view()?;
        words.expect("AUTO REFRESH")?;
        let on = words.yes_or_no()?;
        words.end()?;
        Command::AutoRefresh { name, on }
    } else if words.accept("CREATE SCHEMA") {
        create_schema(words)?
    } else if words.accept("DROP SCHEMA") {
        let if_exists = words.accept("IF EXISTS");
        let name = words.name()?;
        // The external database is never dropped here: there is none behind a stream.
        words.accept("DROP EXTERNAL DATABASE");
        let cascade = restrict_or_cascade(&mut words);
        words.end()?;
        Command::DropSchema {
            name,
            if_exists,
            cascade,
        }
    } else if ACCEPTED.iter().any(|start| words.accept(start)) {
        Command::Accepted
    } else {
        return Ok(None);
    };
    Ok(Some(command))
}

fn restrict_or_cascade(words: &mut Words<'_>) -> bool {
    let cascade = words.accept("CASCADE");
    if !cascade {
        words.accept("RESTRICT");
    }
    cascade
}

/// `REFRESH MATERIALIZED VIEW name [RESTRICT | CASCADE]`
fn refresh(mut words: Words<'_>) -> Result<Command, String> {
    words.expect("MATERIALIZED VIEW")?;
    let name = words.view()?;
    restrict_or_cascade(&mut words);
    words.end()?;
    Ok(Command::Refresh(name))
}

/// `CREATE SCHEMA [IF NOT EXISTS] name [AUTHORIZATION user]`
fn create_schema(mut words: Words<'_>) -> Result<Command, String> {
    let if_not_exists = words.accept("IF NOT EXISTS");
    let name = words.name()?;
    if words.accept("AUTHORIZATION") {
        words.name()?;
    }
    words.end()?;
    Ok(Command::CreateSchema {
        name,
        if_not_exists,
    })
}

/// `CREATE EXTERNAL SCHEMA [IF NOT EXISTS] name FROM { KINESIS | KAFKA | MSK } …`
fn external_schema(mut words: Words<'_>) -> Result<Command, String> {
    let if_not_exists = words.accept("IF NOT EXISTS");
    let name = words.name()?;
    words.expect("FROM")?;
    let (mut region, mut iam_role, mut uri) = (None, None, String::new());
    let kinesis = words.accept("KINESIS");
    if !kinesis && !words.accept("KAFKA") && !words.accept("MSK") {
        return Err(words.unexpected());
    }
    loop {
        if kinesis && words.accept("REGION") {
            region = Some(words.string()?);
        } else if words.accept("IAM_ROLE") {
            iam_role = if words.accept("DEFAULT") {
                None
            } else {
                Some(words.string()?)
            };
        } else if !kinesis && words.accept("AUTHENTICATION") {
            words.name()?;
        } else if !kinesis && words.accept("URI") {
            uri = words.string()?;
        } else if !kinesis
            && (words.accept("AUTHENTICATION_ARN")
                || words.accept("SECRET_ARN")
                || words.accept("CLUSTER_ARN"))
        {
            words.string()?;
        } else {
            break;
        }
    }
    words.end()?;
    let source = if kinesis {
        SchemaSource::Kinesis { region }
    } else {
        SchemaSource::Kafka { uri }
    };
    Ok(Command::CreateExternalSchema(ExternalSchema {
        name,
        if_not_exists,
        source,
        iam_role,
    }))
}

/// `CREATE MATERIALIZED VIEW name [BACKUP …] [DISTSTYLE …] [DISTKEY …] [SORTKEY …] [AUTO
/// REFRESH …] AS query`
fn create_view(mut words: Words<'_>) -> Result<Command, String> {
    let name = words.view()?;
    if words.accept("BACKUP") {
        words.yes_or_no()?;
    }
    loop {
        if words.accept("DISTSTYLE") {
            if !["ALL", "EVEN", "KEY", "AUTO"]
                .iter()
                .any(|style| words.accept(style))
            {
                return Err(words.unexpected());
            }
        } else if words.accept("DISTKEY")
            || words.accept("SORTKEY")
            || words.accept("COMPOUND SORTKEY")
            || words.accept("INTERLEAVED SORTKEY")
        {
            columns(&mut words)?;
        } else {
            break;
        }
    }
    let auto_refresh = if words.accept("AUTO REFRESH") {
        words.yes_or_no()?
    } else {
        false
    };
    words.expect("AS")?;
    let (query, text) = words.query()?;
    Ok(Command::CreateView(Box::new(CreateView {
        name,
        auto_refresh,
        query,
        text,
    })))
}

/// `(column, …)`
fn columns(words: &mut Words<'_>) -> Result<(), String> {
    words.expect_token(&Token::LParen)?;
    words.name()?;
    while words.accept_token(&Token::Comma) {
        words.name()?;
    }
    words.expect_token(&Token::RParen)
}

//! Decides which column a name means: the relations of a query and of those around it, the
//! aliases of its own list, navigation into SUPER.

use sqlparser::ast::Ident;

use super::types::{Column, OLDER_NAMES, Type};

/// An expression in SQLite's words, and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) sql: String,
    pub(super) ty: Type,
}

impl Typed {
    pub(super) fn new(sql: impl Into<String>, ty: Type) -> Self {
        Self {
            sql: sql.into(),
            ty,
        }
    }
}

/// A relation in a FROM clause.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) alias: String,
    pub(super) columns: Vec<Column>,
    /// It answers to a stream's older names as well.
    pub(super) stream: bool,
    /// It is the items of an array: its name is the item itself.
    pub(super) item: Option<String>,
}

/// What the names of one SELECT mean.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) sources: Vec<Source>,
    /// The list's own names, for those that follow.
    pub(super) aliases: Vec<(String, Typed)>,
}

/// `"name"`, as SQLite quotes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, as SQLite quotes it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace('\0', ""))
}

pub(super) fn folded(ident: &Ident) -> String {
    ident.value.to_lowercase()
}

impl Source {
    fn column(&self, name: &str) -> Option<Typed> {
        let current = OLDER_NAMES
            .iter()
            .find(|(older, _)| self.stream && *older == name)
            .map_or(name, |(_, current)| current);
        let column = self.columns.iter().find(|column| column.name == current)?;
        Some(self.of(column))
    }

    pub(super) fn of(&self, column: &Column) -> Typed {
        let sql = match &self.item {
            Some(item) => item.clone(),
            None => format!("{}.{}", quoted(&self.alias), quoted(&column.name)),
        };
        Typed::new(sql, column.ty)
    }
}

/// What a name stands for: a column, and how many of the name's parts it takes.
pub(super) type Found = (Typed, usize);

/// Looks a dotted name up, from the innermost query outwards.
pub(super) fn find(scopes: &[Scope], parts: &[String]) -> Result<Found, String> {
    let (first, second) = (parts.first(), parts.get(1));
    let Some(first) = first else {
        return Err("ERROR: syntax error at end of input".to_owned());
    };
    for scope in scopes.iter().rev() {
        if let Some(source) = scope.sources.iter().find(|source| source.alias == *first) {
            if let Some(item) = &source.item {
                return Ok((Typed::new(item.clone(), Type::Super), 1));
            }
            if let Some(second) = second {
                return source
                    .column(second)
                    .map(|column| (column, 2))
                    .ok_or_else(|| format!("ERROR: column {first}.{second} does not exist"));
            }
        }
        // schema.table.column
        if let (Some(second), Some(third)) = (second, parts.get(2))
            && let Some(source) = scope.sources.iter().find(|source| source.alias == *second)
            && let Some(column) = source.column(third)
            && !scope
                .sources
                .iter()
                .any(|source| source.column(first).is_some())
        {
            return Ok((column, 3));
        }
        let mut found = scope
            .sources
            .iter()
            .filter_map(|source| source.column(first));
        if let Some(column) = found.next() {
            if found.next().is_some() {
                return Err(format!("ERROR: column reference \"{first}\" is ambiguous"));
            }
            return Ok((column, 1));
        }
        if let Some((_, aliased)) = scope.aliases.iter().find(|(alias, _)| alias == first) {
            return Ok((aliased.clone(), 1));
        }
    }
    let names: Vec<&str> = scopes
        .last()
        .map(|scope| {
            scope
                .sources
                .iter()
                .map(|source| source.alias.as_str())
                .collect()
        })
        .unwrap_or_default();
    if let Some(second) = second {
        return Err(format!(
            "ERROR: missing FROM-clause entry for table \"{first}\"\n  Detail: {first}.{second}"
        ));
    }
    Err(if names.is_empty() {
        format!("ERROR: column \"{first}\" does not exist")
    } else {
        format!(
            "ERROR: column \"{first}\" does not exist in {}",
            names.join(", ")
        )
    })
}

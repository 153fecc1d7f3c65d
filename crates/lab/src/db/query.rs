//! Decides what a query is in SQLite's words: its relations, its list, its groups, its order.
//!
//! Orders are Redshift's: nulls come last, or first when descending.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, ObjectName, OrderByExpr, OrderByKind, OrderByOptions,
    OrderBySort, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator,
    SetQuantifier, TableAlias, TopQuantity, Value, Values,
};

use super::Db;
use super::expr::unsupported;
use super::group::check_groups;
use super::scope::{Scope, Source, Typed, folded, quoted};
use super::types::{Column, Context, Type};

/// How deep queries may be nested in each other.
const DEEPEST: usize = 20;

/// Translates one statement.
#[derive(Debug)]
pub(super) struct Translator<'a> {
    pub(super) db: &'a Db,
    pub(super) context: &'a Context,
    /// The table that stands for whatever the query reads, and its columns.
    pub(super) stream: Option<(&'a str, &'a [Column])>,
    pub(super) scopes: Vec<Scope>,
    pub(super) depth: usize,
    pub(super) ctes: Vec<(String, Vec<Column>)>,
    queries: usize,
}

/// A query in SQLite's words, and its columns.
type Translated = (String, Vec<Column>);

impl<'a> Translator<'a> {
    pub(super) fn new(db: &'a Db, context: &'a Context) -> Self {
        Self {
            db,
            context,
            stream: None,
            scopes: Vec::new(),
            depth: 0,
            ctes: Vec::new(),
            queries: 0,
        }
    }

    pub(super) fn query(&mut self, query: &Query) -> Result<Translated, String> {
        self.queries += 1;
        if self.queries > DEEPEST {
            self.queries = 0;
            return Err("ERROR: stack depth limit exceeded".to_owned());
        }
        if query.fetch.is_some() || !query.locks.is_empty() || query.for_clause.is_some() {
            return unsupported("FETCH and FOR");
        }
        let known = self.ctes.len();
        let result = self.with_ctes(query);
        self.ctes.truncate(known);
        self.queries = self.queries.saturating_sub(1);
        result
    }

    fn with_ctes(&mut self, query: &Query) -> Result<Translated, String> {
        let mut clauses = Vec::new();
        if let Some(with) = &query.with {
            if with.recursive {
                return unsupported("WITH RECURSIVE");
            }
            for cte in &with.cte_tables {
                let (sql, columns) = self.query(&cte.query)?;
                let columns = renamed(columns, &cte.alias)?;
                let name = folded(&cte.alias.name);
                let names: Vec<String> = columns.iter().map(|c| quoted(&c.name)).collect();
                clauses.push(format!(
                    "{}({}) AS ({sql})",
                    quoted(&name),
                    names.join(", ")
                ));
                self.ctes.push((name, columns));
            }
        }
        let order = match &query.order_by {
            None => &[][..],
            Some(order) => match &order.kind {
                OrderByKind::Expressions(keys) => keys.as_slice(),
                OrderByKind::All(_) => return unsupported("ORDER BY ALL"),
            },
        };
        let limit = limit(query.limit_clause.as_ref())?;
        let (sql, columns) = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, order, &limit)?,
            body => {
                let (sql, columns) = self.body(body)?;
                let order = by_column(order, &columns)?;
                (format!("{sql}{order}{limit}"), columns)
            }
        };
        if clauses.is_empty() {
            return Ok((sql, columns));
        }
        Ok((format!("WITH {} {sql}", clauses.join(", ")), columns))
    }

    fn body(&mut self, body: &SetExpr) -> Result<Translated, String> {
        match body {
            SetExpr::Select(select) => self.select(select, &[], ""),
            SetExpr::Query(query) => {
                let (sql, columns) = self.query(query)?;
                Ok((format!("SELECT * FROM ({sql})"), columns))
            }
            SetExpr::SetOperation { .. } => self.set_operations(body),
            SetExpr::Values(values) => self.values(values),
            SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => unsupported(body),
        }
    }

    /// `a UNION b UNION c …` is a tree as deep as it is long: taken apart from the left.
    fn set_operations(&mut self, body: &SetExpr) -> Result<Translated, String> {
        let mut rest = Vec::new();
        let mut at = body;
        while let SetExpr::SetOperation {
            left,
            op,
            set_quantifier,
            right,
        } = at
        {
            rest.push((*op, *set_quantifier, right));
            at = left;
        }
        let mut made = self.body(at)?;
        for (op, quantifier, right) in rest.into_iter().rev() {
            made = self.set_operation(made, op, quantifier, right)?;
        }
        Ok(made)
    }

    fn set_operation(
        &mut self,
        (one, first): Translated,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: &SetExpr,
    ) -> Result<Translated, String> {
        let all = match quantifier {
            SetQuantifier::All => " ALL",
            SetQuantifier::Distinct | SetQuantifier::None => "",
            SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                return unsupported(quantifier);
            }
        };
        let word = match op {
            SetOperator::Union => "UNION",
            SetOperator::Except | SetOperator::Minus => "EXCEPT",
            SetOperator::Intersect => "INTERSECT",
        };
        if !all.is_empty() && word != "UNION" {
            return unsupported(format!("{word} ALL"));
        }
        let (other, second) = self.body(right)?;
        if first.len() != second.len() {
            return Err(format!(
                "ERROR: each {word} query must have the same number of columns"
            ));
        }
        let mut columns = Vec::new();
        for (left, right) in first.into_iter().zip(&second) {
            let ty = left.ty.with(right.ty).ok_or_else(|| {
                format!(
                    "ERROR: {word} types {} and {} cannot be matched",
                    left.ty.words(),
                    right.ty.words()
                )
            })?;
            columns.push(Column {
                name: left.name,
                ty,
            });
        }
        Ok((
            format!("SELECT * FROM ({one}) {word}{all} SELECT * FROM ({other})"),
            columns,
        ))
    }

    fn values(&mut self, values: &Values) -> Result<Translated, String> {
        let mut rows = Vec::new();
        let mut columns: Vec<Column> = Vec::new();
        for row in &values.rows {
            let mut cells = Vec::new();
            for (index, value) in row.content.iter().enumerate() {
                let typed = self.expr(value)?;
                match columns.get_mut(index) {
                    Some(column) => column.ty = column.ty.with(typed.ty).unwrap_or(column.ty),
                    None => columns.push(Column::new(&format!("column{}", index + 1), typed.ty)),
                }
                cells.push(typed.sql);
            }
            rows.push(format!("({})", cells.join(", ")));
        }
        Ok((format!("VALUES {}", rows.join(", ")), columns))
    }

    /// A query inside an expression; it sees the names around it.
    pub(super) fn subquery(&mut self, query: &Query) -> Result<Translated, String> {
        self.query(query)
    }

    fn select(
        &mut self,
        select: &Select,
        order: &[OrderByExpr],
        limit: &str,
    ) -> Result<Translated, String> {
        self.scopes.push(Scope::default());
        let result = self.select_here(select, order, limit);
        self.scopes.pop();
        result
    }

    fn select_here(
        &mut self,
        select: &Select,
        order: &[OrderByExpr],
        limit: &str,
    ) -> Result<Translated, String> {
        if select.into.is_some() || select.qualify.is_some() || !select.lateral_views.is_empty() {
            return unsupported("INTO, QUALIFY and LATERAL VIEW");
        }
        let mut from = String::new();
        for (index, table) in select.from.iter().enumerate() {
            from.push_str(if index == 0 { " FROM " } else { ", " });
            let joined = self.table(table)?;
            from.push_str(&joined);
        }
        let condition = match &select.selection {
            None => String::new(),
            Some(condition) => {
                let typed = self.expr(condition)?;
                format!(" WHERE {}", self.cast(typed, Type::Bool)?.sql)
            }
        };
        let list = self.list(&select.projection)?;
        let groups = self.groups(&select.group_by, &select.projection, &list)?;
        check_groups(self, select, &groups)?;
        let having = match &select.having {
            None => String::new(),
            Some(having) => {
                let typed = self.expr(having)?;
                format!(" HAVING {}", self.cast(typed, Type::Bool)?.sql)
            }
        };
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => "",
            Some(Distinct::Distinct) => "DISTINCT ",
            Some(Distinct::On(_)) => return unsupported("DISTINCT ON"),
        };
        let order = self.order(order, &list)?;
        let limit = match &select.top {
            None => limit.to_owned(),
            Some(top) => match &top.quantity {
                Some(TopQuantity::Constant(count)) => format!(" LIMIT {count}"),
                Some(TopQuantity::Expr(expr)) => format!(" LIMIT {}", plain_number(expr)?),
                None => return unsupported("TOP"),
            },
        };
        let items: Vec<String> = list
            .iter()
            .map(|(column, typed)| format!("{} AS {}", typed.sql, quoted(&column.name)))
            .collect();
        let group = if groups.is_empty() {
            String::new()
        } else {
            let sqls: Vec<&str> = groups.iter().map(|(_, typed)| typed.sql.as_str()).collect();
            format!(" GROUP BY {}", sqls.join(", "))
        };
        let sql = format!(
            "SELECT {distinct}{}{from}{condition}{group}{having}{order}{limit}",
            items.join(", ")
        );
        Ok((sql, list.into_iter().map(|(column, _)| column).collect()))
    }

    fn list(&mut self, items: &[SelectItem]) -> Result<Vec<(Column, Typed)>, String> {
        let mut list: Vec<(Column, Typed)> = Vec::new();
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let typed = self.expr(expr)?;
                    list.push((Column::new(&named(expr), typed.ty), typed));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let typed = self.expr(expr)?;
                    let name = folded(alias);
                    if let Some(scope) = self.scopes.last_mut() {
                        scope.aliases.push((name.clone(), typed.clone()));
                    }
                    list.push((Column::new(&name, typed.ty), typed));
                }
                SelectItem::Wildcard(_) => list.extend(self.all_of(None)?),
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    let alias = parts(name).pop().unwrap_or_default();
                    list.extend(self.all_of(Some(&alias))?);
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _)
                | SelectItem::ExprWithAliases { .. } => return unsupported(item),
            }
        }
        if list.is_empty() {
            return Err("ERROR: SELECT must have a list of columns".to_owned());
        }
        Ok(list)
    }

    fn all_of(&self, alias: Option<&str>) -> Result<Vec<(Column, Typed)>, String> {
        let sources = self.scopes.last().map(|scope| scope.sources.as_slice());
        let chosen: Vec<&Source> = sources
            .unwrap_or_default()
            .iter()
            .filter(|source| alias.is_none_or(|alias| source.alias == alias))
            .collect();
        if chosen.is_empty() {
            return Err(match alias {
                Some(alias) => format!("ERROR: missing FROM-clause entry for table \"{alias}\""),
                None => "ERROR: SELECT * with no tables specified is not valid".to_owned(),
            });
        }
        Ok(chosen
            .into_iter()
            .flat_map(|source| {
                source
                    .columns
                    .iter()
                    .map(|column| (column.clone(), source.of(column)))
            })
            .collect())
    }

    /// The groups, each as it is written (what it stands for, where it is a position or a
    /// name of the list) and as it is translated.
    fn groups(
        &mut self,
        groups: &GroupByExpr,
        items: &[SelectItem],
        list: &[(Column, Typed)],
    ) -> Result<Vec<(Expr, Typed)>, String> {
        let expressions = match groups {
            GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => expressions,
            GroupByExpr::Expressions(..) | GroupByExpr::All(_) => {
                return unsupported("this form of GROUP BY");
            }
        };
        let mut made = Vec::new();
        for expr in expressions {
            if let Some(position) = position(expr) {
                let index = position.checked_sub(1);
                let (Some((_, typed)), Some(item)) = (
                    index.and_then(|index| list.get(index)),
                    index.and_then(|index| items.get(index)),
                ) else {
                    return Err(format!(
                        "ERROR: GROUP BY position {position} is not in select list"
                    ));
                };
                made.push((expression_of(item).unwrap_or(expr).clone(), typed.clone()));
                continue;
            }
            let typed = self.expr(expr)?;
            let meant = items.iter().find_map(|item| match (item, expr) {
                (SelectItem::ExprWithAlias { expr: of, alias }, Expr::Identifier(name))
                    if folded(alias) == folded(name) =>
                {
                    Some(of)
                }
                (_, _) => None,
            });
            made.push((meant.unwrap_or(expr).clone(), typed));
        }
        Ok(made)
    }

    fn order(&mut self, keys: &[OrderByExpr], list: &[(Column, Typed)]) -> Result<String, String> {
        let mut made = Vec::new();
        for key in keys {
            let sql = if let Some(position) = position(&key.expr) {
                if position == 0 || position > list.len() {
                    return Err(format!(
                        "ERROR: ORDER BY position {position} is not in select list"
                    ));
                }
                position.to_string()
            } else {
                let named = match &key.expr {
                    Expr::Identifier(name) => list
                        .iter()
                        .position(|(column, _)| column.name == folded(name))
                        .map(|index| (index + 1).to_string()),
                    _ => None,
                };
                match named {
                    Some(position) => position,
                    None => self.expr(&key.expr)?.sql,
                }
            };
            made.push(ordered(&sql, &key.options));
        }
        if made.is_empty() {
            return Ok(String::new());
        }
        Ok(format!(" ORDER BY {}", made.join(", ")))
    }
}

pub(super) fn parts(name: &ObjectName) -> Vec<String> {
    name.0
        .iter()
        .filter_map(|part| part.as_ident().map(folded))
        .collect()
}

pub(super) fn renamed(mut columns: Vec<Column>, alias: &TableAlias) -> Result<Vec<Column>, String> {
    if alias.columns.len() > columns.len() {
        return Err(format!(
            "ERROR: table \"{}\" has {} columns available but {} columns specified",
            folded(&alias.name),
            columns.len(),
            alias.columns.len()
        ));
    }
    for (column, name) in columns.iter_mut().zip(&alias.columns) {
        column.name = folded(&name.name);
    }
    Ok(columns)
}

/// An ORDER BY key with Redshift's place for nulls.
pub(super) fn ordered(sql: &str, options: &OrderByOptions) -> String {
    let descending = matches!(options.sort, Some(OrderBySort::Desc));
    let nulls_first = options.nulls_first.unwrap_or(descending);
    format!(
        "{sql}{}{}",
        if descending { " DESC" } else { "" },
        if nulls_first {
            " NULLS FIRST"
        } else {
            " NULLS LAST"
        }
    )
}

/// ORDER BY of a set operation: names and positions of its result.
fn by_column(keys: &[OrderByExpr], columns: &[Column]) -> Result<String, String> {
    let mut made = Vec::new();
    for key in keys {
        let found = match &key.expr {
            Expr::Identifier(name) => columns.iter().position(|c| c.name == folded(name)),
            other => position(other).and_then(|position| position.checked_sub(1)),
        };
        let Some(index) = found.filter(|index| *index < columns.len()) else {
            return Err(
                "ERROR: ORDER BY on a UNION/INTERSECT/EXCEPT result must be on one of the result columns"
                    .to_owned(),
            );
        };
        made.push(ordered(&(index + 1).to_string(), &key.options));
    }
    if made.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(" ORDER BY {}", made.join(", ")))
}

fn position(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn plain_number(expr: &Expr) -> Result<usize, String> {
    match position(expr) {
        Some(number) => Ok(number),
        None => unsupported(format!("{expr} as a limit")),
    }
}

fn limit(clause: Option<&LimitClause>) -> Result<String, String> {
    let (limit, offset) = match clause {
        None => return Ok(String::new()),
        Some(LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        }) if limit_by.is_empty() => (limit.as_ref(), offset.as_ref().map(|offset| &offset.value)),
        Some(LimitClause::LimitOffset { .. } | LimitClause::OffsetCommaLimit { .. }) => {
            return unsupported("this form of LIMIT");
        }
    };
    let all = |expr: &&Expr| !matches!(expr, Expr::Identifier(name) if folded(name) == "all");
    let limit = match limit.filter(all) {
        Some(limit) => plain_number(limit)?.to_string(),
        None => "-1".to_owned(),
    };
    match offset {
        Some(offset) => Ok(format!(" LIMIT {limit} OFFSET {}", plain_number(offset)?)),
        None => Ok(format!(" LIMIT {limit}")),
    }
}

fn expression_of(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    }
}

/// What a column is called that nobody has named.
fn named(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => folded(name),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded).unwrap_or_default(),
        Expr::CompoundFieldAccess { root, access_chain } => access_chain
            .iter()
            .rev()
            .find_map(|access| match access {
                sqlparser::ast::AccessExpr::Dot(Expr::Identifier(name)) => Some(folded(name)),
                sqlparser::ast::AccessExpr::Dot(_) | sqlparser::ast::AccessExpr::Subscript(_) => {
                    None
                }
            })
            .unwrap_or_else(|| named(root)),
        Expr::JsonAccess { value, path } => path
            .path
            .iter()
            .rev()
            .find_map(|step| match step {
                sqlparser::ast::JsonPathElem::Dot { key, .. } => Some(key.to_lowercase()),
                _ => None,
            })
            .unwrap_or_else(|| named(value)),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => named(expr),
        Expr::Function(function) => super::call::name_of(function),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Extract { .. } => "date_part".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        _ => "?column?".to_owned(),
    }
}

//! Decides what a FROM clause is: relations, joins, queries inside, the items of arrays.

use sqlparser::ast::{
    JoinConstraint, JoinOperator, ObjectName, TableAlias, TableFactor, TableWithJoins,
};

use super::expr::{into, unsupported};
use super::query::{Translator, parts, renamed};
use super::scope::{Source, Typed, find, folded, quoted};
use super::types::{Column, Type};

impl Translator<'_> {
    pub(super) fn table(&mut self, table: &TableWithJoins) -> Result<String, String> {
        let mut sql = self.factor(&table.relation)?;
        for join in &table.joins {
            let (word, constraint) = match &join.join_operator {
                JoinOperator::Join(on) | JoinOperator::Inner(on) => ("JOIN", on),
                JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => ("LEFT JOIN", on),
                JoinOperator::Right(on) | JoinOperator::RightOuter(on) => ("RIGHT JOIN", on),
                JoinOperator::FullOuter(on) => ("FULL JOIN", on),
                JoinOperator::CrossJoin(on) => ("CROSS JOIN", on),
                other => {
                    return unsupported(format!("{other:?}").split('(').next().unwrap_or_default());
                }
            };
            let right = self.factor(&join.relation)?;
            let on = match constraint {
                JoinConstraint::None => String::new(),
                JoinConstraint::On(condition) => {
                    let typed = self.expr(condition)?;
                    format!(" ON {}", self.cast(typed, Type::Bool)?.sql)
                }
                JoinConstraint::Using(names) => self.using(names)?,
                JoinConstraint::Natural => return unsupported("NATURAL JOIN"),
            };
            sql.push_str(&format!(" {word} {right}{on}"));
        }
        Ok(sql)
    }

    /// `USING (a)` is `ON left.a = right.a`; the right one is then no longer a name of its own.
    fn using(&mut self, names: &[ObjectName]) -> Result<String, String> {
        let Some(scope) = self.scopes.last_mut() else {
            return Ok(String::new());
        };
        let Some((right, left)) = scope.sources.split_last_mut() else {
            return Ok(String::new());
        };
        let mut tests = Vec::new();
        for name in names {
            let name = parts(name).pop().unwrap_or_default();
            let column = |source: &Source| {
                let column = source.columns.iter().find(|column| column.name == name)?;
                Some(source.of(column).sql)
            };
            let (Some(one), Some(other)) = (left.iter().find_map(column), column(right)) else {
                return Err(format!(
                    "ERROR: column \"{name}\" specified in USING clause does not exist"
                ));
            };
            tests.push(format!("{one} = {other}"));
            right.columns.retain(|column| column.name != name);
        }
        Ok(format!(" ON {}", tests.join(" AND ")))
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<String, String> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => self.relation(name, alias.as_ref()),
            TableFactor::Derived {
                subquery, alias, ..
            } => {
                let Some(alias) = alias else {
                    return Err("ERROR: subquery in FROM must have an alias".to_owned());
                };
                // A derived table does not see its neighbours.
                let outer = std::mem::take(&mut self.scopes);
                let translated = self.query(subquery);
                self.scopes = outer;
                let (sql, columns) = translated?;
                let columns = renamed(columns, alias)?;
                let names: Vec<String> = columns.iter().map(|c| quoted(&c.name)).collect();
                let name = folded(&alias.name);
                self.add(Source {
                    alias: name.clone(),
                    columns,
                    stream: false,
                    item: None,
                })?;
                // SQLite has no column list on a derived table: a CTE inside gives it one.
                Ok(format!(
                    "(WITH \"inner\"({}) AS ({sql}) SELECT * FROM \"inner\") AS {}",
                    names.join(", "),
                    quoted(&name)
                ))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => Ok(format!("({})", self.table(table_with_joins)?)),
            other => unsupported(other),
        }
    }

    fn relation(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
    ) -> Result<String, String> {
        let names = parts(name);
        let called = alias.map_or_else(
            || names.last().cloned().unwrap_or_default(),
            |alias| folded(&alias.name),
        );
        if let Some((table, columns)) = self.stream {
            self.add(Source {
                alias: called.clone(),
                columns: columns.to_vec(),
                stream: true,
                item: None,
            })?;
            return Ok(format!("{} AS {}", quoted(table), quoted(&called)));
        }
        // `FROM v AS t, t.payload.items AS i`: the items of an array.
        let here = self.scopes.len().saturating_sub(1);
        if names.len() > 1
            && let Some(scope) = self.scopes.get(here..)
            && let Ok((column, taken)) = find(scope, &names)
            && column.ty == Type::Super
        {
            let rest = names.get(taken..).unwrap_or_default();
            let array = rest.iter().fold(column, |from, key| into(&from, key));
            return self.items(&array, &called);
        }
        if let [only] = names.as_slice()
            && let Some((_, columns)) = self.ctes.iter().rev().find(|(known, _)| known == only)
        {
            let columns = columns.clone();
            self.add(Source {
                alias: called.clone(),
                columns,
                stream: false,
                item: None,
            })?;
            return Ok(format!("{} AS {}", quoted(only), quoted(&called)));
        }
        let relation = self.db.lookup(&names, self.context)?;
        let columns = relation.columns.clone();
        let table = super::storage(relation);
        let columns = match alias {
            Some(alias) => renamed(columns.clone(), alias).map_or(columns, |renamed| {
                // A column list on a stored relation is not kept in SQLite.
                if alias.columns.is_empty() {
                    renamed
                } else {
                    Vec::new()
                }
            }),
            None => columns,
        };
        if columns.is_empty() {
            return unsupported("a column list on a relation's alias");
        }
        self.add(Source {
            alias: called.clone(),
            columns,
            stream: false,
            item: None,
        })?;
        Ok(format!("{} AS {}", quoted(&table), quoted(&called)))
    }

    fn items(&mut self, array: &Typed, called: &str) -> Result<String, String> {
        let each = quoted(called);
        let item = format!(
            "(CASE {each}.type WHEN 'text' THEN json_quote({each}.value) WHEN 'true' THEN 'true' \
             WHEN 'false' THEN 'false' WHEN 'null' THEN NULL ELSE CAST({each}.value AS TEXT) END)"
        );
        self.add(Source {
            alias: called.to_owned(),
            columns: vec![Column::new(called, Type::Super)],
            stream: false,
            item: Some(item),
        })?;
        let guarded = format!(
            "CASE WHEN rs_json_typeof({0}) = 'array' THEN {0} ELSE '[]' END",
            array.sql
        );
        Ok(format!("json_each({guarded}) AS {each}"))
    }

    fn add(&mut self, source: Source) -> Result<(), String> {
        let Some(scope) = self.scopes.last_mut() else {
            return Ok(());
        };
        if scope
            .sources
            .iter()
            .any(|known| known.alias == source.alias)
        {
            return Err(format!(
                "ERROR: table name \"{}\" specified more than once",
                source.alias
            ));
        }
        scope.sources.push(source);
        Ok(())
    }
}

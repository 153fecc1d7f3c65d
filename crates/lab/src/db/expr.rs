//! Decides what an expression is in SQLite's words, and its type.
//!
//! What is not listed here is a feature that the lab does not have, and says so: nothing of
//! a statement's text reaches SQLite as it stands.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, DateTimeField, Expr, Ident, JsonPathElem, Query,
    Subscript, TrimWhereField, UnaryOperator, Value,
};

use super::literal::{constant, interval_literal, read_type};
use super::query::Translator;
use super::scope::{Typed, find, folded, literal};
use super::types::{TEXT, Type};

/// How deep expressions may be nested; the parser has a limit of about this as well.
const DEEPEST: usize = 80;

pub(super) fn unsupported<T>(what: impl std::fmt::Display) -> Result<T, String> {
    let text: String = what.to_string().chars().take(200).collect();
    Err(format!("ERROR: feature not supported: {text}"))
}

impl Translator<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<Typed, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            self.depth = 0;
            return Err("ERROR: stack depth limit exceeded".to_owned());
        }
        let result = self.any_expr(expr);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    fn any_expr(&mut self, expr: &Expr) -> Result<Typed, String> {
        match expr {
            Expr::Identifier(name) => self.name(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(parts) => self.name(parts),
            Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain),
            Expr::JsonAccess { value, path } => self.json_path(value, &path.path),
            Expr::Value(value) => constant(&value.value),
            Expr::TypedString(typed) => {
                let ty = read_type(&typed.data_type.to_string())?;
                let text = match &typed.value.value {
                    Value::SingleQuotedString(text) => text.clone(),
                    other => return unsupported(other),
                };
                self.cast(Typed::new(literal(&text), Type::Unknown), ty)
            }
            Expr::Nested(inner) => {
                let inner = self.expr(inner)?;
                Ok(Typed::new(format!("({})", inner.sql), inner.ty))
            }
            Expr::BinaryOp { .. } => self.chain(expr),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::Cast {
                expr, data_type, ..
            } => {
                let inner = self.expr(expr)?;
                self.cast(inner, read_type(&data_type.to_string())?)
            }
            Expr::Convert {
                expr,
                data_type: Some(data_type),
                ..
            } => {
                let inner = self.expr(expr)?;
                self.cast(inner, read_type(&data_type.to_string())?)
            }
            Expr::Function(function) => self.call(function),
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref()),
            Expr::Interval(interval) => interval_literal(interval),
            Expr::Exists { subquery, negated } => {
                let (sql, _) = self.subquery(subquery)?;
                let not = if *negated { "NOT " } else { "" };
                Ok(Typed::new(format!("{not}EXISTS ({sql})"), Type::Bool))
            }
            Expr::Subquery(query) => self.scalar(query),
            other => self.spelled(other),
        }
    }

    /// Functions that have a syntax of their own.
    fn spelled(&mut self, expr: &Expr) -> Result<Typed, String> {
        match expr {
            Expr::Extract { field, expr, .. } => self.extract(field, expr),
            Expr::Ceil { expr, .. } => Ok(Self::rounded("ceil", self.number(expr)?)),
            Expr::Floor { expr, .. } => Ok(Self::rounded("floor", self.number(expr)?)),
            Expr::Position { expr, r#in } => {
                let (part, text) = (self.text(expr)?, self.text(r#in)?);
                Ok(Typed::new(
                    format!("rs_position({part}, {text})"),
                    Type::Int4,
                ))
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                let text = self.text(expr)?;
                let from = self.number_or(substring_from.as_deref(), "1")?;
                let length = self.number_or(substring_for.as_deref(), "65535")?;
                Ok(Typed::new(
                    format!("rs_substring({text}, {from}, {length})"),
                    TEXT,
                ))
            }
            Expr::Trim {
                trim_where,
                trim_what,
                expr,
                ..
            } => self.trim(*trim_where, trim_what.as_deref(), expr),
            Expr::AtTimeZone { timestamp, .. } => self.moment(timestamp),
            other => self.condition(other),
        }
    }

    /// Expressions that are true or false.
    fn condition(&mut self, expr: &Expr) -> Result<Typed, String> {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        let sql = match expr {
            Expr::IsNull(inner) => format!("({} IS NULL)", self.expr(inner)?.sql),
            Expr::IsNotNull(inner) => format!("({} IS NOT NULL)", self.expr(inner)?.sql),
            Expr::IsTrue(inner) => format!("({} IS TRUE)", self.truth(inner)?),
            Expr::IsNotTrue(inner) => format!("({} IS NOT TRUE)", self.truth(inner)?),
            Expr::IsFalse(inner) => format!("({} IS FALSE)", self.truth(inner)?),
            Expr::IsNotFalse(inner) => format!("({} IS NOT FALSE)", self.truth(inner)?),
            Expr::IsUnknown(inner) => format!("({} IS NULL)", self.truth(inner)?),
            Expr::IsNotUnknown(inner) => format!("({} IS NOT NULL)", self.truth(inner)?),
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let value = self.expr(expr)?;
                let (low, high) = (self.expr(low)?, self.expr(high)?);
                let least = self.combine(value.clone(), &BinaryOperator::GtEq, low)?;
                let most = self.combine(value, &BinaryOperator::LtEq, high)?;
                format!("({}({} AND {}))", not(negated), least.sql, most.sql)
            }
            Expr::InList {
                expr,
                list,
                negated,
            } => {
                let value = self.expr(expr)?;
                let mut tests = Vec::new();
                for item in list {
                    let item = self.expr(item)?;
                    tests.push(self.combine(value.clone(), &BinaryOperator::Eq, item)?.sql);
                }
                balanced(&tests, " OR ", not(negated))
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated,
            } => {
                let value = self.expr(expr)?;
                let (sql, columns) = self.subquery(subquery)?;
                if columns.len() != 1 {
                    return Err("ERROR: subquery has too many columns".to_owned());
                }
                format!("({} {}IN ({sql}))", value.sql, not(negated))
            }
            Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => self.like(*negated, expr, pattern, escape_char.as_deref(), 0)?,
            Expr::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => self.like(*negated, expr, pattern, escape_char.as_deref(), 1)?,
            other => return unsupported(other),
        };
        Ok(Typed::new(sql, Type::Bool))
    }

    fn like(
        &mut self,
        negated: bool,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        fold: u8,
    ) -> Result<String, String> {
        let (text, pattern) = (self.text(expr)?, self.text(pattern)?);
        let escape = match escape {
            Some(escape) => self.text(escape)?,
            None => "'\\'".to_owned(),
        };
        let not = if negated { "NOT " } else { "" };
        Ok(format!(
            "({not}rs_like({text}, {pattern}, {escape}, {fold}))"
        ))
    }

    fn name(&mut self, parts: &[Ident]) -> Result<Typed, String> {
        let names: Vec<String> = parts.iter().map(folded).collect();
        if let [only] = names.as_slice()
            && find(&self.scopes, &names).is_err()
            && let Some(typed) = self.niladic(only)
        {
            return Ok(typed);
        }
        let (column, taken) = find(&self.scopes, &names)?;
        let rest = names.get(taken..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(column);
        }
        if column.ty != Type::Super {
            let of = names.get(taken - 1).map_or("", String::as_str);
            return Err(format!(
                "ERROR: navigation on column \"{of}\" is not allowed as it is not SUPER type"
            ));
        }
        Ok(rest.iter().fold(column, |from, key| into(&from, key)))
    }

    fn access(&mut self, root: &Expr, chain: &[AccessExpr]) -> Result<Typed, String> {
        // `t.payload.items[0]` comes as a root `t` with everything else as its chain.
        let mut names: Vec<Ident> = Vec::new();
        let mut chain = chain.iter().peekable();
        let mut at = match root {
            Expr::Identifier(name) => {
                names.push(name.clone());
                while let Some(AccessExpr::Dot(Expr::Identifier(name))) = chain.peek() {
                    names.push(name.clone());
                    chain.next();
                }
                self.name(&names)?
            }
            Expr::CompoundIdentifier(parts) => self.name(parts)?,
            other => self.expr(other)?,
        };
        for access in chain {
            if at.ty != Type::Super {
                return Err(format!(
                    "ERROR: navigation on column \"{}\" is not allowed as it is not SUPER type",
                    names.last().map_or("?column?", |name| name.value.as_str())
                ));
            }
            at = match access {
                AccessExpr::Dot(Expr::Identifier(name)) => into(&at, &folded(name)),
                AccessExpr::Subscript(Subscript::Index {
                    index: Expr::Value(value),
                }) => match &value.value {
                    Value::Number(number, _) => into(&at, number),
                    Value::SingleQuotedString(key) => into(&at, key),
                    other => return unsupported(other),
                },
                other => return unsupported(other),
            };
        }
        Ok(at)
    }

    /// `payload.items[0].id`, which the parser reads as a path from `payload.items` on.
    fn json_path(&mut self, root: &Expr, path: &[JsonPathElem]) -> Result<Typed, String> {
        let mut at = self.expr(root)?;
        for step in path {
            if at.ty != Type::Super {
                return Err(format!(
                    "ERROR: navigation on column \"{root}\" is not allowed as it is not SUPER type"
                ));
            }
            at = match step {
                JsonPathElem::Dot { key, .. } => into(&at, &key.to_lowercase()),
                JsonPathElem::Bracket {
                    key: Expr::Value(value),
                } => match &value.value {
                    Value::Number(key, _) | Value::SingleQuotedString(key) => into(&at, key),
                    other => return unsupported(other),
                },
                JsonPathElem::Bracket { key } | JsonPathElem::ColonBracket { key } => {
                    return unsupported(key);
                }
            };
        }
        Ok(at)
    }

    /// `a + b + c …` is a tree as deep as it is long: taken apart from the left.
    fn chain(&mut self, expr: &Expr) -> Result<Typed, String> {
        let mut rest = Vec::new();
        let mut at = expr;
        while let Expr::BinaryOp { left, op, right } = at {
            rest.push((op, right));
            at = left;
        }
        let mut typed = self.expr(at)?;
        for (op, right) in rest.into_iter().rev() {
            let right = self.expr(right)?;
            typed = self.combine(typed, op, right)?;
        }
        Ok(typed)
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Expr) -> Result<Typed, String> {
        let inner = self.expr(expr)?;
        match op {
            UnaryOperator::Not => {
                let truth = self.cast(inner, Type::Bool)?;
                Ok(Typed::new(format!("(NOT {})", truth.sql), Type::Bool))
            }
            UnaryOperator::Minus if inner.ty.is_number() => {
                Ok(Typed::new(format!("(- {})", inner.sql), inner.ty))
            }
            UnaryOperator::Plus if inner.ty.is_number() => Ok(inner),
            other => unsupported(format!("{other} {}", inner.ty.words())),
        }
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Typed, String> {
        let operand = operand.map(|operand| self.expr(operand)).transpose()?;
        let mut arms = Vec::new();
        for CaseWhen { condition, result } in conditions {
            let condition = self.expr(condition)?;
            let condition = match &operand {
                Some(operand) => self.combine(operand.clone(), &BinaryOperator::Eq, condition)?,
                None => self.cast(condition, Type::Bool)?,
            };
            arms.push((condition.sql, self.expr(result)?));
        }
        let otherwise = match otherwise {
            Some(otherwise) => self.expr(otherwise)?,
            None => Typed::new("NULL", Type::Unknown),
        };
        let mut results: Vec<Typed> = arms.iter().map(|(_, result)| result.clone()).collect();
        results.push(otherwise);
        let (mut results, ty) = self.alike(results, "CASE")?;
        let otherwise = results.pop().unwrap_or_default();
        let mut sql = "CASE".to_owned();
        for ((condition, _), result) in arms.into_iter().zip(results) {
            sql.push_str(&format!(" WHEN {condition} THEN {result}"));
        }
        Ok(Typed::new(format!("{sql} ELSE {otherwise} END"), ty))
    }

    /// Several expressions as one type.
    pub(super) fn alike(
        &mut self,
        typed: Vec<Typed>,
        what: &str,
    ) -> Result<(Vec<String>, Type), String> {
        let mut ty = Type::Unknown;
        for one in &typed {
            ty = ty.with(one.ty).ok_or_else(|| {
                format!(
                    "ERROR: {what} types {} and {} cannot be matched",
                    ty.words(),
                    one.ty.words()
                )
            })?;
        }
        let mut sqls = Vec::new();
        for one in typed {
            let same = one.ty == ty || (one.ty.is_text() && ty.is_text());
            sqls.push(
                if same || one.sql == "NULL" || (one.ty.is_number() && ty.is_number()) {
                    one.sql
                } else {
                    self.cast(one, ty)?.sql
                },
            );
        }
        Ok((sqls, ty))
    }

    fn scalar(&mut self, query: &Query) -> Result<Typed, String> {
        let (sql, columns) = self.subquery(query)?;
        match columns.as_slice() {
            [column] => Ok(Typed::new(format!("({sql})"), column.ty)),
            _ => Err("ERROR: subquery must return only one column".to_owned()),
        }
    }

    fn extract(&mut self, field: &DateTimeField, expr: &Expr) -> Result<Typed, String> {
        let field = field.to_string().to_lowercase();
        let inner = self.expr(expr)?;
        if inner.ty == Type::Interval {
            if field != "epoch" {
                return unsupported(format!("{field} of an interval"));
            }
            return Ok(Typed::new(
                format!("rs_interval_seconds({})", inner.sql),
                Type::Float8,
            ));
        }
        let moment = self.cast(inner, Type::Timestamp)?.sql;
        let part = format!("rs_date_part({}, {moment})", literal(&field));
        Ok(if field == "epoch" {
            Typed::new(part, Type::Float8)
        } else {
            Typed::new(format!("CAST({part} AS INTEGER)"), Type::Int4)
        })
    }

    /// `CEIL` and `FLOOR`.
    pub(super) fn rounded(function: &str, number: Typed) -> Typed {
        let ty = match number.ty {
            Type::Numeric { precision, .. } => Type::Numeric {
                precision,
                scale: 0,
            },
            ty if ty.is_integer() => return number,
            ty => ty,
        };
        Typed::new(format!("rs_{function}({})", number.sql), ty)
    }

    fn trim(
        &mut self,
        side: Option<TrimWhereField>,
        what: Option<&Expr>,
        expr: &Expr,
    ) -> Result<Typed, String> {
        let text = self.text(expr)?;
        let what = match what {
            Some(what) => self.text(what)?,
            None => "' '".to_owned(),
        };
        let function = match side {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "trim",
        };
        Ok(Typed::new(format!("{function}({text}, {what})"), TEXT))
    }

    /// An expression as text.
    pub(super) fn text(&mut self, expr: &Expr) -> Result<String, String> {
        let inner = self.expr(expr)?;
        self.as_text(inner)
    }

    pub(super) fn as_text(&mut self, typed: Typed) -> Result<String, String> {
        if typed.ty.is_text() {
            return Ok(typed.sql);
        }
        Ok(self.cast(typed, TEXT)?.sql)
    }

    /// An expression as a number; a text becomes a float.
    pub(super) fn number(&mut self, expr: &Expr) -> Result<Typed, String> {
        let inner = self.expr(expr)?;
        if inner.ty.is_number() {
            return Ok(inner);
        }
        self.cast(inner, Type::Float8)
    }

    pub(super) fn integer(&mut self, expr: &Expr) -> Result<String, String> {
        let inner = self.expr(expr)?;
        if inner.ty.is_integer() {
            return Ok(inner.sql);
        }
        Ok(self.cast(inner, Type::Int8)?.sql)
    }

    fn number_or(&mut self, expr: Option<&Expr>, otherwise: &str) -> Result<String, String> {
        expr.map_or_else(|| Ok(otherwise.to_owned()), |expr| self.integer(expr))
    }

    /// An expression as a timestamp.
    pub(super) fn moment(&mut self, expr: &Expr) -> Result<Typed, String> {
        let inner = self.expr(expr)?;
        if matches!(inner.ty, Type::Timestamp | Type::TimestampTz) {
            return Ok(inner);
        }
        self.cast(inner, Type::Timestamp)
    }

    fn truth(&mut self, expr: &Expr) -> Result<String, String> {
        let inner = self.expr(expr)?;
        Ok(self.cast(inner, Type::Bool)?.sql)
    }
}

/// `a OR b OR …`, halved again and again so that long lists stay shallow.
fn balanced(tests: &[String], by: &str, not: &str) -> String {
    fn join(tests: &[String], by: &str) -> String {
        match tests {
            [] => "FALSE".to_owned(),
            [one] => one.clone(),
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                format!("({}{by}{})", join(left, by), join(right, by))
            }
        }
    }
    format!("({not}{})", join(tests, by))
}

/// A step into a SUPER value: what is not there is null.
pub(super) fn into(from: &Typed, key: &str) -> Typed {
    let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
    Typed::new(
        format!("rs_super_get({}, {})", from.sql, literal(&pointer)),
        Type::Super,
    )
}

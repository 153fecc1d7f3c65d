//! Decides what a function call is: which functions there are, what they take, what they give.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
    WindowType,
};

use super::expr::unsupported;
use super::query::Translator;
use super::scope::{Typed, literal};
use super::types::{TEXT, Type};

/// What aggregates are called.
pub(super) const AGGREGATES: [&str; 12] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "listagg",
    "bool_and",
    "bool_or",
    "any_value",
    "stddev",
    "median",
    "approximate_count",
];

/// What only windows have.
const WINDOWED: [&str; 10] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
];

pub(super) fn name_of(function: &Function) -> String {
    let parts = &function.name.0;
    let last = parts.last().and_then(|part| part.as_ident());
    last.map(|ident| ident.value.to_lowercase())
        .unwrap_or_default()
}

impl Translator<'_> {
    pub(super) fn call(&mut self, function: &Function) -> Result<Typed, String> {
        let name = name_of(function);
        let (arguments, distinct, star) = arguments(function)?;
        if function.filter.is_some() {
            return unsupported("FILTER");
        }
        let aggregate = AGGREGATES.contains(&name.as_str());
        if let Some(over) = &function.over {
            if !aggregate && !WINDOWED.contains(&name.as_str()) {
                return Err(format!("ERROR: {name} is not a window function"));
            }
            let typed = if aggregate {
                self.aggregate(function, &name, &arguments, distinct, star)?
            } else {
                self.windowed(&name, &arguments)?
            };
            let window = self.window(over)?;
            let sql = if typed.sql.starts_with("CAST(") {
                // AVG of integers: the window belongs to the inside.
                typed
                    .sql
                    .replacen(") AS INTEGER)", &format!(") {window} AS INTEGER)"), 1)
            } else {
                format!("{} {window}", typed.sql)
            };
            return Ok(Typed::new(sql, typed.ty));
        }
        if aggregate {
            return self.aggregate(function, &name, &arguments, distinct, star);
        }
        if WINDOWED.contains(&name.as_str()) {
            return Err(format!(
                "ERROR: window function {name} requires an OVER clause"
            ));
        }
        let typed = match self.text_call(&name, &arguments)? {
            Some(typed) => Some(typed),
            None => match self.time_call(&name, &arguments)? {
                Some(typed) => Some(typed),
                None => match self.json_call(&name, &arguments)? {
                    Some(typed) => Some(typed),
                    None => self.other_call(&name, &arguments)?,
                },
            },
        };
        match typed {
            Some(typed) => Ok(typed),
            None => Err(self.no_function(&name, &arguments)),
        }
    }

    /// What has no parentheses, or empty ones.
    pub(super) fn niladic(&self, name: &str) -> Option<Typed> {
        let context = self.context;
        let now = || literal(&super::value::timestamp_text(context.now_us));
        Some(match name {
            "getdate" | "sysdate" | "now" | "localtimestamp" => Typed::new(now(), Type::Timestamp),
            "current_timestamp" => Typed::new(now(), Type::TimestampTz),
            "current_date" => Typed::new(
                literal(&super::value::date_text(context.now_us)),
                Type::Date,
            ),
            "current_user" | "user" | "session_user" | "current_user_name" => {
                Typed::new(literal(&context.user), Type::Varchar(128))
            }
            "current_database" => Typed::new(literal(&context.database), Type::Varchar(128)),
            "current_schema" => Typed::new(
                literal(context.search_path.first().map_or("", String::as_str)),
                Type::Varchar(128),
            ),
            "current_namespace" => Typed::new("'lab'", Type::Varchar(128)),
            "current_user_id" => Typed::new("100", Type::Int4),
            "pg_backend_pid" => Typed::new(context.pid.to_string(), Type::Int4),
            "version" => Typed::new(
                literal("PostgreSQL 8.0.2 on i686-pc-linux-gnu, Redshift 1.0 (Tidekeeper lab)"),
                TEXT,
            ),
            _ => return None,
        })
    }

    fn no_function(&mut self, name: &str, arguments: &[&Expr]) -> String {
        let types: Vec<&str> = arguments
            .iter()
            .map(|argument| {
                self.expr(argument)
                    .map_or("\"unknown\"", |typed| typed.ty.words())
            })
            .collect();
        format!(
            "ERROR: function {name}({}) does not exist\n  Hint: No function matches the given name \
             and argument types. You may need to add explicit type casts.",
            types.join(", ")
        )
    }

    fn windowed(&mut self, name: &str, arguments: &[&Expr]) -> Result<Typed, String> {
        match (name, arguments) {
            ("row_number" | "rank" | "dense_rank", []) => {
                Ok(Typed::new(format!("{name}()"), Type::Int8))
            }
            ("percent_rank" | "cume_dist", []) => Ok(Typed::new(format!("{name}()"), Type::Float8)),
            ("ntile", [buckets]) => {
                let buckets = self.integer(buckets)?;
                Ok(Typed::new(format!("ntile({buckets})"), Type::Int8))
            }
            ("first_value" | "last_value", [value]) => {
                let value = self.expr(value)?;
                Ok(Typed::new(format!("{name}({})", value.sql), value.ty))
            }
            ("lag" | "lead", [value, rest @ ..]) if rest.len() < 2 => {
                let value = self.expr(value)?;
                let offset = match rest {
                    [offset] => self.integer(offset)?,
                    _ => "1".to_owned(),
                };
                Ok(Typed::new(
                    format!("{name}({}, {offset})", value.sql),
                    value.ty,
                ))
            }
            (_, _) => Err(self.no_function(name, arguments)),
        }
    }

    fn window(&mut self, over: &WindowType) -> Result<String, String> {
        let WindowType::WindowSpec(window) = over else {
            return unsupported("named windows");
        };
        let mut parts = Vec::new();
        if !window.partition_by.is_empty() {
            let mut keys = Vec::new();
            for key in &window.partition_by {
                keys.push(self.expr(key)?.sql);
            }
            parts.push(format!("PARTITION BY {}", keys.join(", ")));
        }
        if !window.order_by.is_empty() {
            let mut keys = Vec::new();
            for key in &window.order_by {
                let typed = self.expr(&key.expr)?;
                keys.push(super::query::ordered(&typed.sql, &key.options));
            }
            parts.push(format!("ORDER BY {}", keys.join(", ")));
        }
        if let Some(frame) = &window.window_frame {
            let text = match &frame.end_bound {
                Some(end) => format!("{} BETWEEN {} AND {end}", frame.units, frame.start_bound),
                None => format!("{} {}", frame.units, frame.start_bound),
            };
            // Nothing but keywords and numbers can stand there.
            if !text.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ') {
                return unsupported(text);
            }
            parts.push(text);
        }
        Ok(format!("OVER ({})", parts.join(" ")))
    }

    fn aggregate(
        &mut self,
        function: &Function,
        name: &str,
        arguments: &[&Expr],
        distinct: bool,
        star: bool,
    ) -> Result<Typed, String> {
        let only = if distinct { "DISTINCT " } else { "" };
        if name == "count" && star {
            return Ok(Typed::new("count(*)", Type::Int8));
        }
        if name == "listagg" {
            return self.listagg(function, arguments, only);
        }
        let [argument] = arguments else {
            return Err(self.no_function(name, arguments));
        };
        let typed = self.expr(argument)?;
        let sql = &typed.sql;
        let wrong = |ty: Type| format!("ERROR: function {name}({}) does not exist", ty.words());
        Ok(match name {
            "count" => Typed::new(format!("count({only}{sql})"), Type::Int8),
            "min" | "any_value" => Typed::new(format!("min({sql})"), typed.ty),
            "max" => Typed::new(format!("max({sql})"), typed.ty),
            "bool_or" if typed.ty == Type::Bool => Typed::new(format!("max({sql})"), Type::Bool),
            "bool_and" if typed.ty == Type::Bool => Typed::new(format!("min({sql})"), Type::Bool),
            "sum" | "avg" if typed.ty == Type::Super => {
                let number = self.cast(typed, Type::Float8)?;
                Typed::new(format!("{name}({only}{})", number.sql), Type::Float8)
            }
            "sum" => match typed.ty {
                Type::Int2 | Type::Int4 => Typed::new(format!("sum({only}{sql})"), Type::Int8),
                Type::Int8 => {
                    let ty = Type::Numeric {
                        precision: 38,
                        scale: 0,
                    };
                    Typed::new(format!("sum({only}{sql})"), ty)
                }
                Type::Numeric { scale, .. } => {
                    let ty = Type::Numeric {
                        precision: 38,
                        scale,
                    };
                    Typed::new(format!("sum({only}{sql})"), ty)
                }
                Type::Float4 | Type::Float8 => {
                    Typed::new(format!("sum({only}{sql})"), Type::Float8)
                }
                other => return Err(wrong(other)),
            },
            // Of integers it is an integer, cut (Developer Guide, AVG).
            "avg" if typed.ty.is_integer() => {
                Typed::new(format!("CAST(avg({only}{sql}) AS INTEGER)"), Type::Int8)
            }
            "avg" if typed.ty.is_number() => Typed::new(format!("avg({only}{sql})"), typed.ty),
            "avg" => return Err(wrong(typed.ty)),
            other => return unsupported(other),
        })
    }

    fn listagg(
        &mut self,
        function: &Function,
        arguments: &[&Expr],
        only: &str,
    ) -> Result<Typed, String> {
        let (value, by) = match arguments {
            [value] => (self.text(value)?, "''".to_owned()),
            [value, by] => (self.text(value)?, self.text(by)?),
            _ => return Err(self.no_function("listagg", arguments)),
        };
        let mut keys = Vec::new();
        for key in &function.within_group {
            let typed = self.expr(&key.expr)?;
            keys.push(super::query::ordered(&typed.sql, &key.options));
        }
        let order = if keys.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", keys.join(", "))
        };
        if only.is_empty() {
            return Ok(Typed::new(
                format!("group_concat({value}, {by}{order})"),
                TEXT,
            ));
        }
        if by != "','" {
            return unsupported("LISTAGG(DISTINCT …) with another delimiter than a comma");
        }
        Ok(Typed::new(
            format!("group_concat(DISTINCT {value}{order})"),
            TEXT,
        ))
    }

    fn other_call(&mut self, name: &str, arguments: &[&Expr]) -> Result<Option<Typed>, String> {
        if arguments.is_empty()
            && let Some(typed) = self.niladic(name)
        {
            return Ok(Some(typed));
        }
        if name.starts_with("has_") && name.ends_with("_privilege") {
            return Ok(Some(Typed::new("1", Type::Bool)));
        }
        let typed = match (name, arguments) {
            ("coalesce" | "nvl", [_, ..]) | ("greatest" | "least", [_, _, ..]) => {
                let typed = self.each(arguments)?;
                let (sqls, ty) = self.alike(typed, &name.to_uppercase())?;
                let list = sqls.join(", ");
                match (name, sqls.len()) {
                    ("coalesce" | "nvl", 1) => Typed::new(list, ty),
                    ("coalesce" | "nvl", _) => Typed::new(format!("coalesce({list})"), ty),
                    ("greatest", _) => Typed::new(format!("max({list})"), ty),
                    (_, _) => Typed::new(format!("min({list})"), ty),
                }
            }
            ("nvl2", [test, one, other]) => {
                let test = self.expr(test)?;
                let typed = self.each(&[one, other])?;
                let (sqls, ty) = self.alike(typed, "NVL2")?;
                let arms = sqls.join(" ELSE ");
                Typed::new(
                    format!("CASE WHEN {} IS NOT NULL THEN {arms} END", test.sql),
                    ty,
                )
            }
            ("nullif", [one, other]) => {
                let (one, other) = (self.expr(one)?, self.expr(other)?);
                let same = self.combine(one.clone(), &sqlparser::ast::BinaryOperator::Eq, other)?;
                Typed::new(
                    format!("CASE WHEN {} THEN NULL ELSE {} END", same.sql, one.sql),
                    one.ty,
                )
            }
            ("decode", [value, rest @ ..]) if rest.len() >= 2 => self.decode(value, rest)?,
            _ => return self.number_call(name, arguments),
        };
        Ok(Some(typed))
    }

    fn number_call(&mut self, name: &str, arguments: &[&Expr]) -> Result<Option<Typed>, String> {
        let typed = match (name, arguments) {
            ("abs", [value]) => {
                let value = self.number(value)?;
                Typed::new(format!("abs({})", value.sql), value.ty)
            }
            ("ceil" | "ceiling" | "floor", [value]) => {
                let value = self.number(value)?;
                let function = if name == "floor" { "floor" } else { "ceil" };
                Self::rounded(function, value)
            }
            ("round" | "trunc", [value, rest @ ..]) if rest.len() < 2 => {
                self.rounding(name, value, rest.first().copied())?
            }
            ("mod", [one, other]) => {
                let (one, other) = (self.number(one)?, self.number(other)?);
                self.combine(one, &sqlparser::ast::BinaryOperator::Modulo, other)?
            }
            ("power" | "pow", [one, other]) => {
                let (one, other) = (self.number(one)?, self.number(other)?);
                Typed::new(format!("rs_pow({}, {})", one.sql, other.sql), Type::Float8)
            }
            ("sqrt" | "exp" | "ln" | "log", [value]) => {
                let value = self.number(value)?;
                Typed::new(format!("rs_{name}({})", value.sql), Type::Float8)
            }
            ("sign", [value]) => {
                let value = self.number(value)?;
                Typed::new(format!("sign({})", value.sql), Type::Int4)
            }
            ("pg_get_userbyid", [_]) => Typed::new(literal(&self.context.user), Type::Varchar(128)),
            _ => return Ok(None),
        };
        Ok(Some(typed))
    }

    fn each(&mut self, arguments: &[&Expr]) -> Result<Vec<Typed>, String> {
        arguments
            .iter()
            .map(|argument| self.expr(argument))
            .collect()
    }

    fn rounding(
        &mut self,
        name: &str,
        value: &Expr,
        places: Option<&Expr>,
    ) -> Result<Typed, String> {
        let typed = self.expr(value)?;
        if name == "trunc" && typed.ty.is_time() {
            return self.cast(typed, Type::Date);
        }
        let value = if typed.ty.is_number() {
            typed
        } else {
            self.cast(typed, Type::Float8)?
        };
        let places = places.map_or_else(|| Ok("0".to_owned()), |places| self.integer(places))?;
        let sql = if name == "round" {
            format!("round({}, {places})", value.sql)
        } else {
            format!("rs_trunc({}, {places})", value.sql)
        };
        if value.ty.is_integer() {
            return Ok(Typed::new(format!("CAST({sql} AS INTEGER)"), value.ty));
        }
        Ok(Typed::new(sql, value.ty))
    }

    /// `DECODE(value, search, result, …, default)`, where null equals null.
    fn decode(&mut self, value: &Expr, rest: &[&Expr]) -> Result<Typed, String> {
        let value = self.expr(value)?;
        let (mut tests, mut results) = (Vec::new(), Vec::new());
        let mut pairs = rest.chunks_exact(2);
        for pair in pairs.by_ref() {
            if let [search, result] = pair {
                let search = self.expr(search)?;
                let search = if search.sql == "NULL" {
                    search
                } else {
                    self.cast(search, value.ty)?
                };
                tests.push(format!("{} IS {}", value.sql, search.sql));
                results.push(self.expr(result)?);
            }
        }
        results.push(match pairs.remainder() {
            [otherwise] => self.expr(otherwise)?,
            _ => Typed::new("NULL", Type::Unknown),
        });
        let (mut results, ty) = self.alike(results, "DECODE")?;
        let otherwise = results.pop().unwrap_or_default();
        let mut sql = "CASE".to_owned();
        for (test, result) in tests.iter().zip(results) {
            sql.push_str(&format!(" WHEN {test} THEN {result}"));
        }
        Ok(Typed::new(format!("{sql} ELSE {otherwise} END"), ty))
    }
}

/// A call's arguments, whether DISTINCT stands before them, and whether they are a star.
fn arguments(function: &Function) -> Result<(Vec<&Expr>, bool, bool), String> {
    let list = match &function.args {
        FunctionArguments::None => return Ok((Vec::new(), false, false)),
        FunctionArguments::List(list) => list,
        FunctionArguments::Subquery(_) => return unsupported("a query as an argument"),
    };
    let mut expressions = Vec::new();
    let mut star = false;
    for argument in &list.args {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => expressions.push(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => star = true,
            FunctionArg::Unnamed(
                FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::WildcardWithOptions(_),
            )
            | FunctionArg::Named { .. }
            | FunctionArg::ExprNamed { .. } => return unsupported(argument),
        }
    }
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    Ok((expressions, distinct, star))
}

/// A word that stands for itself, as in `DATEDIFF(day, …)`: bare or quoted.
pub(super) fn word(expr: &Expr) -> Result<String, String> {
    match expr {
        Expr::Identifier(name) => Ok(name.value.to_lowercase()),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Ok(text.to_lowercase()),
            other => unsupported(other),
        },
        other => unsupported(other),
    }
}

//! Decides what an operation on two values is, and its type.

use sqlparser::ast::BinaryOperator;

use super::expr::unsupported;
use super::query::Translator;
use super::scope::Typed;
use super::types::{TEXT, Type, digits, wider};

impl Translator<'_> {
    /// One operation on two values.
    pub(super) fn combine(
        &mut self,
        left: Typed,
        op: &BinaryOperator,
        right: Typed,
    ) -> Result<Typed, String> {
        match op {
            BinaryOperator::And | BinaryOperator::Or => {
                let (left, right) = (self.cast(left, Type::Bool)?, self.cast(right, Type::Bool)?);
                Ok(Typed::new(
                    format!("({} {op} {})", left.sql, right.sql),
                    Type::Bool,
                ))
            }
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => self.compare(left, &op.to_string(), right),
            BinaryOperator::StringConcat => {
                let (left, right) = (self.as_text(left)?, self.as_text(right)?);
                Ok(Typed::new(format!("({left} || {right})"), TEXT))
            }
            BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo => self.arithmetic(left, &op.to_string(), right),
            other => unsupported(other),
        }
    }

    fn compare(&mut self, left: Typed, op: &str, right: Typed) -> Result<Typed, String> {
        let (one, two) = (left.ty, right.ty);
        let (left, right) = match (one, two) {
            (Type::Super, Type::Super) => (left, right),
            (Type::Super, _) => (scalar_of(&left, two), right),
            (_, Type::Super) => {
                let scalar = scalar_of(&right, one);
                (left, scalar)
            }
            (Type::Unknown, Type::Unknown) => (left, right),
            (Type::Unknown, _) => (self.cast(left, two)?, right),
            (_, Type::Unknown) => (left, self.cast(right, one)?),
            (_, _) if one.is_time() && two.is_text() => (left, self.cast(right, Type::Timestamp)?),
            (_, _) if one.is_text() && two.is_time() => (self.cast(left, Type::Timestamp)?, right),
            (_, _) => match one.with(two) {
                Some(_) => (left, right),
                None => return Err(no_operator(one, op, two)),
            },
        };
        // A date is shorter than a timestamp: both become timestamps.
        let stamped = |typed: Typed| {
            if typed.ty == Type::Date {
                format!("rs_timestamp({})", typed.sql)
            } else {
                typed.sql
            }
        };
        let both_dates = left.ty == Type::Date && right.ty == Type::Date;
        let (left, right) = if both_dates {
            (left.sql, right.sql)
        } else {
            (stamped(left), stamped(right))
        };
        Ok(Typed::new(format!("({left} {op} {right})"), Type::Bool))
    }

    fn arithmetic(&mut self, left: Typed, op: &str, right: Typed) -> Result<Typed, String> {
        let number = |typed: Typed, other: Type| match typed.ty {
            Type::Unknown if other.is_number() => Some(other),
            Type::Super => Some(Type::Float8),
            _ => None,
        };
        let (left_to, right_to) = (
            number(left.clone(), right.ty),
            number(right.clone(), left.ty),
        );
        let left = match left_to {
            Some(ty) => self.cast(left, ty)?,
            None => left,
        };
        let right = match right_to {
            Some(ty) => self.cast(right, ty)?,
            None => right,
        };
        let (one, two) = (left.ty, right.ty);
        if one.is_number() && two.is_number() {
            return Ok(numbers(&left, op, &right));
        }
        let typed = match (one, op, two) {
            (Type::Date, "+" | "-", ty) if ty.is_integer() => Typed::new(
                format!(
                    "substr(rs_later({}, '0|' || ({} * 86400000000), {}), 1, 10)",
                    left.sql,
                    right.sql,
                    if op == "+" { 1 } else { -1 }
                ),
                Type::Date,
            ),
            (ty, "+" | "-", Type::Interval) if ty.is_time() => {
                later(&left, &right, if op == "+" { 1 } else { -1 })
            }
            (Type::Interval, "+", ty) if ty.is_time() => later(&right, &left, 1),
            (Type::Date, "-", Type::Date) => Typed::new(
                format!("rs_datediff('day', {}, {})", right.sql, left.sql),
                Type::Int8,
            ),
            (one, "-", two) if one.is_time() && two.is_time() => Typed::new(
                format!("rs_between({}, {})", left.sql, right.sql),
                Type::Interval,
            ),
            (Type::Interval, "+" | "-", Type::Interval) => Typed::new(
                format!(
                    "rs_interval({}, {}, {})",
                    left.sql,
                    right.sql,
                    if op == "+" { 1 } else { -1 }
                ),
                Type::Interval,
            ),
            (Type::Interval, "*", ty) if ty.is_number() => Typed::new(
                format!("rs_interval_times({}, {})", left.sql, right.sql),
                Type::Interval,
            ),
            (ty, "*", Type::Interval) if ty.is_number() => Typed::new(
                format!("rs_interval_times({}, {})", right.sql, left.sql),
                Type::Interval,
            ),
            (_, _, _) => return Err(no_operator(one, op, two)),
        };
        Ok(typed)
    }
}

/// A SUPER value to be compared with a scalar: null when it is of another kind.
fn scalar_of(typed: &Typed, with: Type) -> Typed {
    let sql = &typed.sql;
    if with.is_number() {
        return Typed::new(
            format!("(CASE rs_json_typeof({sql}) WHEN 'number' THEN CAST({sql} AS NUMERIC) END)"),
            Type::Float8,
        );
    }
    if with == Type::Bool {
        return Typed::new(
            format!("(CASE rs_json_typeof({sql}) WHEN 'boolean' THEN {sql} = 'true' END)"),
            Type::Bool,
        );
    }
    Typed::new(
        format!("(CASE rs_json_typeof({sql}) WHEN 'string' THEN rs_super_text({sql}) END)"),
        TEXT,
    )
}

fn later(moment: &Typed, interval: &Typed, sign: i8) -> Typed {
    let ty = if moment.ty == Type::TimestampTz {
        Type::TimestampTz
    } else {
        Type::Timestamp
    };
    Typed::new(
        format!("rs_later({}, {}, {sign})", moment.sql, interval.sql),
        ty,
    )
}

/// Sums, products and quotients (Developer Guide, "Computations with numeric values").
fn numbers(left: &Typed, op: &str, right: &Typed) -> Typed {
    let ty = wider(left.ty, right.ty);
    let (one, two) = (&left.sql, &right.sql);
    match op {
        "/" if ty.is_integer() => Typed::new(format!("rs_idiv({one}, {two})"), ty),
        "/" => Typed::new(
            format!("rs_fdiv({one}, {two})"),
            quotient(left.ty, right.ty, ty),
        ),
        "%" if ty.is_integer() => Typed::new(format!("rs_imod({one}, {two})"), ty),
        "%" => Typed::new(format!("rs_fmod({one}, {two})"), ty),
        "*" => {
            let ty = match ty {
                Type::Numeric { .. } => {
                    let ((_, one), (_, two)) = (digits(left.ty), digits(right.ty));
                    Type::Numeric {
                        precision: 38,
                        scale: (one + two).min(37),
                    }
                }
                ty => ty,
            };
            Typed::new(format!("({one} * {two})"), ty)
        }
        op => Typed::new(format!("({one} {op} {two})"), ty),
    }
}

fn quotient(one: Type, two: Type, ty: Type) -> Type {
    let Type::Numeric { .. } = ty else {
        return ty;
    };
    let ((_, scale), (whole, other)) = (digits(one), digits(two));
    let scale = (i32::from(scale) + i32::from(whole) + 1).max(4);
    let scale = u8::try_from(scale.min(20)).unwrap_or(20).max(other.min(20));
    Type::Numeric {
        precision: 38,
        scale,
    }
}

fn no_operator(one: Type, op: &str, two: Type) -> String {
    format!(
        "ERROR: operator does not exist: {} {op} {}\n  Hint: No operator matches the given name \
         and argument type(s). You may need to add explicit type casts.",
        one.words(),
        two.words()
    )
}

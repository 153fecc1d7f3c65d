//! Decides whether what a grouped query shows is one value for each group.

use sqlparser::ast::{
    CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Select, SelectItem,
};

use super::call::{AGGREGATES, name_of};
use super::query::Translator;
use super::scope::{Typed, find, folded};

/// Refuses a bare column beside aggregates and groups.
pub(super) fn check_groups(
    translator: &Translator<'_>,
    select: &Select,
    groups: &[(Expr, Typed)],
) -> Result<(), String> {
    let shown: Vec<&Expr> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
            SelectItem::ExprWithAliases { .. }
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::Wildcard(_) => None,
        })
        .collect();
    let aggregated = shown
        .iter()
        .copied()
        .chain(&select.having)
        .any(has_aggregate);
    if groups.is_empty() && !aggregated {
        return Ok(());
    }
    let texts: Vec<String> = groups
        .iter()
        .map(|(expr, _)| expr.to_string().to_lowercase())
        .collect();
    for expr in shown {
        loose(translator, expr, &texts)?;
    }
    Ok(())
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return Vec::new();
    };
    list.args
        .iter()
        .filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            FunctionArg::Unnamed(_) | FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                None
            }
        })
        .collect()
}

fn is_aggregate(function: &Function) -> bool {
    function.over.is_none() && AGGREGATES.contains(&name_of(function).as_str())
}

/// The expressions directly inside one; queries inside are their own business.
fn inside(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::UnaryOp { expr, .. }
        | Expr::Nested(expr)
        | Expr::Cast { expr, .. }
        | Expr::IsNull(expr)
        | Expr::IsNotNull(expr)
        | Expr::IsTrue(expr)
        | Expr::IsFalse(expr)
        | Expr::Extract { expr, .. }
        | Expr::Ceil { expr, .. }
        | Expr::Floor { expr, .. }
        | Expr::Trim { expr, .. }
        | Expr::Substring { expr, .. } => vec![expr],
        Expr::Between {
            expr, low, high, ..
        } => vec![expr, low, high],
        Expr::InList { expr, list, .. } => {
            let mut all: Vec<&Expr> = vec![expr];
            all.extend(list);
            all
        }
        Expr::Like { expr, pattern, .. } | Expr::ILike { expr, pattern, .. } => {
            vec![expr, pattern]
        }
        Expr::Function(function) => arguments(function),
        Expr::Case {
            operand,
            conditions,
            else_result,
            ..
        } => {
            let mut all: Vec<&Expr> = operand.iter().map(AsRef::as_ref).collect();
            for CaseWhen { condition, result } in conditions {
                all.extend([condition, result]);
            }
            all.extend(else_result.iter().map(AsRef::as_ref));
            all
        }
        _ => Vec::new(),
    }
}

fn has_aggregate(expr: &Expr) -> bool {
    let mut rest = vec![expr];
    while let Some(expr) = rest.pop() {
        if matches!(expr, Expr::Function(function) if is_aggregate(function)) {
            return true;
        }
        rest.extend(inside(expr));
    }
    false
}

fn loose(translator: &Translator<'_>, expr: &Expr, groups: &[String]) -> Result<(), String> {
    let mut rest = vec![expr];
    while let Some(expr) = rest.pop() {
        if matches!(expr, Expr::Function(function) if is_aggregate(function)) {
            continue;
        }
        let text = expr.to_string().to_lowercase();
        if groups.contains(&text) {
            continue;
        }
        let names: Vec<String> = match expr {
            Expr::Identifier(name) => vec![folded(name)],
            Expr::CompoundIdentifier(parts) => parts.iter().map(folded).collect(),
            _ => {
                rest.extend(inside(expr));
                continue;
            }
        };
        let here = translator.scopes.len().saturating_sub(1);
        let scope = translator.scopes.get(here..).unwrap_or_default();
        let is_column = scope.first().is_some_and(|scope| {
            scope.sources.iter().any(|source| {
                source.alias == names.first().map_or("", String::as_str)
                    || source
                        .columns
                        .iter()
                        .any(|column| names.contains(&column.name))
            })
        });
        let bare = names.last().cloned().unwrap_or_default();
        let grouped = groups.iter().any(|group| {
            let last = group
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .trim_matches('"');
            last == bare
        });
        if is_column && find(scope, &names).is_ok() && !grouped {
            return Err(format!(
                "ERROR: column \"{}\" must appear in the GROUP BY clause or be used in an \
                 aggregate function",
                names.join(".")
            ));
        }
    }
    Ok(())
}

//! Target text to tree: `IN (SELECT …)`.

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Query, Select, SelectItem, SetExpr, Spanned as _,
    TableFactor, TableWithJoins,
};
use sqlparser::tokenizer::Location;

use super::ast::{JsonBase, Operand, SubSelect};
use super::columns::{ColumnType, Table};
use super::operand::{folded, operand};
use super::parse::{Scope, TargetError, condition};

/// Sub-selects inside each other.
const MAX_SELECTS: usize = 3;

const FORM: &str = "a sub-select reads SELECT column FROM commands, actions or signatures \
                    [, json_array_elements(commands.results) AS r] [WHERE condition]";

/// Reads the query after `IN`.
pub(super) fn sub_select(
    query: &Query,
    outer: &Expr,
    scope: Scope<'_>,
) -> Result<SubSelect, TargetError> {
    // Spans are missing for some forms; the place of the outer expression is
    // near enough then.
    let place = match query.span().start {
        start if start.line == 0 => outer.span().start,
        start => start,
    };
    let wrong = || TargetError::at(place, FORM);
    let SetExpr::Select(select) = query.body.as_ref() else { return Err(wrong()) };
    if !is_plain(query, select) {
        return Err(wrong());
    }
    if scope.selects >= MAX_SELECTS {
        return Err(TargetError::at(place, "too many sub-selects inside each other"));
    }
    let mut sources = Sources::default();
    for from in &select.from {
        sources.add(from, place)?;
    }
    if sources.tables.is_empty() || sources.tables.len() > 2 {
        return Err(wrong());
    }
    let inner = Scope {
        tables: &sources.tables,
        element: sources.element.as_deref(),
        selects: scope.selects + 1,
        depth: scope.depth,
    };
    let [SelectItem::UnnamedExpr(projected)] = select.projection.as_slice() else {
        return Err(wrong());
    };
    let Operand::Column(column) = operand(projected, inner)? else {
        return Err(TargetError::in_expr(projected, "a sub-select gives one plain column"));
    };
    let selection = select.selection.as_ref();
    Ok(SubSelect {
        column,
        elements: sources.element.is_some(),
        condition: selection.map(|expr| condition(expr, inner)).transpose()?,
        tables: sources.tables.clone(),
    })
}

/// Whether the query consists of nothing but the parts that are read: what is
/// not read would appear in its printed form.
fn is_plain(query: &Query, select: &Select) -> bool {
    let join = |items: Vec<String>| items.join(", ");
    let projection = join(select.projection.iter().map(ToString::to_string).collect());
    let from = join(select.from.iter().map(ToString::to_string).collect());
    let selection = select.selection.as_ref().map(|expr| format!(" WHERE {expr}"));
    let tail = format!("{projection} FROM {from}{}", selection.unwrap_or_default());
    let printed = query.to_string();
    printed == format!("SELECT {tail}") || printed == format!("SELECT DISTINCT {tail}")
}

/// What follows `FROM`.
#[derive(Default)]
struct Sources {
    tables: Vec<Table>,
    element: Option<String>,
}

impl Sources {
    fn add(&mut self, from: &TableWithJoins, place: Location) -> Result<(), TargetError> {
        let place = match from.relation.span().start {
            start if start.line == 0 => place,
            start => start,
        };
        let wrong = || TargetError::at(place, FORM);
        if !from.joins.is_empty() {
            return Err(TargetError::at(place, "tables are joined with commas and WHERE"));
        }
        let (name, alias, arguments) = match &from.relation {
            TableFactor::Table { name, alias, args: None, .. } => (name, alias, None),
            TableFactor::Table { name, alias, args: Some(list), .. } => {
                (name, alias, Some(list.args.as_slice()))
            }
            TableFactor::Function { name, alias, args, .. } => (name, alias, Some(args.as_slice())),
            _ => return Err(wrong()),
        };
        let called = match name.0.as_slice() {
            [part] => part.as_ident().map(folded).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        let suffix = alias.as_ref().map(|alias| format!(" {alias}")).unwrap_or_default();
        let printed = from.relation.to_string();
        let Some(arguments) = arguments else {
            let table = Table::of_sub_select(&called).ok_or_else(|| {
                let message = format!(
                    "the table {called} is not readable; a sub-select reads commands, actions or \
                 signatures"
                );
                TargetError::at(place, message)
            })?;
            // No alias, no sampling, no hint.
            if printed != name.to_string() || self.tables.contains(&table) {
                return Err(TargetError::at(place, "a table stands once, without another name"));
            }
            self.tables.push(table);
            return Ok(());
        };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = arguments else {
            return Err(wrong());
        };
        let plain = format!("{name}({argument}){suffix}");
        let alias = alias.as_ref().filter(|alias| alias.columns.is_empty()).ok_or_else(wrong)?;
        let lateral = printed == format!("LATERAL {plain}");
        if called != "json_array_elements"
            || self.element.is_some()
            || !(printed == plain || lateral)
        {
            return Err(wrong());
        }
        let scope = Scope { tables: &self.tables, element: None, selects: 0, depth: 0 };
        match operand(argument, scope)? {
            Operand::Json(path) if path.steps.is_empty() => match path.base {
                JsonBase::Column(column)
                    if column.table == Table::Commands && column.kind == ColumnType::Json => {}
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        }
        let alias = folded(&alias.name);
        // A column would hide the element, or the element a column.
        if self.tables.iter().any(|table| table.column(&alias).is_some()) {
            return Err(TargetError::at(place, "the elements need a name that is no column"));
        }
        self.element = Some(alias);
        Ok(())
    }
}

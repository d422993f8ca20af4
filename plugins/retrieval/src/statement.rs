//! The SQL of a task: one SELECT, with inputs as parameters.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParser, Statement as Parsed};
use datafusion::sql::sqlparser::ast;

use crate::fault::{self, Fault};
use crate::look;

/// A query that has been looked through.
pub struct Statement(Parsed);

impl Statement {
    /// Reads a text that must be one query, and nothing that changes anything.
    pub fn parse(sql: &str) -> Result<Statement, Fault> {
        let mut statements = DFParser::parse_sql(sql).map_err(|e| fault::of_engine(&e))?;
        let only = statements.pop_front().ok_or_else(|| Fault::failed("BadSQL", "the task has no query"))?;
        if !statements.is_empty() {
            return Err(Fault::failed("BadSQL", "a task has one query, and there are several statements"));
        }
        match only {
            Parsed::Statement(ref statement) if matches!(**statement, ast::Statement::Query(_)) => {
                exact_numbers(statement)?;
                Ok(Statement(only))
            }
            other => Err(not_a_query(&other.to_string())),
        }
    }

    /// The names of the tables that the query reads. Functions that make tables, such as `generate_series`, are none unless
    /// something is named like them.
    pub fn tables(&self, state: &SessionState, named: impl Fn(&str) -> bool) -> Result<BTreeSet<String>, Fault> {
        let found = state.resolve_table_references(&self.0).map_err(|e| fault::of_engine(&e))?;
        let tables = found.iter().map(|table| table.table().to_string());
        Ok(tables.filter(|name| named(name) || !state.table_functions().contains_key(name)).collect())
    }

    /// Plans it. What changes anything is refused here once more, wherever in the query it stands.
    pub async fn plan(self, state: &SessionState) -> Result<LogicalPlan, Fault> {
        let text = self.0.to_string();
        let plan = state.statement_to_plan(self.0).await.map_err(|e| fault::of_engine(&e))?;
        let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reading.verify_plan(&plan).map_err(|_| not_a_query(&text))?;
        Ok(plan)
    }
}

/// Refuses numbers that DataFusion would read as floats that are others.
fn exact_numbers(statement: &ast::Statement) -> Result<(), Fault> {
    let lost = ast::visit_expressions(statement, |expr: &ast::Expr| match expr {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(text, _), .. })
            if text.parse::<u64>().is_err() && !look::is_float(text) =>
        {
            ControlFlow::Break(text.clone())
        }
        _ => ControlFlow::Continue(()),
    });
    match lost {
        ControlFlow::Break(number) => Err(Fault::failed(
            "BadSQL",
            format!(
                "the number {number} has more digits than a float: write it as a text that is cast, '{number}'::decimal(38, …)"
            ),
        )),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn not_a_query(text: &str) -> Fault {
    let words: Vec<_> = text.split_whitespace().take(3).collect();
    Fault::failed(
        "NotAllowed",
        format!("a task may only query, with SELECT, VALUES or WITH: {} … is something else", words.join(" ")),
    )
}

/// Turns Flyte's `{{ .inputs.name }}` into the parameter `$name`, also where it is within quotes of its own. Values are bound
/// and never pasted into the text, so a template cannot be a part of a longer string or name.
pub fn with_parameters(sql: &str) -> Result<String, Fault> {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    let taken = |rest: &str, n: usize| -> (String, usize) { (rest[..n].to_string(), n) };
    while let Some(first) = rest.chars().next() {
        let (text, read) = match first {
            '\'' | '"' => {
                let end = quoted(rest, first);
                let inner = rest[1..end].strip_suffix(first).unwrap_or(&rest[1..end]);
                match inner.contains("{{") {
                    true => (whole_template(inner)?, end),
                    false => taken(rest, end),
                }
            }
            '-' if rest.starts_with("--") => taken(rest, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => taken(rest, rest.find("*/").map_or(rest.len(), |end| end + 2)),
            '{' if rest.starts_with("{{") => {
                let end = rest.find("}}").map_or(rest.len(), |end| end + 2);
                (whole_template(&rest[..end])?, end)
            }
            other => taken(rest, other.len_utf8()),
        };
        out.push_str(&text);
        rest = &rest[read..];
    }
    Ok(out)
}

/// Where a quoted text ends; a doubled quote is a part of it.
fn quoted(text: &str, quote: char) -> usize {
    let found = text.char_indices().skip(1).try_fold(false, |pending, (at, c)| match (pending, c == quote) {
        (true, true) => ControlFlow::Continue(false),
        (true, false) => ControlFlow::Break(at),
        (false, is_quote) => ControlFlow::Continue(is_quote),
    });
    match found {
        ControlFlow::Break(end) => end,
        ControlFlow::Continue(_) => text.len(),
    }
}

fn whole_template(text: &str) -> Result<String, Fault> {
    let name = text.trim().strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).map(str::trim);
    let name = name.and_then(|n| n.strip_prefix(".inputs.").or_else(|| n.strip_prefix(".Inputs.")));
    match name {
        Some(name) if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
            Ok(format!("${name}"))
        }
        _ => Err(Fault::failed(
            "BadSQL",
            format!(
                "{text} cannot be bound as a value: only {{{{ .inputs.name }}}} can, alone, or alone within quotes"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_parameters() {
        for (from, to) in [
            ("select {{ .inputs.n }} + 1", "select $n + 1"),
            ("where day = '{{.inputs.day}}'", "where day = $day"),
            ("select 'it''s', \"a\" -- {{ .inputs.x }}\n, 1", "select 'it''s', \"a\" -- {{ .inputs.x }}\n, 1"),
            ("select 1 /* {{ .x }} */", "select 1 /* {{ .x }} */"),
            ("select 'ü', '{{ .inputs.ü }}'", "select 'ü', $ü"),
        ] {
            assert_eq!(with_parameters(from).expect("a statement"), to);
        }
    }

    #[test]
    fn a_template_is_never_a_part_of_a_text() {
        for sql in [
            "select 'a{{ .inputs.x }}'",
            "select * from \"t_{{ .inputs.x }}\"",
            "select {{ .outputPrefix }}",
            "select {{",
        ] {
            assert_eq!(with_parameters(sql).expect_err(sql).code, "BadSQL");
        }
    }

    #[test]
    fn only_queries_are_taken() {
        for sql in ["select 1", "values (1), (2)", "with t as (select 1) select * from t"] {
            assert!(Statement::parse(sql).is_ok(), "{sql}");
        }
        for sql in [
            "copy (select 1) to '/tmp/x.csv'",
            "create external table t stored as csv location '/etc/passwd'",
            "create table t as select 1",
            "set datafusion.execution.batch_size = 1",
            "show all",
            "explain select 1",
            "insert into t values (1)",
            "drop table t",
            "prepare p as select 1",
        ] {
            assert_eq!(Statement::parse(sql).err().expect(sql).code, "NotAllowed", "{sql}");
        }
        assert_eq!(Statement::parse("select 1; drop table t").err().expect("an error").code, "BadSQL");
    }
}

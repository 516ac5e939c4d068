//! One statement as it was written: parsed, found to change nothing, and the tables that it names.
//!
//! What may run is a list of what reads; whatever SQL grows next is refused until somebody adds it here.

use datafusion::{
    common::{ResolvedTableReference, TableReference},
    execution::session_state::SessionState,
    sql::{
        parser::{DFParserBuilder, Statement as Parsed},
        sqlparser::{
            ast::{SetExpr, Statement as Ast},
            dialect::GenericDialect,
            tokenizer::{Token, Tokenizer},
        },
    },
};
use weir_lake::Table;

use crate::error::QueryError;

/// The catalog and the schema that hold the tables: `weir.public.requests`.
pub(crate) const CATALOG: &str = "weir";
pub(crate) const SCHEMA: &str = "public";

/// A statement that may run.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) parsed: Parsed,
    references: Vec<ResolvedTableReference>,
}

impl Statement {
    /// Parses one statement.
    ///
    /// # Errors
    /// When the text is not one SQL statement, or one that changes something.
    pub(crate) fn parse(sql: &str, state: &SessionState) -> Result<Self, QueryError> {
        let recursion_limit = state.config_options().sql_parser.recursion_limit.get();
        let parser = DFParserBuilder::new(sql).with_dialect(&GenericDialect {}).with_recursion_limit(recursion_limit);
        let mut statements = parser.build()?.parse_statements()?;
        let parsed = match (statements.pop_front(), statements.len()) {
            (Some(parsed), 0) => parsed,
            (None, _) => return Err(QueryError::Invalid("there is no statement to run".to_owned())),
            (Some(_), more) => {
                return Err(QueryError::Invalid(format!("one statement at a time: these are {}", more + 1)));
            }
        };
        if let Some(refused) = refused(&parsed) {
            return Err(QueryError::ReadOnly(refused));
        }
        let references = state.resolve_table_references(&parsed)?;
        let references = references.into_iter().map(|reference| reference.resolve(CATALOG, SCHEMA)).collect();
        Ok(Self { parsed, references })
    }

    /// The tables of the lake that the statement names.
    pub(crate) fn tables(&self) -> Vec<Table> {
        let ours =
            self.references.iter().filter(|reference| *reference.catalog == *CATALOG && *reference.schema == *SCHEMA);
        let mut tables: Vec<_> = ours.filter_map(|reference| Table::from_name(&reference.table)).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// The error of planning, made to say which tables there are if the statement named one that is not there.
    pub(crate) fn explain(&self, error: QueryError) -> QueryError {
        let QueryError::Invalid(text) = &error else { return error };
        let missing = self.references.iter().find(|reference| {
            let table = TableReference::from((*reference).clone());
            text.starts_with("table '") && text.contains(&format!("'{table}'"))
        });
        let Some(missing) = missing else { return error };
        let names = Table::ALL.map(Table::name);
        let nearest = names.iter().copied().min_by_key(|name| strsim::damerau_levenshtein(name, &missing.table));
        let hint = match nearest {
            Some(name) if strsim::damerau_levenshtein(name, &missing.table) <= 2 => format!("did you mean {name}? "),
            _ => String::new(),
        };
        QueryError::Invalid(format!("no table {}; {hint}there are: {}", missing.table, names.join(", ")))
    }
}

/// What the statement is called, if it does more than read.
fn refused(statement: &Parsed) -> Option<String> {
    match statement {
        Parsed::Statement(ast) => refused_ast(ast),
        Parsed::Explain(explain) => refused(&explain.statement),
        Parsed::CreateExternalTable(_) => Some("CREATE EXTERNAL TABLE".to_owned()),
        Parsed::CopyTo(_) => Some("COPY".to_owned()),
        Parsed::Reset(_) => Some("RESET".to_owned()),
    }
}

fn refused_ast(statement: &Ast) -> Option<String> {
    match statement {
        Ast::Query(query) => match query.body.as_ref() {
            SetExpr::Insert(_) => Some("INSERT".to_owned()),
            SetExpr::Update(_) => Some("UPDATE".to_owned()),
            SetExpr::Delete(_) => Some("DELETE".to_owned()),
            SetExpr::Merge(_) => Some("MERGE".to_owned()),
            SetExpr::Select(select) if select.into.is_some() => Some("SELECT INTO".to_owned()),
            _ => None,
        },
        Ast::Explain { statement, .. } => refused_ast(statement),
        Ast::ExplainTable { .. }
        | Ast::ShowTables { .. }
        | Ast::ShowColumns { .. }
        | Ast::ShowFunctions { .. }
        | Ast::ShowVariable { .. } => None,
        other => {
            let text = other.to_string();
            Some(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        }
    }
}

/// Whether a text that is being typed is whole: it ends with a semicolon that stands in no quotes and no comment.
pub(crate) fn is_whole(sql: &str) -> bool {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return false };
    let last = tokens.iter().rev().find(|token| !matches!(token, Token::Whitespace(_)));
    last == Some(&Token::SemiColon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement_only_outside_quotes_and_comments() {
        for whole in ["SELECT 1;", "SELECT ';';  ", "SELECT 1; -- done", "SELECT 1\n;\n"] {
            assert!(is_whole(whole), "{whole}");
        }
        for partial in ["SELECT 1", "SELECT ';", "SELECT 1 -- ;", "SELECT /* ; ", "", "SELECT \"a;"] {
            assert!(!is_whole(partial), "{partial}");
        }
    }
}

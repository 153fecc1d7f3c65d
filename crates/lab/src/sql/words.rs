//! Decides how a text is read token by token: keywords, names, strings, and what is said
//! when something else stands there.

use sqlparser::ast::Query;
use sqlparser::dialect::RedshiftSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{ViewName, error};

/// The tokens of a text, comments and blanks left out, and how far they have been read.
#[derive(Debug, Clone)]
pub(super) struct Words<'a> {
    sql: &'a str,
    words: &'a [TokenWithSpan],
    next: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(sql: &'a str, words: &'a [TokenWithSpan]) -> Self {
        Self {
            sql,
            words,
            next: 0,
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.words.get(self.next).map(|word| &word.token)
    }

    /// Reads these words, or nothing.
    pub(super) fn accept(&mut self, keywords: &str) -> bool {
        let mut at = self.next;
        for keyword in keywords.split(' ') {
            let here = self.words.get(at).map(|word| &word.token);
            let is_it = matches!(here, Some(Token::Word(word))
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword));
            if !is_it {
                return false;
            }
            at += 1;
        }
        self.next = at;
        true
    }

    pub(super) fn accept_token(&mut self, token: &Token) -> bool {
        let here = self.peek() == Some(token);
        self.next += usize::from(here);
        here
    }

    pub(super) fn expect(&mut self, keywords: &str) -> Result<(), String> {
        for keyword in keywords.split(' ') {
            if !self.accept(keyword) {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), String> {
        if self.accept_token(token) {
            return Ok(());
        }
        Err(self.unexpected())
    }

    pub(super) fn name(&mut self) -> Result<String, String> {
        let Some(Token::Word(word)) = self.peek() else {
            return Err(self.unexpected());
        };
        let name = word.value.to_lowercase();
        self.next += 1;
        Ok(name)
    }

    pub(super) fn string(&mut self) -> Result<String, String> {
        let Some(Token::SingleQuotedString(text)) = self.peek() else {
            return Err(self.unexpected());
        };
        let text = text.clone();
        self.next += 1;
        Ok(text)
    }

    /// `YES` or `NO`.
    pub(super) fn yes_or_no(&mut self) -> Result<bool, String> {
        if self.accept("YES") {
            return Ok(true);
        }
        self.expect("NO").map(|()| false)
    }

    /// `[[database.]schema.]view`.
    pub(super) fn view(&mut self) -> Result<ViewName, String> {
        let mut parts = vec![self.name()?];
        while parts.len() < 3 && self.accept_token(&Token::Period) {
            parts.push(self.name()?);
        }
        let view = parts.pop().unwrap_or_default();
        let schema = parts.pop().unwrap_or_else(|| "public".to_owned());
        Ok(ViewName {
            database: parts.pop(),
            schema,
            view,
        })
    }

    /// Nothing but semicolons may follow.
    pub(super) fn end(mut self) -> Result<(), String> {
        while self.accept_token(&Token::SemiColon) {}
        if self.peek().is_some() {
            return Err(self.unexpected());
        }
        Ok(())
    }

    /// The rest as a query, and its text.
    pub(super) fn query(self) -> Result<(Query, String), String> {
        let rest = self.words.get(self.next..).unwrap_or_default();
        let Some(first) = rest.first() else {
            return Err(self.unexpected());
        };
        let from = error::offset(self.sql, first.span.start);
        let text: String = self.sql.chars().skip(from).collect();
        let dialect = RedshiftSqlDialect {};
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(rest.to_vec());
        let query = parser
            .parse_query()
            .map_err(|error| error::from_parser(self.sql, &error))?;
        while parser.consume_token(&Token::SemiColon) {}
        let after = parser.peek_token_ref();
        if after.token != Token::EOF {
            let found = after.token.to_string();
            return Err(error::syntax_error(
                self.sql,
                Some(&found),
                after.span.start,
            ));
        }
        let text = text.trim().trim_end_matches(';').trim_end().to_owned();
        Ok((*query, text))
    }

    pub(super) fn unexpected(&self) -> String {
        match self.words.get(self.next) {
            None => "ERROR: syntax error at end of input".to_owned(),
            Some(word) => {
                error::syntax_error(self.sql, Some(&word.token.to_string()), word.span.start)
            }
        }
    }
}

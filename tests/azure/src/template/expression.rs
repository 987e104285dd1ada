//! The expressions of deployment templates, as text and as a tree.
//!
//! Source: Microsoft's `template-expressions.md`: a string that begins with `[` and ends with `]` is an expression; `[[`
//! stands for one bracket; a quote within quotes is written twice.

use std::fmt;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// `'text'`.
    Text(String),
    /// `7`.
    Number(i64),
    /// `name(…)`.
    Call(String, Vec<Expression>),
    /// `….name`.
    Member(Box<Expression>, String),
    /// `…[…]`.
    Item(Box<Expression>, Box<Expression>),
}

impl Expression {
    /// Calls `what` with this expression and all in it.
    pub fn visit(&self, what: &mut dyn FnMut(&Expression)) {
        what(self);
        match self {
            Expression::Text(_) | Expression::Number(_) => {}
            Expression::Call(_, arguments) => arguments.iter().for_each(|a| a.visit(what)),
            Expression::Member(of, _) => of.visit(what),
            Expression::Item(of, index) => {
                of.visit(what);
                index.visit(what);
            }
        }
    }
}

/// Why a text is no expression: what was expected, and after how many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What was expected.
    pub expected: &'static str,
    /// After how many bytes.
    pub at: usize,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} expected after {} bytes", self.expected, self.at)
    }
}

/// The expression that a string of a template is; nothing when it is plain text.
///
/// # Errors
/// It begins like one and is none.
pub fn parse(text: &str) -> Result<Option<Expression>, Mistake> {
    let Some(inner) = text.strip_prefix('[').filter(|rest| !rest.starts_with('[')) else { return Ok(None) };
    // Text in brackets that has something behind them is no expression.
    let Some(inner) = inner.strip_suffix(']') else { return Ok(None) };
    let mut reader = Reader { text: inner, at: 0 };
    let expression = reader.expression()?;
    reader.end()?;
    Ok(Some(expression))
}

/// What a string is that is no expression: `[[` stands for `[`.
pub fn plain(text: &str) -> &str {
    if text.starts_with("[[") { &text[1..] } else { text }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn expects<T>(&self, expected: &'static str) -> Result<T, Mistake> {
        Err(Mistake { expected, at: self.at })
    }

    fn take(&mut self, sign: char) -> bool {
        self.space();
        let there = self.rest().starts_with(sign);
        if there {
            self.at += sign.len_utf8();
        }
        there
    }

    fn end(&mut self) -> Result<(), Mistake> {
        self.space();
        if self.rest().is_empty() { Ok(()) } else { self.expects("the end") }
    }

    fn name(&mut self) -> Result<String, Mistake> {
        self.space();
        let rest = self.rest();
        let long = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        match rest.get(..long) {
            Some(name) if !name.is_empty() => {
                self.at += long;
                Ok(name.to_owned())
            }
            _ => self.expects("a name"),
        }
    }

    fn expression(&mut self) -> Result<Expression, Mistake> {
        let mut expression = self.first()?;
        loop {
            if self.take('.') {
                expression = Expression::Member(Box::new(expression), self.name()?);
            } else if self.take('[') {
                let index = self.expression()?;
                if !self.take(']') {
                    return self.expects("]");
                }
                expression = Expression::Item(Box::new(expression), Box::new(index));
            } else {
                return Ok(expression);
            }
        }
    }

    fn first(&mut self) -> Result<Expression, Mistake> {
        self.space();
        if self.take('\'') {
            return self.quoted();
        }
        let rest = self.rest();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let long = rest.len() - digits.len() + digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if let Some(number) = rest.get(..long).and_then(|n| n.parse().ok()) {
            self.at += long;
            return Ok(Expression::Number(number));
        }
        let name = self.name()?;
        if !self.take('(') {
            return self.expects("(");
        }
        let mut arguments = Vec::new();
        if self.take(')') {
            return Ok(Expression::Call(name, arguments));
        }
        loop {
            arguments.push(self.expression()?);
            if self.take(')') {
                return Ok(Expression::Call(name, arguments));
            }
            if !self.take(',') {
                return self.expects(", or )");
            }
        }
    }

    fn quoted(&mut self) -> Result<Expression, Mistake> {
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find('\'') else { return self.expects("'") };
            out += rest.get(..end).unwrap_or_default();
            self.at += end + 1;
            if !self.rest().starts_with('\'') {
                return Ok(Expression::Text(out));
            }
            out.push('\'');
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_templates_have() {
        let call = |name: &str, arguments| Expression::Call(name.to_owned(), arguments);
        let text = |text: &str| Expression::Text(text.to_owned());
        assert_eq!(parse("plain"), Ok(None));
        assert_eq!(parse("[[plain]"), Ok(None));
        assert_eq!((plain("[[plain]"), plain("x")), ("[plain]", "x"));
        assert_eq!(parse("[a]b"), Ok(None));
        assert_eq!(parse("[f()]"), Ok(Some(call("f", vec![]))));
        assert_eq!(parse("[ f('it''s', -7) ]"), Ok(Some(call("f", vec![text("it's"), Expression::Number(-7)]))));
        let list = Expression::Member(Box::new(call("listKeys", vec![text("id")])), "keys".to_owned());
        let first = Expression::Item(Box::new(list), Box::new(Expression::Number(0)));
        let value = Expression::Member(Box::new(first), "value".to_owned());
        assert_eq!(parse("[listKeys('id').keys[0].value]"), Ok(Some(value)));
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (wrong, expected, at) in [
            ("[f(]", "a name", 2),
            ("[f('x]", "'", 3),
            ("[f('x') y]", "the end", 7),
            ("[f]", "(", 1),
            ("[f(1 2)]", ", or )", 4),
        ] {
            assert_eq!(parse(wrong), Err(Mistake { expected, at }), "{wrong}");
        }
    }
}

//! Typed reading of a parsed TOML table, value by value, with all errors collected.
//!
//! A derived serde deserializer would stop at the first error and lose the spans of keys.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::diagnostic::Fault;
use super::report::Report;
use super::source::{SourceFile, Span};
use super::suggest::{did_you_mean, listed, quoted, shown};

/// The allowed keys of a table, and the table's name for messages ("service `redis`").
pub(super) struct Shape<'a> {
    pub(super) owner: &'a str,
    pub(super) keys: &'a [&'a str],
}

/// A reader of one file.
pub(super) struct TableReader<'a> {
    pub(super) file: &'a Arc<SourceFile>,
    pub(super) report: &'a mut Report,
}

impl TableReader<'_> {
    pub(super) fn place(&self, span: Range<usize>) -> Span {
        Span::new(self.file, span)
    }

    /// Returns the span of a key, if the table has the key.
    pub(super) fn place_of(&self, table: &DeTable<'_>, key: &str) -> Option<Span> {
        let (key, _) = table.get_key_value(key)?;
        Some(self.place(key.span()))
    }

    pub(super) fn error(&mut self, span: Range<usize>, fault: Fault) {
        self.report.error(&self.place(span), fault);
    }

    pub(super) fn warning(&mut self, span: Range<usize>, fault: Fault) {
        self.report.warning(&self.place(span), fault);
    }

    /// Returns the value, or reports the fault at a span.
    pub(super) fn noted<T>(&mut self, span: Range<usize>, value: Result<T, Fault>) -> Option<T> {
        value.map_err(|fault| self.error(span, fault)).ok()
    }

    /// Reports the table's unknown keys.
    pub(super) fn refuse_unknown_keys(&mut self, table: &DeTable<'_>, shape: &Shape<'_>) {
        let is_known = |key: &str| shape.keys.contains(&key);
        let mut unknown: Vec<_> = table
            .iter()
            .filter(|(key, _)| !is_known(key.get_ref()))
            .collect();
        // In file order, so that the first ones are told.
        unknown.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in unknown {
            let name = key.get_ref().as_ref();
            let fault = || {
                let help = did_you_mean(name, shape.keys.iter().copied(), || {
                    unknown_key_help(name, value.get_ref(), shape)
                });
                let text = format!("unknown key {} in {}", quoted(name), shape.owner);
                Fault::new(text, help)
            };
            self.report.error_with(&self.place(key.span()), fault);
        }
    }

    /// Returns the table of a value, or reports another type. `field` is the table's full name.
    pub(super) fn table<'t, 'i>(
        &mut self,
        field: &str,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Option<&'t DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            DeValue::Array(array) if is_array_of_tables(array) => {
                self.error(
                    value.span(),
                    Fault::new(
                        format!("`{field}` is written as an array of tables"),
                        "write its header in single brackets, `[` and `]`",
                    ),
                );
                None
            }
            _ => {
                let subject = format!("`{field}`");
                self.wrong_type(&subject, value, "a table", &format!("a table `[{field}]`"));
                None
            }
        }
    }

    /// Returns the entries of a table of named tables: `[services.redis]`, `[peers.office]`.
    pub(super) fn named_tables<'t, 'i>(
        &mut self,
        kind: &str,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Vec<(&'t Spanned<DeString<'i>>, &'t DeTable<'i>)> {
        let DeValue::Table(table) = value.get_ref() else {
            let example = format!("tables such as `[{kind}.NAME]`");
            self.wrong_type(&format!("`{kind}`"), value, "a table", &example);
            return Vec::new();
        };
        let mut entries: Vec<_> = table
            .iter()
            .filter_map(|(key, value)| {
                let field = format!("{kind}.{}", shown(key.get_ref()));
                Some((key, self.table(&field, value)?))
            })
            .collect();
        // In file order, so that the first of two definitions comes first.
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    pub(super) fn array<'t, 'i>(
        &mut self,
        subject: &str,
        value: &'t Spanned<DeValue<'i>>,
        example: &str,
    ) -> Option<&'t DeArray<'i>> {
        let array = value.get_ref().as_array();
        if array.is_none() {
            self.wrong_type(subject, value, "a list", example);
        }
        array
    }

    pub(super) fn string<'t>(
        &mut self,
        subject: &str,
        value: &'t Spanned<DeValue<'_>>,
        example: &str,
    ) -> Option<&'t str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(subject, value, "a string", example);
        }
        text
    }

    pub(super) fn boolean(&mut self, field: &str, value: &Spanned<DeValue<'_>>) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            let example = format!("`{field} = true` or `{field} = false`, without quotes");
            self.wrong_type(&format!("`{field}`"), value, "true or false", &example);
        }
        boolean
    }

    /// Reads one of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        field: &str,
        value: &Spanned<DeValue<'_>>,
        options: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<T> {
        let names = || options.iter().map(|&option| name(option));
        let example = names()
            .map(|word| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(" or ");
        let text = self.string(&format!("`{field}`"), value, &example)?;
        let found = options.iter().copied().find(|&option| name(option) == text);
        if found.is_none() {
            let help = did_you_mean(text, names(), || {
                format!("`{field}` is one of {}", listed(names(), "and"))
            });
            self.error(
                value.span(),
                Fault::new(format!("unknown {field} {}", quoted(text)), help),
            );
        }
        found
    }

    /// Reports that the subject ("`ports`", "an item of `ports`") has the wrong type.
    pub(super) fn wrong_type(
        &mut self,
        subject: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        example: &str,
    ) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(
            value.span(),
            Fault::new(
                format!("{subject} is {found}, not {expected}"),
                format!("write {example}"),
            ),
        );
    }
}

fn is_array_of_tables(array: &DeArray<'_>) -> bool {
    !array.is_empty() && array.iter().all(|item| item.get_ref().is_table())
}

fn unknown_key_help(name: &str, value: &DeValue<'_>, shape: &Shape<'_>) -> String {
    let keys = listed(shape.keys.iter().copied(), "and");
    let (owner, keys) = match shape.keys.len() {
        1 => (format!("the key of {}", shape.owner), format!("is {keys}")),
        _ => (
            format!("the keys of {}", shape.owner),
            format!("are {keys}"),
        ),
    };
    let Some(table) = value.as_table() else {
        return format!("{owner} {keys}");
    };
    let name = shown(name);
    // A misplaced table: a forgotten `services.`, or a dot in a name without quotes.
    if shape.keys.contains(&"services") && table.contains_key("ports") {
        return format!("a service is written as `[services.{name}]`");
    }
    if shape.keys.contains(&"peers") && table.contains_key("interface") {
        return format!("a peer is written as `[peers.{name}]`");
    }
    format!("{owner} {keys}; a name with a dot is written in quotes")
}

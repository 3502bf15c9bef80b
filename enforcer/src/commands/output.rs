//! Aligned tables for people, JSON for scripts.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const BOLD: Style = Style::new().bold();
/// Ends a style.
pub(crate) const PLAIN: anstyle::Reset = anstyle::Reset;

/// Prints text to stdout, coloured only where a terminal wants it (`NO_COLOR`).
///
/// # Errors
/// Nobody reads it.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("failed to write to standard output")
}

/// What was printed, or nothing where nobody reads it any more: for commands whose exit code says
/// more than their words.
///
/// # Errors
/// Standard output fails in another way.
pub(crate) fn lossy(printed: Result<()>) -> Result<()> {
    match printed {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        printed => printed,
    }
}

/// Prints a value as JSON.
///
/// # Errors
/// Nobody reads it.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    print(&serde_json::to_string_pretty(value).context("failed to write JSON")?)
}

/// Whether an error is only that nobody reads our output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// A table without lines; the columns named in `numbers` are aligned to the right.
pub(crate) fn table(header: &[&str], numbers: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().map(|name| name.to_uppercase()))
        .add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_constraint(ColumnConstraint::ContentWidth);
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    match lines.split_first() {
        Some((header, rows)) => {
            let mut text = format!("{BOLD}{header}{PLAIN}");
            for row in rows {
                text.push('\n');
                text.push_str(row);
            }
            text
        }
        None => String::new(),
    }
}

/// A number with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

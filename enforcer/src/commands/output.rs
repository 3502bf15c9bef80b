//! Aligned tables for people, JSON for scripts.

use std::{
    fmt,
    io::{self, Write as _},
    os::fd::AsFd,
};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

use super::wrap::{Width, columns, wrap};
use crate::{
    note::{Level, Note},
    printable,
};

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const BOLD: Style = Style::new().bold();
/// The end of a style.
pub(crate) const PLAIN: anstyle::Reset = anstyle::Reset;

/// The failure to print.
#[derive(Debug)]
pub(crate) enum PrintError {
    /// The reader of standard output has gone, having seen enough.
    ClosedPipe,
    /// Standard output fails in another way.
    Failed(io::Error),
}

impl fmt::Display for PrintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = "failed to write to standard output";
        match self {
            Self::ClosedPipe => write!(f, "{what}: its reader has gone"),
            Self::Failed(error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for PrintError {}

impl From<io::Error> for PrintError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(error),
        }
    }
}

/// The result of printing.
pub(crate) type Printed = Result<(), PrintError>;

/// Prints text to stdout, coloured only if the terminal wants colours (`NO_COLOR`).
///
/// # Errors
/// Standard output is closed or fails.
pub(crate) fn print(text: &str) -> Printed {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Success for a closed pipe: for commands whose exit code says more than their words.
///
/// # Errors
/// Standard output fails in another way.
pub(crate) fn lossy(printed: Printed) -> Printed {
    match printed {
        Err(PrintError::ClosedPipe) => Ok(()),
        printed => printed,
    }
}

/// Prints a value as JSON.
///
/// # Errors
/// Standard output is closed or fails.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> Printed {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(&printable::json(&text))
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// Standard output is closed or fails.
pub(crate) fn print_json_line<T: Serialize + ?Sized>(value: &T) -> Printed {
    let text = serde_json::to_string(value).map_err(io::Error::other)?;
    print(&printable::json(&text))
}

/// Returns the width of standard output, if a terminal.
pub(crate) fn width() -> Width {
    columns_of(io::stdout())
}

/// Returns the width of standard error, if a terminal.
pub(crate) fn stderr_width() -> Width {
    columns_of(io::stderr())
}

fn columns_of(stream: impl AsFd) -> Width {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Prints text to stderr, coloured only if the terminal wants colours. Standard error that is full
/// or broken changes neither the work of a command nor the exit code.
pub(crate) fn print_err(text: &str) {
    let mut err = anstream::stderr().lock();
    writeln!(err, "{text}").and_then(|()| err.flush()).ok();
}

/// Prints a note to stderr, for people.
pub(crate) fn note(note: &Note) {
    print_err(&note_text(note, stderr_width()));
}

/// Returns a note in words.
pub(crate) fn note_text(note: &Note, width: Width) -> String {
    let (style, label) = match note.level {
        Level::Error => (RED, "error"),
        Level::Warning => (YELLOW, "warning"),
        Level::Notice | Level::Info => (YELLOW, "note"),
    };
    labelled(style, label, &note.text, width)
}

/// Returns a text that may quote names, behind a label.
pub(crate) fn labelled(style: Style, label: &str, text: &str, width: Width) -> String {
    // Further lines are indented: no name can forge a label.
    let text = printable::text(text).replace('\n', "\n  ");
    wrap(&format!("{style}{label}:{PLAIN} {text}"), width, 2)
}

/// Prints notes to stderr, for people.
pub(crate) fn notes(all: &[Note]) {
    all.iter().for_each(note);
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

/// Returns a name with spaces behind, up to a number of columns.
pub(crate) fn padded(name: &str, width: usize) -> String {
    name.to_owned() + &" ".repeat(width.saturating_sub(columns(name)))
}

/// A number with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{commands::snapshots::assert_snapshot, note::NoteKind};

    #[test]
    fn notes() {
        let notes = [
            Note::new(
                NoteKind::VerdictsDiffer,
                "the kernel's verdict differs from the verdict by its maps",
            ),
            Note::new(
                NoteKind::NoWireGuard,
                "eth\u{1b}[2J has no wire guard: \u{9b}",
            )
            .on("eth\u{1b}[2J"),
            Note::new(
                NoteKind::NothingPinned,
                "nothing is pinned: `enforcer up` puts the registry in force",
            ),
            Note::new(NoteKind::InForce, "a line\nand another"),
        ];
        let shown = |width| notes.each_ref().map(|it| note_text(it, width)).join("\n");
        assert_snapshot("notes", shown);
    }

    #[test]
    fn columns_stay_in_line_whatever_the_names() {
        let names = [
            "lo",
            "日本",
            "größe",
            "\u{1b}]0;PWN\u{7}",
            "\u{202e}x",
            "e\u{301}",
        ];
        let rows = names.map(|name| vec![printable::name(name).into_owned(), "7".to_owned()]);
        let table = table(&["name", "number"], &[1], rows.to_vec());
        let plain = anstream::adapter::strip_str(&table).to_string();
        for line in plain.lines() {
            assert_eq!(columns(line), 22, "{plain}");
        }
        for name in names.map(printable::name) {
            assert_eq!(columns(&padded(&name, 20)), 20);
        }
        assert_eq!(padded("long", 2), "long");
    }

    #[test]
    fn names_of_a_note_cannot_reach_the_terminal() {
        let note = Note::new(NoteKind::NoWireGuard, "eth\u{1b}[2J");
        let shown = anstream::adapter::strip_str(&note_text(&note, None)).to_string();
        assert_eq!(shown, "warning: eth\\x1b[2J");
    }
}

//! `run`: the reports of the daemon in words, for a terminal or for the journal.

use std::{
    io::{self, Write as _},
    os::fd::AsFd,
};

use serde::Serialize;

use super::{
    Globals, Outcome,
    cli::Run,
    failure::Failure,
    output::{self, note_text},
    policy::summary,
    status,
    stream::Stream,
};
use crate::{
    control::{Error, Instance},
    daemon::{self, Cause, End, Report, RunOptions},
    note::{Level, Note},
    printable,
    registry::{Diagnostic, Diagnostics, Severity, render},
};

/// Load, attach, pin, say READY, and hold until told to stop.
pub(crate) async fn run(globals: &Globals, instance: &Instance, options: Run) -> Outcome {
    let printer = Printer::new(globals.json);
    let options = RunOptions {
        config: globals.config.clone(),
        ephemeral: options.ephemeral,
        bpf_log: options.bpf_log,
        force: options.force,
    };
    let mut report = |report| printer.print(report);
    let code = match daemon::run(instance, &options, &mut report).await {
        Ok(end) => {
            printer.say(match end {
                End::GuardsStay => "stopped: the guards stay on (`enforcer down` takes them off)",
                End::GuardsRemoved => "stopped: the guards are off",
                End::GuardsGone => "the guards were taken off by `enforcer down`",
            });
            0
        }
        Err(error) => {
            printer.failure(error);
            1
        }
    };
    printer.finish();
    Ok(code)
}

/// The printer of reports. An output that fails or blocks never stops `run`.
struct Printer {
    out: Stream,
    err: Stream,
    json: bool,
    is_out_journal: bool,
    is_err_journal: bool,
}

impl Printer {
    fn new(json: bool) -> Self {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        Self {
            out: Stream::start(|text| output::print(text).map_err(io::Error::other)),
            err: Stream::start(|text| {
                let mut err = anstream::stderr().lock();
                writeln!(err, "{text}")?;
                err.flush()
            }),
            json,
            is_out_journal: is_connected(&stream, io::stdout()),
            is_err_journal: is_connected(&stream, io::stderr()),
        }
    }

    fn print(&self, report: Report) {
        match report {
            Report::Note(note) => self.note(&note),
            Report::Diagnostics(diagnostics) => self.diagnostics(&diagnostics),
            Report::InForce { generation, cause } => {
                let why = match cause {
                    Cause::Host => "the host has changed".to_owned(),
                    Cause::Registry(loaded) => summary(&loaded),
                };
                self.say(&format!("generation {generation} is in force: {why}"));
            }
            Report::Status(status) => self.out(&match self.json {
                true => json_line(&status),
                false => status::human(&status, output::width()),
            }),
            Report::ProgramLog(line) => {
                self.err(Level::Info, &format!("bpf: {}", printable::name(&line)));
            }
        }
    }

    fn note(&self, note: &Note) {
        match note.level {
            Level::Info => self.say(&printable::text(&note.text).replace('\n', "\n  ")),
            level => self.err(level, &note_text(note, output::stderr_width())),
        }
    }

    fn diagnostics(&self, diagnostics: &Diagnostics) {
        let is_error = |diagnostic: &Diagnostic| diagnostic.severity() == Severity::Error;
        let level = match diagnostics.iter().any(is_error) {
            true => Level::Error,
            false => Level::Warning,
        };
        self.err(level, render(diagnostics, true).trim_end());
    }

    /// Prints a sentence about the normal course of things: beside JSON, to stderr.
    fn say(&self, text: &str) {
        match self.json {
            true => self.err(Level::Info, text),
            false => self.out(text),
        }
    }

    /// Prints to stdout.
    fn out(&self, text: &str) {
        self.out
            .print(for_stream(text, Level::Info, self.is_out_journal));
    }

    /// Prints the rest to stderr.
    fn err(&self, level: Level, text: &str) {
        self.err.print(for_stream(text, level, self.is_err_journal));
    }

    /// Prints the failure of `run`.
    fn failure(&self, error: Error) {
        let text = match self.is_err_journal {
            true => {
                let width = output::stderr_width();
                output::labelled(output::RED, "error", &format!("{error:#}"), width)
            }
            false => Failure::from(error).text(true),
        };
        self.err(Level::Error, &text);
    }

    /// Waits for the last texts.
    fn finish(self) {
        self.err.finish();
        self.out.finish();
    }
}

/// Returns a value as one line of JSON.
fn json_line<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    printable::json(&text).into_owned()
}

/// The text as a stream takes it: for the journal, each line begins with the priority, as
/// sd-daemon(3) defines it.
fn for_stream(text: &str, level: Level, is_journal: bool) -> String {
    if !is_journal {
        return text.to_owned();
    }
    let priority = level.priority();
    let lines = text.lines().map(|line| format!("<{priority}>{line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a stream is the journal's connection.
fn is_connected(journal_stream: &str, stream: impl AsFd) -> bool {
    let file = rustix::fs::fstat(stream);
    file.is_ok_and(|file| is_named_by(journal_stream, file.st_dev, file.st_ino))
}

/// Whether `$JOURNAL_STREAM` names a file: `DEVICE:INODE` in decimal, systemd.exec(5).
fn is_named_by(journal_stream: &str, device: u64, inode: u64) -> bool {
    let Some((of_device, of_inode)) = journal_stream.split_once(':') else {
        return false;
    };
    (of_device.parse(), of_inode.parse()) == (Ok(device), Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_for_the_journal_begins_with_its_priority() {
        let text = "error: this is wrong\n --> enforcer.toml:2:10\n\n  help";
        assert_eq!(
            for_stream(text, Level::Error, true),
            "<3>error: this is wrong\n<3> --> enforcer.toml:2:10\n<3>\n<3>  help"
        );
        let levels = [Level::Error, Level::Warning, Level::Notice, Level::Info];
        let lines = levels.map(|level| for_stream("x", level, true));
        assert_eq!(lines, ["<3>x", "<4>x", "<5>x", "<6>x"]);
        assert_eq!(for_stream(text, Level::Error, false), text, "a terminal");
    }

    #[test]
    fn a_value_is_one_line_of_json() {
        let line = json_line(&["a\nb", "c\u{1b}"]);
        assert_eq!(line.lines().count(), 1, "{line}");
        let read: [String; 2] = serde_json::from_str(&line).unwrap();
        assert_eq!(read, ["a\nb", "c\u{1b}"]);
    }

    #[test]
    fn the_journal_is_the_stream_that_systemd_names() {
        assert!(is_named_by("9:32147", 9, 32_147));
        assert!(!is_named_by("9:32147", 9, 32_148), "another file");
        assert!(!is_named_by("9:32147", 8, 32_147), "another device");
        for text in ["", ":", "9", "9:", "x:y", "9:32147:1", "a:a"] {
            assert!(!is_named_by(text, 9, 32_147), "{text}");
        }
    }

    #[test]
    fn a_file_is_no_journal_unless_it_is_named() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let name = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_connected(&name, &file));
        assert!(!is_connected("", &file));
    }
}

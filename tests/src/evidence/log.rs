//! Output of runs: a kernel for each run, and an end for each scenario.
//!
//! A guest says its kernel before the first scenario (`guest: up RELEASE after N s`), the host's
//! lab after the last (`kernel RELEASE: N passed, N failed`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::record::{End, Fact, Line};

/// The facts of a log; `unnamed` is the kernel of runs that name none.
///
/// Where guests run side by side, a line starts with the name of the guest and ` | `. A scenario's
/// own output may stand between the name and the end, which then has a line of its own. A scenario
/// without an end, in a run without a result, brought the machine down, and failed.
///
/// # Errors
/// A run named no kernel; a run counted more failures than the log shows.
pub(super) fn parse(text: &str, unnamed: Option<&str>) -> Result<Vec<Line>> {
    let text = without_controls(text);
    let mut streams: BTreeMap<&str, Stream<'_>> = BTreeMap::new();
    for line in text.lines() {
        let (name, words) = prefixed(line);
        streams.entry(name).or_default().read(words)?;
    }
    let mut lines = Vec::new();
    for mut stream in streams.into_values() {
        stream.end(unnamed)?;
        lines.append(&mut stream.lines);
    }
    Ok(lines)
}

/// The name of a guest, or nothing, and the rest of the line.
fn prefixed(line: &str) -> (&str, &str) {
    let of_a_guest = line
        .split_once(" | ")
        .filter(|(name, _)| !name.contains(" ... "));
    let (name, words) = of_a_guest.unwrap_or(("", line));
    (name.trim(), words.trim_end())
}

/// A text without carriage returns and the colours of a terminal: `ESC [`, up to a letter
/// (ECMA-48, section 5.4).
fn without_controls(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            chars.find(|char| ('@'..='~').contains(char));
        } else if char != '\r' {
            plain.push(char);
        }
    }
    plain
}

/// The output of a guest, or of the host, so far.
#[derive(Default)]
struct Stream<'a> {
    kernel: Option<&'a str>,
    /// Ends of scenarios whose kernel is still to be read.
    pending: Vec<(&'a str, End)>,
    /// A scenario whose end is still to be read.
    begun: Option<&'a str>,
    /// Failed scenarios since the run began.
    failed: BTreeSet<&'a str>,
    /// Names below the last line `failures:`.
    listed: Vec<&'a str>,
    lines: Vec<Line>,
}

impl<'a> Stream<'a> {
    fn read(&mut self, words: &'a str) -> Result<()> {
        let (words, recorded) = with_a_record(words);
        self.lines.extend(recorded);
        if let Some(up) = words.strip_prefix("guest: up ") {
            self.crash();
            self.of_kernel(up.split(' ').next());
        } else if let Some(release) = closing(words) {
            self.of_kernel(Some(release));
            self.kernel = None;
        } else if let Some(result) = words.strip_prefix("test result: ") {
            self.begun = None;
            self.check(result)?;
        } else if is_beginning(words) {
            self.failed.clear();
        } else if words == "failures:" {
            self.listed.clear();
        } else if let Some(name) = listed(words) {
            self.listed.push(name);
        } else if let Some((name, end)) = self.ended(words) {
            self.add(name, end);
        }
        Ok(())
    }

    /// The scenario that a line ends, and the end.
    fn ended(&mut self, words: &'a str) -> Option<(&'a str, End)> {
        if let Some((name, rest)) = words
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ..."))
        {
            let name = name.trim_end();
            let end = end(rest.trim_start());
            self.begun = end.is_none().then_some(name);
            return Some((name, end?));
        }
        let end = end(words)?;
        Some((self.begun.take()?, end))
    }

    /// Fails a scenario that was under way.
    fn crash(&mut self) {
        if let Some(name) = self.begun.take() {
            self.add(name, End::Failed);
        }
    }

    fn add(&mut self, name: &'a str, end: End) {
        if end == End::Failed {
            self.failed.insert(name);
        }
        self.pending.push((name, end));
        self.of_kernel(self.kernel);
    }

    /// Takes the names of failed scenarios from the list before a result, as other output may hide
    /// their ends; insists on as many as the run counted.
    fn check(&mut self, result: &str) -> Result<()> {
        let counted = result
            .split("; ")
            .find_map(|part| part.strip_suffix(" failed")?.parse().ok());
        if counted > Some(0) {
            for name in std::mem::take(&mut self.listed) {
                self.add(name, End::Failed);
            }
        }
        let (shown, counted) = (self.failed.len(), counted.unwrap_or(0));
        self.failed.clear();
        ensure!(
            shown >= counted,
            "a run counted {counted} failed, and the log shows {shown}: `test result: {result}`"
        );
        Ok(())
    }

    /// Sets the kernel of this run, of what was read before too.
    fn of_kernel(&mut self, kernel: Option<&'a str>) {
        self.kernel = kernel;
        let Some(kernel) = kernel else { return };
        let lines = self.pending.drain(..).map(|(name, end)| Line {
            kernel: kernel.to_owned(),
            fact: Fact::Scenario {
                name: name.to_owned(),
                end,
            },
        });
        self.lines.extend(lines);
    }

    fn end(&mut self, unnamed: Option<&'a str>) -> Result<()> {
        self.crash();
        self.of_kernel(self.kernel.or(unnamed));
        let first = self.pending.first().map(|(name, _)| *name);
        ensure!(
            first.is_none(),
            "the kernel of {} is unknown, as the log names none: add `--kernel RELEASE`",
            first.unwrap_or_default()
        );
        Ok(())
    }
}

/// A line without the line of a record at its end, and that record: a guest writes both to the
/// same console.
fn with_a_record(words: &str) -> (&str, Option<Line>) {
    let parts = words.find(r#"{"kernel":"#).map(|at| words.split_at(at));
    let read = parts.and_then(|(words, record)| {
        let line = serde_json::from_str(record).ok()?;
        Some((words.trim_end(), Some(line)))
    });
    read.unwrap_or((words, None))
}

/// The release in the closing line of a run.
fn closing(words: &str) -> Option<&str> {
    let (release, counts) = words.strip_prefix("kernel ")?.split_once(": ")?;
    let is_closing = counts.contains(" passed, ") && counts.ends_with(" failed");
    is_closing.then_some(release)
}

/// The name in a line of the list of failures: four spaces and a word.
fn listed(words: &str) -> Option<&str> {
    let name = words.strip_prefix("    ")?;
    (!name.is_empty() && !name.contains(' ')).then_some(name)
}

/// Whether a line is `running N tests`.
fn is_beginning(words: &str) -> bool {
    let number = words
        .strip_prefix("running ")
        .and_then(|rest| rest.split(' ').next());
    number.is_some_and(|number| number.parse::<usize>().is_ok())
}

fn end(words: &str) -> Option<End> {
    match words {
        "ok" => Some(End::Passed),
        "FAILED" => Some(End::Failed),
        "ignored" => Some(End::LeftOut(String::new())),
        _ => {
            let reason = words.strip_prefix("ignored (")?.strip_suffix(')')?;
            Some(End::LeftOut(reason.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, End)> {
        let lines = parse(text, None).unwrap().into_iter();
        let facts = lines.map(|line| match line.fact {
            Fact::Scenario { name, end } => (line.kernel, name, end),
            Fact::Attempt(_) => panic!("a log has no attempts"),
        });
        facts.collect()
    }

    fn of(kernel: &str, name: &str, end: End) -> (String, String, End) {
        (kernel.to_owned(), name.to_owned(), end)
    }

    #[test]
    fn guests_side_by_side_are_told_apart() {
        let log = "
== kernel 6.1.0-56-cloud-amd64, 6.1.192-2 from bookworm-security, TCG
   6.1 1/2 | guest: up 6.1.0-56-cloud-amd64 after 4.15 s
    newest | guest: up 7.2.12+deb14-cloud-amd64 after 4.10 s
   6.1 1/2 | running 152 tests
   6.1 1/2 | test a01_x::tcp::each_guard_alone           ... ok
    newest | test a16_y::each_guard_alone ... ignored (this kernel has no tcx)
   6.1 1/2 | live::keys_move: round 1: right after [915ms]
   6.1 1/2 | test goes_on::loopback::ipv4 ... FAILED
   6.1 1/2 | test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured
kernel 6.1.0-56-cloud-amd64: 1 passed, 1 failed
";
        let old = "6.1.0-56-cloud-amd64";
        let no_tcx = End::LeftOut("this kernel has no tcx".to_owned());
        let new = "7.2.12+deb14-cloud-amd64";
        let expected = [
            of(old, "a01_x::tcp::each_guard_alone", End::Passed),
            of(old, "goes_on::loopback::ipv4", End::Failed),
            of(new, "a16_y::each_guard_alone", no_tcx),
        ];
        assert_eq!(read(log), expected);
    }

    #[test]
    fn output_may_stand_between_a_name_and_its_end() {
        let log = "guest: up 7.2.12 after 20 s
     files | guest: up 6.12.1 after 22.91 s
     files | test a09_boot::x ... 1080 packets dropped by the wire guard
test a02_y ... ok
     files | 0 packets dropped by the socket guard
     files | ok
ok
";
        let expected = [
            of("7.2.12", "a02_y", End::Passed),
            of("6.12.1", "a09_boot::x", End::Passed),
        ];
        assert_eq!(read(log), expected);
    }

    #[test]
    fn a_guests_record_is_read_from_the_same_output() {
        let record = r#"{"kernel":"7.2.12","scenario":{"name":"a01_x","end":"passed"}}"#;
        let log = format!(
            "newest | guest: up 7.2.12 after 20 s
newest | test a01_x ... {record}
newest | {record}
newest | ok
newest | {{\"kernel\":\"cut"
        );
        let expected = vec![of("7.2.12", "a01_x", End::Passed); 3];
        assert_eq!(read(&log), expected);
    }

    #[test]
    fn the_hosts_lab_names_its_kernel_at_the_end() {
        let log = "== unit and property tests\r
running 1 test\r
test log::x ... \u{1b}[32mok\u{1b}[0m\r
test result: ok. 1 passed; 0 failed; 0 ignored\r
== lab\r
running 2 tests\r
test a01_x::tcp::wire ... ok\r
test a15_sctp::y ... ignored (no | at all)\r
test result: ok. 1 passed; 0 failed; 1 ignored\r
kernel 6.18.44-fc: 1 passed, 0 failed\r
test of_another_run ... ok
kernel 7.2.1: 1 passed, 0 failed
";
        let expected = [
            of("6.18.44-fc", "log::x", End::Passed),
            of("6.18.44-fc", "a01_x::tcp::wire", End::Passed),
            of(
                "6.18.44-fc",
                "a15_sctp::y",
                End::LeftOut("no | at all".into()),
            ),
            of("7.2.1", "of_another_run", End::Passed),
        ];
        assert_eq!(read(log), expected);
    }

    #[test]
    fn a_scenario_that_brings_the_machine_down_failed() {
        let log = "guest: up 7.2.12 after 20 s\ntest a01_x ... [ 9.1] kernel BUG\n";
        let expected = [of("7.2.12", "a01_x", End::Failed)];
        assert_eq!(read(log), expected);
        let again = format!("{log}guest: up 7.2.12 after 20 s\ntest a02_y ... ok\n");
        assert_eq!(read(&again)[..1], expected);
        // A run with a result was not cut: an end among other output is lost, and no failure.
        let result = format!("{log}test result: ok. 1 passed; 0 failed; 0 ignored\n");
        assert_eq!(read(&result), []);
    }

    #[test]
    fn a_failure_that_the_log_does_not_show_is_refused() {
        let begin = "guest: up 7.2.12 after 20 s\nrunning 2 tests\ntest a01_x ... ok\n";
        let result = "test result: FAILED. 1 passed; 1 failed; 0 ignored\n";
        let listed = "0 roundstest a02_y ... FAILED\nfailures:\n    of\nfailures:\n    a02_y\n";
        let facts = read(&format!("{begin}{listed}{result}"));
        assert_eq!(facts[1..], [of("7.2.12", "a02_y", End::Failed)]);
        let error = parse(&format!("{begin}{result}"), None).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("counted 1 failed, and the log shows 0"),
            "{error}"
        );
    }

    #[test]
    fn a_log_without_a_kernel_needs_a_word() {
        let log = "test a01_x ... ok";
        let error = parse(log, None).unwrap_err().to_string();
        assert!(error.contains("the kernel of a01_x is unknown"), "{error}");
        let lines = parse(log, Some("6.18.1")).unwrap();
        assert_eq!(lines[0].kernel, "6.18.1");
    }
}

//! The result of a guest, read from its console.

use std::time::Duration;

use super::supervise::{End, Transcript, UP_PREFIX};
use crate::summary::Summary;

/// Prefix of the line with the command's exit code, written by xtask/files/guest-init.
pub(crate) const ENDED_PREFIX: &str = "guest: ended with ";

/// Last lines of a failed guest to show.
const TAIL: usize = 20;

const PANIC: &str = "Kernel panic - not syncing: ";

/// Returns the results in a guest's closing line, which begins with `head` (`kernel RELEASE`), or
/// the reason against trusting them.
pub(crate) fn judge(transcript: &Transcript, head: &str) -> Result<Summary, String> {
    let lines = &transcript.lines;
    // A panic outweighs all other lines.
    if let Some(why) = lines.iter().find_map(|line| panic_in(line)) {
        return Err(format!("the kernel panicked: {why}"));
    }
    let seconds = |time: Duration| time.as_secs();
    match &transcript.end {
        End::Exited(status) if status.success() => {}
        End::Exited(status) => return Err(format!("QEMU failed ({status})")),
        End::Silent(limit) => {
            return Err(format!(
                "the guest hung: no output for {} s",
                seconds(*limit)
            ));
        }
        End::TimedOut(limit) => {
            return Err(format!(
                "the guest did not end within {} s",
                seconds(*limit)
            ));
        }
        End::Interrupted => return Err("the guest was interrupted".to_owned()),
    }
    if !lines.iter().any(|line| line.starts_with(UP_PREFIX)) {
        return Err("the guest ended before its kernel had started the first program".to_owned());
    }
    let Some(code) = lines
        .iter()
        .find_map(|line| line.strip_prefix(ENDED_PREFIX))
    else {
        return Err("the guest ended before its tests did".to_owned());
    };
    let Some(summary) = closing(lines, head) else {
        return Err(format!(
            "the tests ended with exit code {code} and no line `{head}: …`"
        ));
    };
    match (code, summary) {
        ("0", Summary { failed: 0, .. }) => Ok(summary),
        ("0", _) => Err(format!("exit code 0 does not fit `{summary}`")),
        (_, Summary { failed: 0, .. }) => Err(format!(
            "no test failed, yet the tests ended with exit code {code}"
        )),
        _ => Ok(summary),
    }
}

/// Parses the last line `HEAD: N passed, N failed`.
fn closing(lines: &[String], head: &str) -> Option<Summary> {
    let verdict = |line: &String| {
        let rest = line.strip_prefix(head)?;
        let (passed, failed) = rest.strip_prefix(": ")?.split_once(" passed, ")?;
        Some(Summary {
            passed: passed.parse().ok()?,
            failed: failed.strip_suffix(" failed")?.parse().ok()?,
        })
    };
    lines.iter().rev().find_map(verdict)
}

/// Returns the last lines of a console; after a panic, the lines that led to the panic.
pub(crate) fn tail(lines: &[String]) -> &[String] {
    let panic = lines.iter().position(|line| panic_in(line).is_some());
    let end = panic.map_or(lines.len(), |panic| panic + 1);
    let from = end.saturating_sub(TAIL);
    lines.get(from..end).unwrap_or_default()
}

/// Returns the reason of a kernel panic reported by `line`.
fn panic_in(line: &str) -> Option<&str> {
    line.split_once(PANIC).map(|(_, why)| why)
}

/// Returns whether `line` is the closing line of a guest with any kernel.
pub(crate) fn is_closing(line: &str) -> bool {
    line.strip_prefix("kernel ")
        .is_some_and(|rest| rest.ends_with(" failed") && rest.contains(" passed, "))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

    use super::*;

    const UP_LINE: &str = "guest: up 6.1.0-56-cloud-amd64 after 2.97 s";

    fn judge_lines(lines: &[&str], end: End) -> Result<Summary, String> {
        let transcript = Transcript {
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
            end,
            up: None,
            took: Duration::ZERO,
        };
        judge(&transcript, "kernel 6.1.0-56-cloud-amd64")
    }

    fn after_exit(lines: &[&str]) -> Result<Summary, String> {
        judge_lines(lines, End::Exited(ExitStatus::from_raw(0)))
    }

    #[test]
    fn results_are_read() {
        let good = "kernel 6.1.0-56-cloud-amd64: 9 passed, 0 failed";
        assert_eq!(
            after_exit(&[UP_LINE, good, "", "guest: ended with 0"]),
            Ok(Summary {
                passed: 9,
                failed: 0
            })
        );
        let bad = "kernel 6.1.0-56-cloud-amd64: 7 passed, 2 failed";
        assert_eq!(
            after_exit(&[UP_LINE, bad, "", "guest: ended with 101"]),
            Ok(Summary {
                passed: 7,
                failed: 2
            })
        );
    }

    #[test]
    fn a_result_needs_the_fitting_exit_code() {
        let good = "kernel 6.1.0-56-cloud-amd64: 9 passed, 0 failed";
        let error = after_exit(&[UP_LINE, good, "guest: ended with 1"]).unwrap_err();
        assert!(error.contains("exit code 1"), "{error}");
        let bad = "kernel 6.1.0-56-cloud-amd64: 7 passed, 2 failed";
        let error = after_exit(&[UP_LINE, bad, "guest: ended with 0"]).unwrap_err();
        assert!(error.contains("does not fit"), "{error}");
        let error = after_exit(&[UP_LINE, good]).unwrap_err();
        assert_eq!(error, "the guest ended before its tests did");
    }

    #[test]
    fn no_result_is_a_failure() {
        let error = after_exit(&[UP_LINE, "guest: ended with 1"]).unwrap_err();
        assert!(error.contains("exit code 1 and no line"), "{error}");
        let other = "kernel 6.18.5: 9 passed, 0 failed";
        let error = after_exit(&[UP_LINE, other, "guest: ended with 0"]).unwrap_err();
        assert!(error.contains("no line"), "{error}");
        let inside = "it said kernel 6.1.0-56-cloud-amd64: 9 passed, 0 failed";
        let error = after_exit(&[UP_LINE, inside, "guest: ended with 0"]).unwrap_err();
        assert!(error.contains("no line"), "{error}");
        let error = after_exit(&[]).unwrap_err();
        assert!(error.contains("first program"), "{error}");
    }

    #[test]
    fn a_panic_outweighs_a_result() {
        let error = after_exit(&[
            UP_LINE,
            "kernel 6.1.0-56-cloud-amd64: 9 passed, 0 failed",
            "guest: ended with 0",
            "[    9.1] Kernel panic - not syncing: Fatal exception",
        ]);
        assert_eq!(error.unwrap_err(), "the kernel panicked: Fatal exception");
    }

    #[test]
    fn a_hang_says_for_how_long() {
        let hung = judge_lines(&[UP_LINE], End::Silent(Duration::from_secs(240)));
        assert_eq!(hung.unwrap_err(), "the guest hung: no output for 240 s");
        let late = judge_lines(&[UP_LINE], End::TimedOut(Duration::from_secs(1800)));
        assert_eq!(late.unwrap_err(), "the guest did not end within 1800 s");
    }

    #[test]
    fn closing_lines_are_known() {
        assert!(is_closing("kernel 6.1.0: 9 passed, 0 failed"));
        assert!(!is_closing("kernel 6.1.0: is old"));
        assert!(!is_closing("test result: ok. 9 passed, 0 failed"));
    }

    #[test]
    fn the_lines_before_a_panic_are_shown_not_its_trace() {
        let mut lines: Vec<_> = (0..40).map(|number| format!("line {number}")).collect();
        assert_eq!(tail(&lines).first().unwrap(), "line 20");
        assert_eq!(tail(&lines).last().unwrap(), "line 39");
        lines.insert(30, "[ 2.1] Kernel panic - not syncing: why".to_owned());
        assert_eq!(tail(&lines).first().unwrap(), "line 11");
        assert!(tail(&lines).last().unwrap().ends_with("why"));
        assert!(tail(&[]).is_empty());
    }
}

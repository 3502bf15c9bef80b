//! The length of source files and functions.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// Crates with source files.
const CRATES: [&str; 4] = ["enforcer", "enforcer-ebpf", "tests", "xtask"];

/// Line limit of a file, for reading in one sitting.
const FILE_LINES: usize = 400;

/// Line limit of a function, for reading on a screen.
const FUNCTION_LINES: usize = 60;

/// Number of functions that may exceed the limit.
const LONG_FUNCTIONS: usize = 5;

/// Place, name and length of a function.
#[derive(Debug, PartialEq, Eq)]
struct Function<'a> {
    name: &'a str,
    /// Line of the signature, from 1.
    line: usize,
    /// Lines from the signature to the closing brace.
    length: usize,
}

/// Prints the number of long files and functions. Fails at any long file, and at more than
/// [`LONG_FUNCTIONS`] long functions.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let mut count = 0;
    let mut long_files = Vec::new();
    let mut long_functions = Vec::new();
    for folder in CRATES {
        for file in workspace.files(folder, &["rs"])? {
            let text = fs::read_to_string(workspace.path(&file))
                .with_context(|| format!("failed to read {file}"))?;
            count += 1;
            let lines = text.lines().count();
            if lines > FILE_LINES {
                long_files.push(format!("{file}: {lines} lines"));
            }
            for Function { name, line, length } in functions(&text) {
                if length > FUNCTION_LINES {
                    long_functions.push(format!("{file}:{line}: {name}, {length} lines"));
                }
            }
        }
    }
    println!(
        "{count} source files: {} over {FILE_LINES} lines, {} functions over {FUNCTION_LINES}",
        long_files.len(),
        long_functions.len()
    );
    for function in &long_functions {
        println!("  {function}");
    }
    if !long_files.is_empty() {
        bail!(
            "source files over {FILE_LINES} lines, to be split:\n  {}",
            long_files.join("\n  ")
        );
    }
    if long_functions.len() > LONG_FUNCTIONS {
        bail!(
            "{} functions over {FUNCTION_LINES} lines, at most {LONG_FUNCTIONS} may be: split some",
            long_functions.len()
        );
    }
    Ok(())
}

/// Returns the functions of `text` as formatted by rustfmt: the closing brace stands alone, below
/// the first letter of the signature.
fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(name) = function_name(line)
            && let Some(length) = lines.get(at..).and_then(length)
        {
            found.push(Function {
                name,
                line: at + 1,
                length,
            });
        }
    }
    found
}

/// Returns the name of the function whose signature begins on `line`.
fn function_name(line: &str) -> Option<&str> {
    const QUALIFIERS: [&str; 5] = ["const ", "async ", "unsafe ", "extern \"C\" ", "pub "];
    let mut rest = line.trim_start();
    loop {
        if let Some((_, after)) = rest.strip_prefix("pub(").and_then(|r| r.split_once(") ")) {
            rest = after;
            continue;
        }
        match QUALIFIERS.iter().find_map(|word| rest.strip_prefix(word)) {
            Some(after) => rest = after,
            None => break,
        }
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

/// Returns the number of lines of the function at the start of `lines`; none for a declaration.
fn length(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    let indent = first.len() - first.trim_start().len();
    let mut has_body = false;
    for (at, line) in lines.iter().enumerate() {
        let is_level = line.len() - line.trim_start().len() == indent;
        if !is_level || line.is_empty() {
            continue;
        }
        let text = line.trim();
        if has_body && text == "}" {
            return Some(at + 1);
        }
        if !has_body && text.ends_with('}') {
            return Some(at + 1);
        }
        if !has_body && text.ends_with(';') {
            return None;
        }
        has_body |= text.ends_with('{');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Vec<(&str, usize, usize)> {
        functions(text)
            .iter()
            .map(|function| (function.name, function.line, function.length))
            .collect()
    }

    #[test]
    fn a_function_ends_at_its_own_brace() {
        let text = "\
/// Says `fn nothing() {`.
pub(crate) const unsafe fn one<T>(value: T) -> T {
    if true {
        value
    }

    value
}

impl A {
    fn two(
        &self,
        other: usize,
    ) -> usize
    where
        A: B,
    {
        fn three() {}
        other
    }
}
";
        assert_eq!(
            lengths(text),
            [("one", 2, 7), ("two", 11, 10), ("three", 18, 1)]
        );
    }

    #[test]
    fn a_declaration_has_no_length() {
        let text = "\
trait A {
    fn one(&self);
    fn two(
        &self,
    ) -> usize;
    fn three(&self) -> usize {
        3
    }
}
extern \"C\" fn four(_: c_int) {
}
";
        assert_eq!(lengths(text), [("three", 6, 3), ("four", 10, 2)]);
    }
}

//! The medians, as a table or as JSON.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::args::Args;
use super::cases::CASES;
use super::measure::Sample;

/// Result of a case.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    case: &'static str,
    /// Nanoseconds for each run, by processor time.
    ns: f64,
    /// Interquartile range: half of all rounds lie within so many nanoseconds.
    spread: f64,
    /// Nanoseconds for each run, by the kernel's measure.
    kernel_ns: f64,
    base: Option<&'static str>,
    /// Ratio to the base.
    ratio: Option<f64>,
    /// The ratio by the kernel's measure, which knows whole nanoseconds alone.
    kernel_ratio: Option<f64>,
    /// The bound of the ratio.
    bound: Option<f64>,
    /// Whether the ratio is within the bound.
    ok: Option<bool>,
}

/// The medians of each case's samples, which are in the order of the cases and of the rounds.
pub(super) fn rows(samples: &[Vec<Sample>]) -> Vec<Row> {
    CASES
        .iter()
        .zip(samples)
        .map(|(case, own)| {
            let position = |name| CASES.iter().position(|case| case.name == name);
            let base = case.base.and_then(|(name, _)| samples.get(position(name)?));
            let ratio = |of: fn(&Sample) -> f64| {
                let rounds = own.iter().zip(base?);
                Some(median(
                    rounds.map(|(own, base)| of(own) / of(base)).collect(),
                ))
            };
            let fine = || own.iter().map(|sample| sample.fine).collect::<Vec<_>>();
            let ratio_fine = ratio(|sample| sample.fine);
            let bound = case.base.and_then(|(_, bound)| bound);
            Row {
                case: case.name,
                ns: median(fine()),
                spread: quantile(fine(), 3, 4) - quantile(fine(), 1, 4),
                kernel_ns: median(own.iter().map(|sample| sample.kernel).collect()),
                base: case.base.map(|(name, _)| name),
                ratio: ratio_fine,
                kernel_ratio: ratio(|sample| sample.kernel),
                bound,
                ok: ratio_fine.zip(bound).map(|(ratio, bound)| ratio <= bound),
            }
        })
        .collect()
}

/// Prints the rows.
pub(super) fn print(rows: &[Row], args: &Args) -> Result<()> {
    if args.json {
        let whole = serde_json::json!({
            "rounds": args.rounds,
            "repeat": args.repeat,
            "cases": rows,
        });
        println!("{}", serde_json::to_string_pretty(&whole)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "case",
        "ns",
        "±",
        "kernel's ns",
        "ratio",
        "(kernel's)",
        "at most",
        "",
        "of",
    ]);
    for row in rows {
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.2}"));
        table.add_row([
            row.case.to_owned(),
            format!("{:.1}", row.ns),
            format!("{:.1}", row.spread / 2.0),
            format!("{:.0}", row.kernel_ns),
            number(row.ratio),
            number(row.kernel_ratio),
            number(row.bound),
            judgement(row),
            row.base.unwrap_or_default().to_owned(),
        ]);
    }
    for column in 1..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{}", table.trim_fmt());
    println!(
        "\nMedians of {} rounds of {} runs, all cases in turn. ns: processor time for each run, the \
         way in and out taken off; kernel's ns: rounded down to whole ones.\nThe noise: the empty \
         program against itself is {:.3}.",
        args.rounds,
        args.repeat,
        rows.get(1).and_then(|row| row.ratio).unwrap_or(f64::NAN)
    );
    Ok(())
}

fn judgement(row: &Row) -> String {
    match (row.ok, row.ratio, row.bound) {
        (Some(true), ..) => "ok".to_owned(),
        (Some(false), Some(ratio), Some(bound)) => format!("MISSED by {:.2}", ratio - bound),
        _ => String::new(),
    }
}

/// The median.
pub(super) fn median(values: Vec<f64>) -> f64 {
    quantile(values, 1, 2)
}

/// The quantile: `part` of `whole` parts of the values lie below.
fn quantile(mut values: Vec<f64>, part: usize, whole: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get(last * part / whole).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_stands_before_what_is_compared_with_it() {
        for (index, case) in CASES.iter().enumerate() {
            if let Some((base, _)) = case.base {
                assert!(
                    CASES[..index].iter().any(|earlier| earlier.name == base),
                    "{} is compared with {base}",
                    case.name
                );
            }
        }
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = vec![5.0, 1.0, 4.0, 2.0, 3.0];
        assert!((median(values.clone()) - 3.0).abs() < f64::EPSILON);
        assert!((quantile(values, 3, 4) - 4.0).abs() < f64::EPSILON);
    }
}

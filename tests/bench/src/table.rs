//! Rows, and the table that people read.

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// KiB.
    Kibibytes,
    /// Things.
    Times,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            _ if value.is_nan() => "fails".to_owned(),
            Self::Milliseconds if value >= 100.0 => format!("{value:.0} ms"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Kibibytes if value >= 1024.0 => format!("{:.1} MiB", value / 1024.0),
            Self::Kibibytes => format!("{value:.0} KiB"),
            Self::Times => format!("{value:.1}"),
        }
    }
}

/// One figure, beside another one of the same run if there is any to put beside it.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What the numbers count.
    pub unit: Unit,
    /// The agent's.
    pub ours: f64,
    /// What theirs is, and how much.
    pub theirs: Option<(String, f64)>,
}

impl Row {
    /// A figure with another one beside it.
    pub fn beside(what: &str, unit: Unit, ours: f64, whose: &str, theirs: f64) -> Self {
        Self { what: what.to_owned(), unit, ours, theirs: Some((whose.to_owned(), theirs)) }
    }

    /// A figure that nothing is beside.
    pub fn alone(what: &str, unit: Unit, ours: f64) -> Self {
        Self { what: what.to_owned(), unit, ours, theirs: None }
    }
}

/// The one in the middle: one that was late for a reason of the machine's own does not count.
///
/// # Panics
/// Of nothing.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    assert!(!sorted.is_empty(), "nothing was measured");
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// All rows, in columns, as Markdown has them.
pub fn render(rows: &[Row]) -> String {
    let mut cells = vec![["figure", "ours", "theirs", "ours / theirs", "theirs is"].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        let (whose, theirs, ratio) = match &row.theirs {
            Some((whose, value)) => (whose.clone(), row.unit.show(*value), ratio(row.ours, *value)),
            None => Default::default(),
        };
        [row.what.clone(), row.unit.show(row.ours), theirs, ratio, whose]
    }));
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut out = String::new();
    for (number, line) in cells.iter().enumerate() {
        let [what, numbers @ .., whose] = line;
        let numbers: Vec<String> =
            numbers.iter().zip(&widths[1..]).map(|(cell, width)| format!("{cell:>width$}")).collect();
        out += &format!("| {what:<0$} | {1} | {whose:<2$} |\n", widths[0], numbers.join(" | "), widths[4]);
        if number == 0 {
            let rule = |column: usize| "-".repeat(widths[column].saturating_sub(1));
            out += &format!("| {}- | {}: | {}: | {}: | {}- |\n", rule(0), rule(1), rule(2), rule(3), rule(4));
        }
    }
    out
}

fn ratio(ours: f64, theirs: f64) -> String {
    if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        for (samples, expected) in
            [(&[3.0][..], 3.0), (&[9.0, 1.0, 2.0], 2.0), (&[4.0, 1.0, 2.0, 100.0], 3.0), (&[1.0, 1.0], 1.0)]
        {
            assert!((median(samples) - expected).abs() < 1e-9, "{samples:?}");
        }
    }

    #[test]
    fn a_table_has_columns_and_ratios() {
        let rows = [
            Row::beside("start", Unit::Milliseconds, 250.0, "the old script", 1000.0),
            Row::alone("package", Unit::Kibibytes, 2048.0),
            Row::beside("CPU", Unit::Seconds, 1.5, "nothing", 0.0),
        ];
        let expected = "\
| figure  |    ours |  theirs | ours / theirs | theirs is      |
| ------- | ------: | ------: | ------------: | -------------- |
| start   |  250 ms | 1000 ms |          0.25 | the old script |
| package | 2.0 MiB |         |               |                |
| CPU     |  1.50 s |  0.00 s |               | nothing        |
";
        assert_eq!(render(&rows), expected);
    }
}

//! Results: the table on the screen, and the generated parts of docs/performance.md.
//!
//! The document has a table of verdicts, whose rows begin with the name of a figure, and a section per
//! bench between two marker lines. A run replaces what it has measured and leaves the rest.

use std::{fmt::Write as _, fs, path::Path};

use crate::measure::Cost;

/// A figure with its target.
#[derive(Debug, Clone)]
pub struct Figure {
    /// `sync/wall`
    pub name: String,
    /// What it is.
    pub what: String,
    /// What was asked for.
    pub target: String,
    /// What it is here.
    pub measured: String,
    /// Whether that is enough.
    pub met: bool,
}

/// What a bench found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The verdicts.
    pub figures: Vec<Figure>,
    /// Markdown below them.
    pub details: String,
}

impl Report {
    /// Adds a figure that must be at most `target`.
    pub fn at_most(&mut self, name: &str, what: &str, target: f64, measured: f64, unit: &str) {
        self.figure(
            name,
            what,
            format!("≤ {}", show(target, unit)),
            show(measured, unit),
            measured <= target,
        );
    }

    /// Adds a figure that must be at least `target`.
    pub fn at_least(&mut self, name: &str, what: &str, target: f64, measured: f64, unit: &str) {
        self.figure(
            name,
            what,
            format!("≥ {}", show(target, unit)),
            show(measured, unit),
            measured >= target,
        );
    }

    fn figure(&mut self, name: &str, what: &str, target: String, measured: String, met: bool) {
        let (name, what) = (name.to_owned(), what.to_owned());
        self.figures.push(Figure { name, what, target, measured, met });
    }

    /// Adds a line of text.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.details, "\n{}", text.as_ref());
    }

    /// Adds a table of costs; the first row is what the others are compared with.
    pub fn costs(&mut self, rows: &[(&str, Cost)]) {
        let first = rows.first().map_or(Cost::default(), |(_, cost)| *cost);
        self.details += "\n| variant | wall s | x | CPU s | x | server CPU s | RSS MB |\n|---|---|---|---|---|---|---|\n";
        for (name, c) in rows {
            let (wall, cpu) = (c.wall / first.wall, c.cpu / first.cpu);
            let _ = writeln!(
                self.details,
                "| {name} | {:.2} | {wall:.2} | {:.2} | {cpu:.2} | {:.1} | {:.0} |",
                c.wall, c.cpu, c.server, c.rss
            );
        }
    }
}

/// A number with its unit, as long as it makes sense.
fn show(value: f64, unit: &str) -> String {
    let number = match value.abs() {
        v if v >= 1000.0 => grouped(value.round() as i64),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

fn grouped(value: i64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The table of verdicts for people.
pub fn table(figures: &[Figure]) -> String {
    let mut out = String::new();
    for figure in figures {
        let verdict = if figure.met { "met" } else { "SHORT" };
        let _ = writeln!(
            out,
            "{:<18} {:<66} {:>16} {:>16}  {verdict}",
            figure.name, figure.what, figure.target, figure.measured
        );
    }
    out
}

/// Puts a bench's results into the document.
pub fn write(document: &Path, bench: &str, report: &Report, header: &str) {
    let mut text = fs::read_to_string(document).unwrap_or_default();
    for figure in &report.figures {
        let verdict = if figure.met { "met" } else { "**short**" };
        let row = format!(
            "| {} | {} | {} | {} | {verdict} |",
            figure.name, figure.what, figure.target, figure.measured
        );
        text = with_row(&text, &figure.name, &row);
    }
    let section = format!("{header}\n{}", report.details);
    text = with_section(&text, bench, &section);
    fs::write(document, text).expect("write the document");
}

/// Replaces the row that begins with `name`, or adds it at the end of the table of verdicts.
fn with_row(text: &str, name: &str, row: &str) -> String {
    let start = format!("| {name} |");
    let mut lines: Vec<&str> = text.lines().collect();
    if let Some(old) = lines.iter_mut().find(|line| line.starts_with(&start)) {
        *old = row;
    } else if let Some(end) = lines.iter().position(|line| *line == "<!-- end verdicts -->") {
        lines.insert(end, row);
    }
    lines.join("\n") + "\n"
}

/// Replaces what is between the markers of `bench`, or adds them at the end.
fn with_section(text: &str, bench: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- begin {bench} -->\n"), format!("<!-- end {bench} -->"));
    let body = format!("{}\n", section.trim_end());
    match (text.find(&begin), text.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{body}{}", &text[..from + begin.len()], &text[to..])
        }
        _ => format!("{text}\n{begin}{body}{end}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_replaces_its_own_rows_and_sections_only() {
        let text = "| a/x | w | t | 1 | met |\n<!-- end verdicts -->\n<!-- begin a -->\nold\n<!-- end a -->\nmine\n";
        let text = with_row(text, "a/x", "| a/x | w | t | 2 | met |");
        let text = with_row(&text, "b/y", "| b/y | w | t | 3 | met |");
        let text = with_section(&text, "a", "new");
        assert_eq!(
            text,
            "| a/x | w | t | 2 | met |\n| b/y | w | t | 3 | met |\n<!-- end verdicts -->\n\
             <!-- begin a -->\nnew\n<!-- end a -->\nmine\n"
        );
    }

    #[test]
    fn numbers_are_shown_as_long_as_they_make_sense() {
        assert_eq!(show(512_345.6, "ops"), "512,346 ops");
        assert_eq!(show(0.6543, ""), "0.65");
        assert_eq!(show(0.0123, ""), "0.0123");
        assert_eq!(show(123.4, "MB"), "123 MB");
    }
}

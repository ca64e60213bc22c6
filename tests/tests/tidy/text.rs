//! Rules about all text: lengths, unfinished work, places that exist on one machine only.

/// Lines of a source file or script.
const LONGEST_FILE: usize = 600;

/// Marks of unfinished work. Put together here, so that this file has none.
const MARKERS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("HA", "CK"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
];

/// Folders of one machine.
const MACHINE: [&str; 3] =
    [concat!("/ro", "ot"), concat!("/wo", "rk"), concat!("/tmp/", "helpers")];

/// Complaints about one file.
pub(crate) fn check(name: &str, text: &str) -> Vec<String> {
    // Written by cargo, and by others.
    if matches!(name, "Cargo.lock" | "LICENSE") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    let source = name.ends_with(".rs") || name.starts_with("scripts/");
    let lines = text.lines().count();
    if source && lines > LONGEST_FILE {
        complaints.push(format!("{name}: {lines} lines, at most {LONGEST_FILE}"));
    }
    for line in text.lines() {
        let found = MARKERS.iter().find(|marker| has_word(line, marker));
        complaints.extend(found.map(|marker| format!("{name}: {marker} in: {}", line.trim())));
        let found = MACHINE.iter().find(|folder| has_word(line, folder));
        complaints.extend(found.map(|folder| format!("{name}: {folder} in: {}", line.trim())));
        if name.ends_with(".md") && names_a_line(line) {
            complaints.push(format!("{name}: names a line, which will move: {}", line.trim()));
        }
    }
    complaints
}

/// Whether `word` stands in `line` by itself, not as a part of a longer word or path.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '}' | '$');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        !before.is_some_and(part) && (word.ends_with('(') || !after.is_some_and(inside))
    })
}

/// Whether a text refers to a line of a file by its number.
fn names_a_line(line: &str) -> bool {
    let number = |text: &str| text.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let words = ["line ", "lines ", "Line ", "Lines ", ".rs:", "#L"];
    words.iter().any(|word| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let whole = !before.is_some_and(char::is_alphanumeric) || !word.ends_with(' ');
            whole && number(&line[at + word.len()..])
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found() {
        assert_eq!(check("a.rs", &"x\n".repeat(600)), Vec::<String>::new());
        assert_eq!(check("a.rs", &"x\n".repeat(601)), ["a.rs: 601 lines, at most 600"]);
        assert_eq!(check("docs/a.md", &"x\n".repeat(601)), Vec::<String>::new());
    }

    #[test]
    fn unfinished_work_is_found() {
        for marker in MARKERS {
            assert_eq!(check("a.rs", &format!("// {marker} later")).len(), 1, "{marker}");
        }
        assert_eq!(check("a.rs", "// mongodb's hacks, a fixmeup, XXXL"), Vec::<String>::new());
    }

    #[test]
    fn places_on_one_machine_are_found() {
        for folder in MACHINE {
            assert_eq!(check("a.md", &format!("see {folder}/x")).len(), 1, "{folder}");
            assert_eq!(check("a.md", &format!("`{folder}`")).len(), 1, "{folder}");
            assert_eq!(
                check("a.md", &format!("$HOME{folder}, tree{folder}")),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn line_numbers_are_found() {
        for bad in ["see line 12", "(lines 3-4)", "in a.rs:17", "x.rs#L9"] {
            assert_eq!(check("a.md", bad).len(), 1, "{bad}");
            assert_eq!(check("a.rs", bad), Vec::<String>::new());
        }
        assert_eq!(
            check("a.md", "baseline 3, one line per event, deadlines 7"),
            Vec::<String>::new()
        );
    }
}

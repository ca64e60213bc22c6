//! docs/hard-cases.md names tests that exist.

/// The names of tests that a line of the document gives, in backquotes: `module::test` or `crate: test`.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter_map(|text| {
        let (_, name) = text.rsplit_once("::").or_else(|| text.rsplit_once(": "))?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (!name.is_empty() && name.chars().all(plain)).then_some(name)
    })
}

/// Whether a source has a test of that name, written out or in a list that a macro takes.
fn has(source: &str, name: &str) -> bool {
    source.match_indices(name).any(|(at, _)| {
        let (before, after) = (&source[..at], &source[at + name.len()..]);
        let written = before.ends_with("fn ") && after.starts_with('(');
        let listed = before.ends_with("    ") && after.starts_with(": ");
        written || listed
    })
}

/// Complaints about the document.
pub(crate) fn check(document: &str, sources: &[&str]) -> Vec<String> {
    let names = document.lines().filter(|line| line.starts_with('|')).flat_map(named);
    names
        .filter(|name| !sources.iter().any(|source| has(source, name)))
        .map(|name| format!("docs/hard-cases.md: there is no test {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_does_not_exist_is_named() {
        let document = "| 1 | words `like::these_two` | `a: written`, `m::listed` | tested |";
        let sources = ["fn written() {}\n", "cases! {\n    listed: x, y;\n}"];
        let complaints = check(document, &sources);
        assert_eq!(complaints, ["docs/hard-cases.md: there is no test these_two"]);
        assert_eq!(check("`other::text`", &sources), Vec::<String>::new());
    }
}

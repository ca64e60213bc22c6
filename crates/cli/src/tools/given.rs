//! Values that are empty: scripts pass `--query "$Q"` and `-u "$U"` whether there is something in them or not. To the
//! stock tools an empty word is as good as none.

use std::{any::TypeId, ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, Command};

/// The arguments without flags whose value is an empty word, and without empty positional ones. What is a number has to
/// be one, and what may be given several times is kept: an empty name excludes nothing.
pub fn without_empty(command: &Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut kept = Vec::with_capacity(arguments.len());
    let mut rest = arguments.into_iter().peekable();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            kept.push(argument);
            kept.extend(rest);
            break;
        }
        let Some(text) = argument.to_str() else {
            kept.push(argument);
            continue;
        };
        if text.is_empty() || text.strip_suffix('=').is_some_and(|flag| takes_word(command, flag)) {
            continue;
        }
        let apart = takes_value_apart(command, text);
        match rest.next_if(|_| apart) {
            Some(value) if value.is_empty() && takes_word(command, text) => {}
            Some(value) => kept.extend([argument, value]),
            None => kept.push(argument),
        }
    }
    kept
}

/// `--name`, `-n` or the end of `-vn`.
fn flag<'c>(command: &'c Command, text: &str) -> Option<&'c Arg> {
    let long = text.strip_prefix("--");
    let short = text.strip_prefix('-').filter(|_| long.is_none()).and_then(|s| s.chars().last());
    command.get_arguments().find(|arg| {
        long.is_some_and(|long| arg.get_long() == Some(long))
            || short.is_some_and(|short| arg.get_short() == Some(short))
    })
}

/// The value is the next argument.
fn takes_value_apart(command: &Command, text: &str) -> bool {
    let takes = |arg: &Arg| arg.get_action().takes_values() && !arg.is_require_equals_set();
    // Whatever stands behind a letter that takes a value is that value.
    let short = text.strip_prefix('-').filter(|t| !t.starts_with('-')).unwrap_or_default();
    let mut letters = short.chars();
    let last = letters.next_back();
    let filled = last.is_some()
        && letters.any(|letter| flag(command, &format!("-{letter}")).is_none_or(takes));
    !filled && flag(command, text).is_some_and(takes)
}

fn takes_word(command: &Command, text: &str) -> bool {
    flag(command, text).is_some_and(|arg| {
        let kind = arg.get_value_parser().type_id();
        let word = [TypeId::of::<String>(), TypeId::of::<PathBuf>(), TypeId::of::<OsString>()];
        matches!(arg.get_action(), ArgAction::Set) && word.iter().any(|known| kind == *known)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn empty_words_are_not_given() {
        let left = |arguments: &[&str]| {
            let command = super::super::mongodump::Args::command();
            let all = arguments.iter().map(OsString::from).collect();
            without_empty(&command, all).join(" ".as_ref()).into_string().unwrap()
        };
        assert_eq!(left(&["-q", "", "--queryFile", "", "--uri", "", "-d", "one", ""]), "-d one");
        assert_eq!(left(&["--archive=", "-u=", "--port", "", "-vu", "", "--gzip"]), "--gzip");
        assert_eq!(left(&["--archive", "", "-o", "x"]), "--archive -o x");
        // A value that looks like a flag, and one that stands behind its letter.
        assert_eq!(left(&["-p", "-u", "", "-dq", "", "x"]), "-p -u -dq x");
        for kept in [&["-j", ""][..], &["--excludeCollection", ""], &["--", ""]] {
            assert_eq!(left(kept), kept.join(" "));
        }
    }
}

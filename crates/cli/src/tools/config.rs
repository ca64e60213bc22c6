//! The file of `--config`: secrets that should stand in no list of processes. YAML, with three keys.

use std::{fs, path::Path};

use bygone_base::{Error, Result};
use saphyr_parser::{Event, Parser};

/// What a file may hold.
#[derive(Default)]
pub struct Config {
    pub password: Option<String>,
    pub uri: Option<String>,
    pub key_password: Option<String>,
}

/// Reads a file.
pub fn read(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else { return Ok(Config::default()) };
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|e| Error::io(format!("error opening file with --config {shown}"), e))?;
    parse(&text).map_err(|e| e.within(format!("error parsing config file {shown}")))
}

/// A scalar is taken as it is written: a password of digits is one, too.
fn parse(text: &str) -> Result<Config> {
    let mut config = Config::default();
    // The key whose value comes next.
    let (mut key, mut depth) = (None::<String>, 0);
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        // What stands in the file may be a secret: only the place is told.
        let place = |e: saphyr_parser::ScanError| {
            let line = e.marker().line();
            Error::usage(format!("line {line} is not YAML"))
        };
        let (event, span) = event.map_err(place)?;
        let line = span.start.line();
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::MappingEnd => {}
            Event::MappingStart(..) if depth == 0 => depth = 1,
            Event::Scalar(value, ..) if depth == 1 => match key.take() {
                None => key = Some(value.into_owned()),
                Some(key) => config.take(&key, value.into_owned(), line)?,
            },
            // An empty document.
            Event::Scalar(value, ..) if value.is_empty() || value == "~" => {}
            _ => return Err(Error::usage(format!("line {line} is not \"key: value\""))),
        }
    }
    Ok(config)
}

impl Config {
    fn take(&mut self, key: &str, value: String, line: usize) -> Result<()> {
        let place = match key {
            "password" => &mut self.password,
            "uri" => &mut self.uri,
            "sslPEMKeyPassword" => &mut self.key_password,
            other => return Err(Error::usage(format!("line {line}: unknown field {other}"))),
        };
        if place.is_some() {
            return Err(Error::usage(format!("line {line}: {key} stands there twice")));
        }
        *place = Some(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> [String; 3] {
        let config = parse(text).unwrap();
        [config.password, config.uri, config.key_password].map(Option::unwrap_or_default)
    }

    #[test]
    fn three_keys_are_known() {
        let text = "# x\npassword: \"a: b\"\nuri: mongodb://h/?a=b\nsslPEMKeyPassword: 'k'";
        assert_eq!(found(text), ["a: b", "mongodb://h/?a=b", "k"]);
        assert!(parse("user: x").is_err() && parse("x").is_err());
    }

    #[test]
    fn it_is_yaml() {
        for text in [
            "password: s3#cret # a comment",
            "password: 's3#cret'   # a comment",
            "\u{feff}password: s3#cret\r\n",
            "---\n\"password\": \"s3\\x23cret\"\n...\n",
            "{password: 's3#cret'}",
            "{\"password\": \"s3#cret\", uri: }",
            "password: |-\n  s3#cret\n",
            "? password\n: >-\n  s3#cret\n",
        ] {
            assert_eq!(found(text)[0], "s3#cret", "{text:?}");
        }
        assert_eq!(found("password: 0123")[0], "0123");
        assert_eq!(found("")[0], "");
        assert_eq!(found("# nothing\n")[0], "");
    }

    #[test]
    fn what_is_not_understood_is_refused_without_being_shown() {
        for text in
            ["password: [s3]", "password: {a: s3}", "- s3", "password: 's3", "a: &x s3\nb: *x"]
        {
            let Err(error) = parse(text) else { panic!("{text} was read") };
            assert!(!error.to_string().contains("s3"), "{error}");
        }
        assert!(parse("password: a\npassword: b").is_err());
    }
}

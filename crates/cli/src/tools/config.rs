//! The file of `--config`: secrets that should stand in no list of processes.

use std::{fs, path::Path};

use bygone_base::{Error, Result};

/// What a file may hold.
#[derive(Default)]
pub struct Config {
    pub password: Option<String>,
    pub uri: Option<String>,
    pub key_password: Option<String>,
}

/// Reads the lines `key: value` of a file; a value may stand in quotes.
pub fn read(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else { return Ok(Config::default()) };
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|e| Error::io(format!("error opening file with --config {shown}"), e))?;
    parse(&text).map_err(|e| e.within(format!("error parsing config file {shown}")))
}

fn parse(text: &str) -> Result<Config> {
    let mut config = Config::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line == "---" {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            return Err(Error::usage(format!("line {number} is not \"key: value\"")));
        };
        let value = Some(unquoted(value.trim()));
        match key.trim() {
            "password" => config.password = value,
            "uri" => config.uri = value,
            "sslPEMKeyPassword" => config.key_password = value,
            other => return Err(Error::usage(format!("line {number}: unknown field {other}"))),
        }
    }
    Ok(config)
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|v| v.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.to_owned();
        }
    }
    value.split(" #").next().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_keys_are_known() {
        let config =
            parse("# x\npassword: \"a: b\"\nuri: mongodb://h/?a=b\nsslPEMKeyPassword: 'k'")
                .unwrap();
        assert_eq!(config.password.as_deref(), Some("a: b"));
        assert_eq!(config.uri.as_deref(), Some("mongodb://h/?a=b"));
        assert_eq!(config.key_password.as_deref(), Some("k"));
        assert!(parse("user: x").is_err() && parse("x").is_err());
    }
}

//! serde's attributes, as far as the API uses them.

use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Result, Token};

/// What the attributes of a type, a variant or a field say.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// Its comment.
    pub(crate) about: String,
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) content: Option<String>,
    /// The type whose schema it has.
    pub(crate) with: Option<String>,
    pub(crate) untagged: bool,
    /// It may be left out.
    pub(crate) may_lack: bool,
    /// It knows no other fields.
    pub(crate) closed: bool,
}

impl Attributes {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Attributes> {
        let mut read = Attributes::default();
        for attribute in attributes {
            let path = attribute.path();
            if path.is_ident("doc") {
                read.comment(attribute);
            } else if path.is_ident("serde") || path.is_ident("schema") {
                read.nested(attribute)?;
            }
        }
        Ok(read)
    }

    fn comment(&mut self, attribute: &Attribute) {
        if let Meta::NameValue(pair) = &attribute.meta
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
        {
            let line = text.value();
            if !self.about.is_empty() {
                self.about.push(' ');
            }
            self.about.push_str(line.trim());
        }
    }

    fn nested(&mut self, attribute: &Attribute) -> Result<()> {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let value = if meta.input.peek(Token![=]) {
                Some(meta.value()?.parse::<LitStr>()?.value())
            } else {
                None
            };
            match (name.as_str(), value) {
                ("rename", value @ Some(_)) => self.rename = value,
                ("rename_all", value @ Some(_)) => self.rename_all = value,
                ("tag", value @ Some(_)) => self.tag = value,
                ("content", value @ Some(_)) => self.content = value,
                ("with", value @ Some(_)) => self.with = value,
                ("untagged", None) => self.untagged = true,
                ("deny_unknown_fields", None) => self.closed = true,
                ("default", _) | ("skip_serializing_if", Some(_)) => self.may_lack = true,
                // They change how, not what.
                ("deserialize_with", Some(_)) | ("transparent", None) => {}
                _ => return Err(meta.error("no schema knows this attribute")),
            }
            Ok(())
        })
    }
}

/// A name as serde writes it.
pub(crate) fn renamed(name: &str, rule: Option<&str>) -> String {
    let words = words(name);
    match rule {
        None => name.to_owned(),
        Some("camelCase") => {
            let mut camel = String::new();
            for (n, word) in words.iter().enumerate() {
                let mut letters = word.chars();
                match letters.next() {
                    Some(first) if n > 0 => camel.push(first.to_ascii_uppercase()),
                    Some(first) => camel.push(first),
                    None => {}
                }
                camel.extend(letters);
            }
            camel
        }
        Some("snake_case") => words.join("_"),
        Some("SCREAMING_SNAKE_CASE") => words.join("_").to_ascii_uppercase(),
        Some("lowercase") => words.concat(),
        Some(other) => format!("unknown rule {other}"),
    }
}

/// The words of a name, lower case, whether it is in snake_case or in CamelCase.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    for c in name.chars() {
        let begins = c == '_' || c.is_ascii_uppercase();
        if begins && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if c != '_'
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_serde_writes_them() {
        let table = [
            ("snapshot_id", Some("camelCase"), "snapshotId"),
            ("s3_bucket_name", Some("camelCase"), "s3BucketName"),
            ("id", Some("camelCase"), "id"),
            ("GlobalOwner", Some("SCREAMING_SNAKE_CASE"), "GLOBAL_OWNER"),
            ("InProgress", Some("snake_case"), "in_progress"),
            ("Terminating", Some("lowercase"), "terminating"),
            ("interval_secs", None, "interval_secs"),
        ];
        for (name, rule, written) in table {
            assert_eq!(renamed(name, rule), written);
        }
    }
}

//! Style, script and icon: in the binary, named by their content, and so kept by browsers for as long as they like.

use std::sync::LazyLock;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bygone_base::{Error, ErrorKind};

use crate::failure::{Answer, Failure};

struct Asset {
    name: String,
    kind: &'static str,
    text: &'static str,
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    asset("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css"))
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    asset("script", "js", "text/javascript; charset=utf-8", include_str!("assets/script.js"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| asset("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

fn asset(stem: &str, end: &str, kind: &'static str, text: &'static str) -> Asset {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    let hash: String = hash.chars().take(12).collect();
    Asset { name: format!("{stem}-{hash}.{end}"), kind, text }
}

/// Where the style is.
pub(crate) fn style() -> String {
    format!("/assets/{}", STYLE.name)
}

/// Where the script is.
pub(crate) fn script() -> String {
    format!("/assets/{}", SCRIPT.name)
}

/// Where the icon is.
pub(crate) fn icon() -> String {
    format!("/assets/{}", ICON.name)
}

/// One of them.
pub(crate) async fn serve(axum::extract::Path(name): axum::extract::Path<String>) -> Answer {
    let all: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let Some(found) = all.into_iter().find(|asset| asset.name == name) else {
        return Err(Failure::Error(Error::new(ErrorKind::NotFound, "there is no such file")));
    };
    let headers = [
        (header::CONTENT_TYPE, found.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    let response: Response = (StatusCode::OK, headers, found.text).into_response();
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colour of a name, in the light scheme and in the dark one.
    fn colours(name: &str) -> [[f64; 3]; 2] {
        let (_, rest) = STYLE.text.split_once(&format!("--{name}: ")).unwrap();
        let value = rest.split(';').next().unwrap();
        let found: Vec<[f64; 3]> = value
            .split('#')
            .skip(1)
            .map(|hex| {
                let part = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                [part(0), part(2), part(4)].map(|n| f64::from(n) / 255.0)
            })
            .collect();
        [found[0], *found.last().unwrap()]
    }

    /// Contrast by WCAG 2.
    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let light = |colour: [f64; 3]| {
            let linear =
                |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
            let [r, g, b] = colour.map(linear);
            0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
        };
        let (a, b) = (light(one), light(other));
        a.max(b) / a.min(b)
    }

    #[test]
    fn all_text_can_be_read_in_both_schemes() {
        let white = [[1.0; 3]; 2];
        let pairs = [
            ("ink", "ground"),
            ("ink", "card"),
            ("quiet", "ground"),
            ("quiet", "card"),
            ("quiet", "still-ground"),
            ("link", "ground"),
            ("link", "card"),
            ("good", "good-ground"),
            ("good", "ground"),
            ("busy", "busy-ground"),
            ("bad", "bad-ground"),
            ("bad", "ground"),
            ("bad", "card"),
            ("ink", "good-ground"),
        ];
        let named = pairs.map(|(text, ground)| (text, colours(text), colours(ground)));
        let buttons = ["main", "danger"].map(|ground| (ground, white, colours(ground)));
        for (name, text, ground) in named.into_iter().chain(buttons) {
            for scheme in 0..2 {
                let found = contrast(text[scheme], ground[scheme]);
                assert!(found >= 4.5, "{name} in scheme {scheme}: {found:.2}");
            }
        }
    }
}

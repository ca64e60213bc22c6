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

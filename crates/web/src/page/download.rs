//! Downloads: the file that a link leads to, from any byte on. The link is the proof; no login is needed.

use std::{
    collections::HashSet,
    io::SeekFrom,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::Id;
use bygone_control::{Download, Transfer};
use futures::stream;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};

use crate::{
    failure::{Answer, Failure},
    site::{Site, id},
    visitor::Caller,
};

/// Bytes that are read at once.
const CHUNK: u64 = 256 << 10;
/// So many links and addresses are remembered, of which it was told that one was fetched from the other.
const TOLD: usize = 10_000;

pub(crate) fn routes() -> Router<Site> {
    Router::new().route("/download/{restore}/{secret}", get(send))
}

/// Links that were fetched, and from where, as far as an event of this process tells it.
#[derive(Debug, Default)]
pub(crate) struct Fetched(Mutex<HashSet<(Id, Option<String>)>>);

impl Fetched {
    fn told(&self) -> MutexGuard<'_, HashSet<(Id, Option<String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, restore: &Id, address: Option<&str>) -> bool {
        self.told().contains(&(restore.clone(), address.map(str::to_owned)))
    }

    fn add(&self, restore: &Id, address: Option<&str>) {
        let mut told = self.told();
        if told.len() >= TOLD {
            told.clear();
        }
        told.insert((restore.clone(), address.map(str::to_owned)));
    }
}

/// A part of a file: from, and the byte after the last.
type Part = (u64, u64);

/// The part that a request wants; `None`: all. (RFC 9110, section 14.2: one range of bytes; others are left aside.)
///
/// # Errors
/// The range lies behind the end.
fn wanted(headers: &HeaderMap, size: u64) -> Result<Option<Part>, ()> {
    let value = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = value.and_then(|v| v.strip_prefix("bytes=")?.split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let part = match (first, number(first), last, number(last)) {
        ("", _, _, Some(n)) => (size.saturating_sub(n), size),
        (_, Some(from), "", _) => (from, size),
        (_, Some(from), _, Some(to)) if from <= to => (from, to.saturating_add(1).min(size)),
        _ => return Ok(None),
    };
    if part.0 < part.1 { Ok(Some(part)) } else { Err(()) }
}

/// Tells that a file leaves the server: each time from its beginning on, and once of each address where it goes on
/// somewhere else, for what was cut is fetched by many requests.
async fn tell(site: &Site, restore: &Id, from: u64, address: Option<&str>) -> Result<()> {
    if from > 0 && site.fetched.knows(restore, address) {
        return Ok(());
    }
    site.control.fetched(restore, address).await?;
    site.fetched.add(restore, address);
    Ok(())
}

async fn send(
    State(site): State<Site>,
    Path((restore, secret)): Path<(String, String)>,
    method: Method,
    caller: Caller,
) -> Answer {
    let restore = id(&restore, "download")?;
    let found = site.control.download(&restore, &secret).await;
    if found.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        site.access.attempts().failed("a link", caller.address.as_deref())?;
    }
    let download = found?;
    let Ok(range) = wanted(&caller.headers, download.size) else {
        let all = format!("bytes */{}", download.size);
        return Ok(
            (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, all)]).into_response()
        );
    };
    let (from, to) = range.unwrap_or((0, download.size));
    if method == Method::HEAD {
        // Nothing is fetched by it.
        return Ok(headed(&download, range, Body::empty()));
    }
    let open = |e| Failure::from(Error::io("the file of the download", e));
    let mut file = File::open(&download.path).await.map_err(open)?;
    file.seek(SeekFrom::Start(from)).await.map_err(open)?;
    let transfer = site.control.transfer(&restore, to - from).await?;
    tell(&site, &restore, from, caller.address.as_deref()).await?;
    Ok(headed(&download, range, body(file, to - from, Some(transfer))))
}

/// The file, or a part of it, as an answer.
fn headed(download: &Download, range: Option<Part>, body: Body) -> Response {
    let (from, to) = range.unwrap_or((0, download.size));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, (to - from).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", plain(&download.name)),
        ),
    ];
    let mut response = (headers, body).into_response();
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let part = format!("bytes {from}-{}/{}", to.saturating_sub(1), download.size);
        if let Ok(part) = part.parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, part);
        }
    }
    response
}

/// A name without what means something in a header or a path.
fn plain(name: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.chars().map(|c| if good(c) { c } else { '_' }).collect()
}

/// The next bytes of a file. What was sent of it counts.
fn body(file: File, left: u64, transfer: Option<Transfer>) -> Body {
    Body::from_stream(stream::try_unfold(
        (file, left, transfer),
        |(mut file, left, mut transfer)| async move {
            if left == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            let mut chunk = vec![0; usize::try_from(left.min(CHUNK)).unwrap_or(CHUNK as usize)];
            let read = file.read(&mut chunk).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            chunk.truncate(read);
            let left = left - read as u64;
            if let Some(transfer) = &mut transfer {
                transfer.sent(read as u64);
            }
            // The client may not ask for what comes after the last byte.
            if left == 0
                && let Some(whole) = transfer.take()
                && let Err(error) = whole.end().await
            {
                tracing::warn!(%error, "a download was not counted yet");
            }
            Ok(Some((Bytes::from(chunk), (file, left, transfer))))
        },
    ))
}

#[cfg(test)]
mod tests {
    use bygone_base::UnixMillis;
    use bygone_catalog::record::{Delivery, Form, RestoreStatus};

    use super::*;
    use crate::{
        sample,
        tests::{Browser, Setup},
    };

    /// A file of ten bytes to be fetched; gives its project, its restore and its link.
    async fn file(setup: &Setup) -> (Id, Id, String) {
        let project = setup.project("One").await;
        let mut restore = sample::restore("x");
        (restore.project, restore.job) = (project.clone(), setup.job(&project, "prod").await);
        restore.status = RestoreStatus::Finished;
        restore.hashes = vec![("f.gz".to_owned(), String::new())];
        restore.delivery = Delivery::Http {
            form: Form::Archive,
            expires: UnixMillis(i64::MAX),
            max_downloads: Some(5),
            downloads: 0,
            sent: 0,
            secret: blake3::hash(b"word").to_hex().to_string(),
            size: Some(10),
        };
        setup.control.catalog().insert(&restore).await.unwrap();
        let folder = setup.files.join(restore.id.as_str());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("f.gz"), b"0123456789").unwrap();
        let link = format!("/download/{}/word", restore.id);
        (project, restore.id, link)
    }

    #[tokio::test]
    async fn whoever_fetches_any_part_of_a_file_is_told_and_who_asks_for_its_size_is_not() {
        let setup = Setup::new().await;
        let (project, restore, link) = file(&setup).await;
        let ask = async |method: Method, range: Option<&str>| {
            let mut browser = Browser::default();
            let mut request = browser.request(method, &link);
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            let reply = setup.send(&mut browser, request.body(Body::empty()).unwrap()).await;
            let mut events = setup.control.events(Some(&project), None).await.unwrap();
            events.retain(|event| event.kind == "RESTORE_FETCHED_AUDIT");
            (reply.status, reply.text, events.len())
        };
        let (status, text, told) = ask(Method::HEAD, None).await;
        assert_eq!((status, text.as_str(), told), (StatusCode::OK, "", 0));
        let kept = setup.control.restore_job(&project, &restore).await.unwrap().delivery;
        assert!(matches!(kept, Delivery::Http { sent: 0, downloads: 0, .. }), "{kept:?}");
        let (status, text, told) = ask(Method::GET, Some("bytes=1-")).await;
        assert_eq!((status, text.as_str(), told), (StatusCode::PARTIAL_CONTENT, "123456789", 1));
        // It goes on in many parts, and is told once; anew from the beginning is told again.
        let (_, text, told) = ask(Method::GET, Some("bytes=8-")).await;
        assert_eq!((text.as_str(), told), ("89", 1));
        let (status, text, told) = ask(Method::GET, None).await;
        assert_eq!((status, text.as_str(), told), (StatusCode::OK, "0123456789", 2));
    }

    #[test]
    fn ranges_are_as_http_has_them() {
        let ask = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            wanted(&headers, 100)
        };
        assert_eq!(ask("bytes=0-9"), Ok(Some((0, 10))));
        assert_eq!(ask("bytes=90-"), Ok(Some((90, 100))));
        assert_eq!(ask("bytes=90-500"), Ok(Some((90, 100))));
        assert_eq!(ask("bytes=-10"), Ok(Some((90, 100))));
        assert_eq!(ask("bytes=-500"), Ok(Some((0, 100))));
        for behind in ["bytes=100-", "bytes=-0", "bytes=200-300"] {
            assert_eq!(ask(behind), Err(()), "{behind}");
        }
        for none in ["bytes=9-0", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", "bytes=-"] {
            assert_eq!(ask(none), Ok(None), "{none}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 100), Ok(None));
    }

    #[tokio::test]
    async fn a_part_of_a_file_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let text: Vec<u8> = (0..600_000_u32).map(|n| n as u8).collect();
        std::fs::write(&path, &text).unwrap();
        let mut file = File::open(&path).await.unwrap();
        file.seek(SeekFrom::Start(1000)).await.unwrap();
        let sent = axum::body::to_bytes(body(file, 500_000, None), 1 << 20).await.unwrap();
        assert!(sent[..] == text[1000..501_000]);
        // A file that became shorter is no whole download.
        let file = File::open(&path).await.unwrap();
        assert!(axum::body::to_bytes(body(file, 600_001, None), 1 << 20).await.is_err());
        assert_eq!(plain("../a \"b\".tar.gz"), ".._a__b_.tar.gz");
    }
}

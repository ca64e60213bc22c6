//! `bsondump`: files of documents as text.
//!
//! ```text
//! reader ──pieces of whole documents──▶ converters, a few at once ──in order──▶ writer
//! ```

mod debug;

use std::{
    fs::File,
    io::{Read, Write},
    path::PathBuf,
};

use bygone_base::{Error, Result};
use bygone_document::{MAX_DOCUMENT, validate};
use futures::{StreamExt as _, stream};
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    extjson::{self, Style},
    frames::{Frames, Piece},
    report::Log,
};

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Canonical Extended JSON.
    Json(Style),
    /// Names, types and sizes.
    Debug,
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// What comes out.
    pub form: Form,
    /// Stop at the first document that is not BSON, instead of leaving it out with a complaint.
    pub objcheck: bool,
    /// The file to read; standard input without.
    pub input: Option<PathBuf>,
    /// The file to write; standard output without.
    pub output: Option<PathBuf>,
    /// Pieces converted at once.
    pub threads: usize,
}

/// The text of one piece.
struct Text {
    bytes: Vec<u8>,
    documents: u64,
    complaints: Vec<(u64, String)>,
    failed: Option<Error>,
}

/// Converts everything; gives how many documents were found. Complaints about documents and the closing
/// count go to `log`.
///
/// # Errors
/// The input cannot be read or is cut in a wrong way; the output cannot be written.
pub async fn run(options: Options, log: &Log) -> Result<u64> {
    let input = open(&options)?;
    let output = create(&options)?;
    let mut found = 0;
    let done = convert_all(input, output, &options, log, &mut found).await;
    log.always(format_args!("{found} objects found"));
    done.map(|()| found)
}

fn open(options: &Options) -> Result<Box<dyn Read + Send>> {
    let Some(path) = &options.input else { return Ok(Box::new(std::io::stdin())) };
    let what = format!("getting BSON reader failed: couldn't open BSON file: {}", path.display());
    Ok(Box::new(File::open(path).map_err(|e| Error::io(what, e))?))
}

fn create(options: &Options) -> Result<Box<dyn Write + Send>> {
    let Some(path) = &options.output else { return Ok(Box::new(std::io::stdout())) };
    let what = format!("getting Writer failed: couldn't create {}", path.display());
    Ok(Box::new(File::create(path).map_err(|e| Error::io(what, e))?))
}

async fn convert_all(
    input: Box<dyn Read + Send>,
    mut output: Box<dyn Write + Send>,
    options: &Options,
    log: &Log,
    found: &mut u64,
) -> Result<()> {
    let (pieces, queue) = mpsc::channel::<Result<Piece>>(2);
    let reader = spawn_blocking(move || read(input, &pieces));
    let (texts, mut written) = mpsc::channel::<Vec<u8>>(2);
    let writer = spawn_blocking(move || {
        while let Some(text) = written.blocking_recv() {
            output.write_all(&text).map_err(|e| Error::io("write the output", e))?;
        }
        output.flush().map_err(|e| Error::io("write the output", e))
    });
    let (form, objcheck) = (options.form, options.objcheck);
    let pieces = stream::unfold((queue, 0), |(mut queue, first)| async move {
        let piece = queue.recv().await?;
        let next = first + piece.as_ref().map_or(0, |p| p.documents);
        Some(((piece, first), (queue, next)))
    });
    let converted = pieces.map(|(piece, first)| async move {
        let piece = piece?;
        let text = spawn_blocking(move || convert(&piece, first, form, objcheck)).await;
        text.map_err(|e| Error::internal("a converter died").source(e))
    });
    let mut converted = std::pin::pin!(converted.buffered(options.threads.max(1)));
    let mut ended = Ok(());
    while let Some(text) = converted.next().await {
        let text = match text {
            Ok(text) => text,
            Err(failed) => {
                ended = Err(failed);
                break;
            }
        };
        for (number, complaint) in text.complaints {
            log.always(format_args!("unable to dump document {number}: {complaint}"));
        }
        *found += text.documents;
        if texts.send(text.bytes).await.is_err() {
            // The writer failed; it says why.
            break;
        }
        if let Some(failed) = text.failed {
            ended = Err(failed);
            break;
        }
    }
    drop(texts);
    let died = |e| Error::internal("a task of bsondump died").source(e);
    // What was converted before a failure is written before the failure is told.
    writer.await.map_err(died)??;
    ended?;
    reader.await.map_err(died)
}

/// Sends the pieces of the input until it ends or nobody wants more.
fn read(input: Box<dyn Read + Send>, pieces: &mpsc::Sender<Result<Piece>>) {
    for piece in Frames::new(input, MAX_DOCUMENT, false) {
        if pieces.blocking_send(piece).is_err() {
            return;
        }
    }
}

fn convert(piece: &Piece, first: u64, form: Form, objcheck: bool) -> Text {
    let mut text = Text {
        bytes: Vec::with_capacity(piece.bytes.len() * 2),
        documents: 0,
        complaints: Vec::new(),
        failed: None,
    };
    let mut rest = &piece.bytes[..];
    while let Some(length) = rest.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize) {
        let (document, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        text.documents += 1;
        if let Err(failed) = one(document, form, objcheck, &mut text.bytes) {
            let complaint = match form {
                Form::Json(_) => format!("error converting BSON to extended JSON: {failed}"),
                Form::Debug => format!("encountered error debugging BSON data: {failed}"),
            };
            text.complaints.push((first + text.documents, complaint.clone()));
            if objcheck {
                text.documents -= 1;
                text.failed = Some(Error::damaged(complaint));
                return text;
            }
        }
    }
    text
}

/// Also values that frames say nothing of.
fn check(document: &[u8]) -> bygone_document::Result<()> {
    validate(document)?;
    match extjson::write(document, Style::Compact, &mut Vec::new()) {
        Err(bygone_document::Error::TooDeep) => Ok(()),
        written => written,
    }
}

fn one(
    document: &[u8],
    form: Form,
    objcheck: bool,
    out: &mut Vec<u8>,
) -> bygone_document::Result<()> {
    match form {
        Form::Json(style) => {
            extjson::write(document, style, out)?;
            out.push(b'\n');
            Ok(())
        }
        Form::Debug => {
            if objcheck {
                check(document)?;
            }
            debug::write(document, out)
        }
    }
}

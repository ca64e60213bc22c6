//! The frames: OP_MSG, and the OP_QUERY that a driver may begin with.

use std::io;

use bson::{Document, RawDocument, RawDocumentBuf};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{Set, answers};

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;
const HEADER: usize = 16;
/// Longer requests are not sent by an agent.
const LONGEST: usize = 1 << 20;

/// A request.
struct Asked {
    id: i32,
    kind: i32,
    command: Document,
}

/// Answers one request after the other until the client goes away.
pub(super) async fn serve(set: &Set, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let asked = read(&mut stream).await?;
        let answer = answers::answer(set, &asked.command).await;
        stream.write_all(&frame(&asked, &answer)).await?;
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn number(bytes: &[u8], at: usize) -> i32 {
    let field = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
    i32::from_le_bytes(field)
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Asked> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let length = usize::try_from(number(&header, 0)).map_err(|_| bad("length"))?;
    if !(HEADER..LONGEST).contains(&length) {
        return Err(bad("length"));
    }
    let mut body = vec![0; length - HEADER];
    stream.read_exact(&mut body).await?;
    let (id, kind) = (number(&header, 4), number(&header, 12));
    let command = match kind {
        OP_MSG => document(body.get(5..).unwrap_or_default())?,
        OP_QUERY => {
            let name = body.get(4..).unwrap_or_default();
            let end = name.iter().position(|b| *b == 0).ok_or_else(|| bad("namespace"))?;
            document(name.get(end + 9..).unwrap_or_default())?
        }
        _ => return Err(bad("opcode")),
    };
    Ok(Asked { id, kind, command })
}

/// The first document of the bytes.
fn document(bytes: &[u8]) -> io::Result<Document> {
    let length = usize::try_from(number(bytes, 0)).map_err(|_| bad("document"))?;
    let bytes = bytes.get(..length).ok_or_else(|| bad("document"))?;
    let raw = RawDocument::from_bytes(bytes).map_err(|_| bad("document"))?;
    Document::try_from(raw).map_err(|_| bad("document"))
}

fn frame(asked: &Asked, answer: &RawDocumentBuf) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    if asked.kind == OP_QUERY {
        // Flags, cursor, starting from, one document.
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&1_i32.to_le_bytes());
    } else {
        // Flags, and a section that is the body.
        out.extend_from_slice(&[0; 5]);
    }
    out.extend_from_slice(answer.as_bytes());
    let kind = if asked.kind == OP_QUERY { OP_REPLY } else { OP_MSG };
    let length = i32::try_from(out.len()).expect("a short answer");
    for (at, value) in [(0, length), (4, asked.id), (8, asked.id), (12, kind)] {
        out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    out
}

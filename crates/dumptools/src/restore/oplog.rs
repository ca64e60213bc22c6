//! Replaying the oplog of a dump: from a file, or from the end of an archive.

use std::{io::Read as _, path::Path};

use bygone_base::{Error, Result};
use bygone_document::{MAX_DOCUMENT, split_stream};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    Run,
    catalogue::Catalogue,
    data::{Beside, Rest},
    entry::{self, Follower},
    files,
    gather::Gathered,
    reader::{self, Item},
    replay::Replay,
};
use crate::{
    frames::{Frames, Piece},
    sink::Compression,
};

/// Replays everything before the limit.
pub(super) async fn replay(
    run: &Run<'_>,
    found: &Gathered,
    beside: &mut Beside,
    catalogue: &mut Catalogue,
) -> Result<()> {
    run.log.always("replaying oplog");
    let mut player = Player {
        run,
        follower: Follower::new(run.options.preserve_uuid),
        replay: Replay::default(),
        applied: 0,
        ended: false,
    };
    match (beside.oplog.take(), &found.oplog) {
        (Some(rest), _) => of_archive(&mut player, rest, catalogue).await?,
        (None, Some(path)) => of_file(&mut player, path, catalogue).await?,
        (None, None) => {}
    }
    player.replay.finish(run).await?;
    catalogue.check()?;
    run.log.always(format_args!("applied {} oplog entries", player.applied));
    Ok(())
}

/// To the archive's end, beyond the limit too: its hash is the proof of what was replayed.
async fn of_archive(player: &mut Player<'_>, rest: Rest, catalogue: &mut Catalogue) -> Result<()> {
    let Rest { first, mut items, reader } = rest;
    player.play(&first, catalogue).await?;
    while let Some(item) = items.recv().await.transpose()? {
        match item {
            Item::Oplog(piece) => player.play(&piece, catalogue).await?,
            Item::Documents(..) => {
                return Err(Error::unsupported("the archive has documents behind its oplog"));
            }
            // Whose end comes only now had all its documents before: they are in.
            Item::End(_) | Item::Person(..) => {}
        }
    }
    match reader {
        Some(reader) => reader::ended(reader).await,
        None => Ok(()),
    }
}

async fn of_file(player: &mut Player<'_>, path: &Path, catalogue: &mut Catalogue) -> Result<()> {
    let options = player.run.options;
    // A file that was named need not be compressed as the dump is.
    let compression = match &options.oplog_file {
        Some(_) => compression_of(path, options.compression)?,
        None => options.compression,
    };
    let input = files::open(path, compression)?;
    let (send, mut pieces) = mpsc::channel::<Result<Piece>>(2);
    let reader = spawn_blocking(move || {
        for piece in Frames::new(input, MAX_DOCUMENT, true) {
            if send.blocking_send(piece).is_err() {
                return;
            }
        }
    });
    while let Some(piece) = pieces.recv().await.transpose()? {
        player.play(&piece, catalogue).await?;
        if player.ended {
            break;
        }
    }
    drop(pieces);
    reader::ended(reader).await
}

/// How a file is compressed, if it is: as the flags say, where it begins so.
fn compression_of(path: &Path, wanted: Compression) -> Result<Compression> {
    let mut start = Vec::new();
    let mut input = files::open(path, Compression::None)?.take(4);
    let read = input.read_to_end(&mut start);
    read.map_err(|e| Error::io(format!("error reading {}", path.display()), e))?;
    Ok(if wanted.begins(&start) { wanted } else { Compression::None })
}

struct Player<'r> {
    run: &'r Run<'r>,
    follower: Follower,
    replay: Replay,
    /// Entries that changed anything, or are part of a transaction that does.
    applied: u64,
    /// The limit was met.
    ended: bool,
}

impl Player<'_> {
    async fn play(&mut self, piece: &Piece, catalogue: &mut Catalogue) -> Result<()> {
        for entry in split_stream(&piece.bytes) {
            let entry = entry?.bytes();
            let limit = self.run.options.oplog_limit;
            let at = entry::timestamp(entry)?;
            self.ended |= limit.is_some_and(|limit| limit <= at);
            if self.ended {
                return Ok(());
            }
            let Some(operations) = self.follower.next(entry, catalogue)? else { continue };
            for operation in operations {
                self.replay.push(self.run, operation).await?;
            }
            self.applied += 1;
        }
        Ok(())
    }
}

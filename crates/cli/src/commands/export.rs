//! `bygone export`.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use bygone_base::{ByteSize, Error, Result, When};
use bygone_dumptools::{
    export,
    report::{Level, Log, plural},
    sink::{Compression, Place},
};
use bygone_groom::lease;
use bygone_head::{Scratch, View, ViewOptions};
use bygone_restore::{NameRules, ViewDocuments};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{access, args::ExportArgs, output::Output};

/// Writes a moment in the formats of mongodump.
pub async fn run(args: ExportArgs, output: &Output) -> Result<ExitCode> {
    let when: When = args.at.parse()?;
    let options = options(&args)?;
    let clock = access::clock();
    let stores = access::open(&args.store, clock.clone(), false).await?;
    let part = access::only_part(&stores, args.job.job.as_deref()).await?;
    let lease = lease::hold(&stores.blocks, clock.clone(), "an export").await?;
    let mut tasks = JoinSet::new();
    let shutdown = super::on_signal(&mut tasks);
    let scratch = args.data.as_deref().map(Scratch::within).transpose()?;
    let view_options =
        ViewOptions { scratch: scratch.as_ref().map(Scratch::url), ..ViewOptions::default() };
    let shown = args.list.then_some(Level::Always);
    let log = Log::new(shown, |line| {
        let _ = writeln!(std::io::stderr(), "{line}");
    });
    let exported = async {
        let view = View::open(&part.snapshots, &part.oplog, &when, view_options, clock).await?;
        let at = view.at;
        let documents = Arc::new(ViewDocuments::new(view)?);
        let (count, bytes) = export::export(documents, &options, &log).await?;
        Ok::<_, Error>((at, count, bytes))
    };
    let exported = tokio::select! {
        done = exported => done,
        () = shutdown.cancelled() => Err(super::cancelled().hint("what was written is a part only")),
    };
    if let Some(lease) = lease {
        lease.release().await;
    }
    drop(scratch);
    let (at, count, bytes) = exported?;
    // Standard output may be the archive.
    output.event(
        "exported",
        format!("exported {}, {} as of {at}", plural(count, "document"), ByteSize(bytes)),
        json!({"documents": count, "bytes": bytes, "at": at.to_string()}),
    );
    Ok(ExitCode::SUCCESS)
}

fn options(args: &ExportArgs) -> Result<export::Options> {
    let none: [(String, String); 0] = [];
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    Ok(export::Options {
        rules: NameRules::new(&args.ns_include, &args.ns_exclude, &none)?,
        place: match (&args.out, args.archive.as_deref()) {
            (Some(out), _) if out.as_os_str() == "-" => {
                return Err(Error::usage("an export has files for several collections")
                    .hint("use --archive - for standard output"));
            }
            (Some(out), _) => Place::Directory(out.clone()),
            (None, Some("-")) => Place::ArchiveOut,
            (None, Some(file)) => Place::Archive(file.into()),
            (None, None) => {
                return Err(Error::usage("where to export to is not given")
                    .hint("use --out DIR, --archive FILE, or --archive - for standard output"));
            }
        },
        compression: match (args.gzip, args.zstd) {
            (true, _) => Compression::Gzip,
            (_, true) => Compression::Zstd,
            _ => Compression::None,
        },
        parallel: 2,
        threads,
    })
}

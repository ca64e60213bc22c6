//! Records for tests.

use bygone_base::{SeededRng, SnapshotId, Ts, UnixMillis};
use bygone_catalog::{
    Id,
    record::{
        Actor, Alert, AlertKind, AlertStatus, Delivery, Form, Job, JobState, JobStores, Names,
        Progress, Project, Requests, RestoreJob, RestoreStatus, ScheduleSpec, Source,
    },
};
use bygone_control::{
    health::Standing,
    views::{JobView, SnapshotView},
};

/// What must never come out as it is.
pub(crate) const EVIL: &str = "\"><script>alert('x')</script>&";

pub(crate) fn id(n: u64) -> Id {
    format!("{n:024x}").parse().unwrap()
}

pub(crate) fn project(name: &str) -> Project {
    Project { id: id(1), name: name.to_owned(), created: UnixMillis(0) }
}

pub(crate) fn snapshot(secs: u32) -> SnapshotView {
    SnapshotView {
        id: SnapshotId::new(secs, &SeededRng::new(u64::from(secs))),
        at: Ts::new(secs, 1),
        created: UnixMillis(i64::from(secs) * 1000),
        expires: Some(UnixMillis(i64::from(secs) * 1000 + 172_800_000)),
        kept_for_ever: false,
        collections: 3,
        documents: 1_000,
        bytes: 5 << 20,
        new_bytes: 1 << 20,
        unique_bytes: Some(1 << 18),
        pending_ops: 0,
        set: "rs0".into(),
        version: "8.2.0".into(),
        fcv: "8.2".into(),
    }
}

pub(crate) fn job(cluster: &str) -> Job {
    Job {
        id: id(2),
        project: id(1),
        name: "prod".into(),
        cluster: cluster.to_owned(),
        set: Some("rs0".into()),
        state: JobState::Active,
        since: UnixMillis(0),
        created: UnixMillis(0),
        source: Source {
            uri: serde_json::from_str("\"\"").unwrap(),
            shown: format!("mongodb://{cluster}"),
            include: Vec::new(),
            exclude: vec![cluster.to_owned()],
            member: None,
            member_tag: None,
            throttle: None,
            workers: 2,
        },
        stores: JobStores { snapshot: "main".into(), oplog: "main".into(), sync: "main".into() },
        schedule: ScheduleSpec::default(),
        keep: None,
        requests: Requests::default(),
        announced: None,
        drill: None,
        message: None,
    }
}

pub(crate) fn job_view(cluster: &str) -> JobView {
    JobView {
        job: job(cluster),
        status_name: "STARTED",
        standing: Standing::Starting,
        problem: None,
        live: None,
        newest: None,
        next_snapshot: None,
    }
}

pub(crate) fn alert(message: &str) -> Alert {
    Alert {
        id: id(3),
        project: Some(id(1)),
        job: Some(id(2)),
        target: String::new(),
        kind: AlertKind::LateSnapshot,
        status: AlertStatus::Open,
        created: UnixMillis(0),
        updated: UnixMillis(0),
        resolved: None,
        notified: None,
        told: Vec::new(),
        acknowledged: None,
        message: message.to_owned(),
    }
}

pub(crate) fn restore(text: &str) -> RestoreJob {
    RestoreJob {
        id: id(4),
        project: id(1),
        job: id(2),
        by: Actor::User(text.to_owned()),
        created: UnixMillis(0),
        when: text.to_owned(),
        moment: "1795170600:1".into(),
        snapshot: Some("20261120T103000Z-00000000".into()),
        point_in_time: true,
        names: Names {
            include: vec![text.to_owned()],
            exclude: Vec::new(),
            renames: vec![("a.*".into(), text.to_owned())],
        },
        delivery: Delivery::Http {
            form: Form::Archive,
            expires: UnixMillis(i64::MAX),
            max_downloads: Some(1),
            downloads: 0,
            sent: 0,
            secret: "never shown".into(),
            size: Some(1 << 20),
        },
        verify: true,
        drill: false,
        status: RestoreStatus::InProgress,
        progress: Progress { phase: text.to_owned(), documents: 5, bytes: 50, bytes_total: 100 },
        finished: None,
        message: text.to_owned(),
        proof: None,
        hashes: vec![(text.to_owned(), text.to_owned())],
        cancel: false,
        begun: None,
        made: Vec::new(),
    }
}

/// Fails where the text of a name came out as it was.
pub(crate) fn harmless(page: &str) {
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(!page.contains("alert('x')</"), "{page}");
}

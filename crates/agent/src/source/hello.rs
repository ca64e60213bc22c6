//! What a member says about itself in `hello`, which needs no privilege.

use std::collections::BTreeMap;

use bson::{Bson, Document};
use bygone_base::{OpTime, Ts};

/// What kind of server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A member of a replica set.
    ReplicaSet,
    /// A member of a config server replica set.
    ConfigServer,
    /// A mongod without a replica set.
    Standalone,
    /// A router of a sharded cluster.
    Mongos,
}

/// What a member can be used for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Takes writes.
    Primary,
    /// Readable.
    Secondary,
    /// Holds no data.
    Arbiter,
    /// In initial sync, recovering, rolling back or removed.
    Unreadable,
}

/// One member, seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// `host:port` as the set names it (as we connected to it, where it does not say).
    pub host: String,
    /// Kind of server.
    pub kind: NodeKind,
    /// Name of the set, when it has one.
    pub set: Option<String>,
    /// State.
    pub state: MemberState,
    /// Not seen by clients.
    pub hidden: bool,
    /// Delayed on purpose by so many seconds.
    pub delay_secs: i64,
    /// Tags of the set's configuration.
    pub tags: BTreeMap<String, String>,
    /// Newest entry applied.
    pub applied: OpTime,
    /// Majority commit point as this member knows it.
    pub majority: OpTime,
    /// The primary as this member knows it.
    pub primary: Option<String>,
    /// Every other member that it names.
    pub hosts: Vec<String>,
    /// Highest wire version.
    pub wire: i32,
}

impl MemberInfo {
    /// From the reply to `hello` of the server at `asked`.
    pub fn from_hello(asked: &str, hello: &Document) -> MemberInfo {
        let text = |name: &str| hello.get_str(name).ok().map(str::to_owned);
        let flag = |name: &str| hello.get_bool(name).unwrap_or(false);
        let set = text("setName");
        let kind = if text("msg").as_deref() == Some("isdbgrid") {
            NodeKind::Mongos
        } else if hello.contains_key("configsvr") {
            NodeKind::ConfigServer
        } else if set.is_none() && !flag("isreplicaset") {
            NodeKind::Standalone
        } else {
            NodeKind::ReplicaSet
        };
        let state = if flag("arbiterOnly") {
            MemberState::Arbiter
        } else if set.is_none() {
            MemberState::Unreadable
        } else if flag("isWritablePrimary") || flag("ismaster") {
            MemberState::Primary
        } else if flag("secondary") {
            MemberState::Secondary
        } else {
            MemberState::Unreadable
        };
        let (applied, majority) = positions(hello);
        MemberInfo {
            host: text("me").unwrap_or_else(|| asked.to_owned()),
            kind,
            set,
            state,
            hidden: flag("hidden"),
            delay_secs: delay(hello),
            tags: tags(hello),
            applied,
            majority,
            primary: text("primary"),
            hosts: hosts(hello),
            wire: hello.get_i32("maxWireVersion").unwrap_or(0),
        }
    }
}

/// 5.0 and later say `secondaryDelaySecs`, 4.4 `slaveDelay`.
fn delay(hello: &Document) -> i64 {
    let value = hello.get("secondaryDelaySecs").or_else(|| hello.get("slaveDelay"));
    match value {
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Double(n)) => *n as i64,
        _ => 0,
    }
}

fn tags(hello: &Document) -> BTreeMap<String, String> {
    let Ok(tags) = hello.get_document("tags") else { return BTreeMap::new() };
    let pairs = tags.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
    pairs.collect()
}

fn hosts(hello: &Document) -> Vec<String> {
    let mut hosts = Vec::new();
    for field in ["hosts", "passives", "arbiters"] {
        let Ok(list) = hello.get_array(field) else { continue };
        hosts.extend(list.iter().filter_map(|host| host.as_str().map(str::to_owned)));
    }
    hosts
}

fn positions(hello: &Document) -> (OpTime, OpTime) {
    let Ok(last) = hello.get_document("lastWrite") else { return Default::default() };
    let read = |name: &str| last.get_document(name).ok().and_then(op_time).unwrap_or_default();
    (read("opTime"), read("majorityOpTime"))
}

/// `{ts, t}` as a position.
pub(crate) fn op_time(doc: &Document) -> Option<OpTime> {
    let ts = doc.get_timestamp("ts").ok()?;
    let term = doc.get_i64("t").unwrap_or(-1);
    Some(OpTime::new(Ts::new(ts.time, ts.increment), term))
}

#[cfg(test)]
mod tests {
    use bson::{Timestamp, doc};

    use super::*;

    #[test]
    fn a_hidden_secondary_describes_itself() {
        let at = |n| doc! { "ts": Timestamp { time: 9, increment: n }, "t": 3_i64 };
        let hello = doc! {
            "isWritablePrimary": false, "secondary": true, "hidden": true, "setName": "rs0",
            "hosts": ["a:1"], "arbiters": ["c:3"], "me": "b:2", "primary": "a:1",
            "lastWrite": { "opTime": at(5), "majorityOpTime": at(4) },
            "tags": { "dc": "east" }, "secondaryDelaySecs": 60_i64, "maxWireVersion": 27,
        };
        let info = MemberInfo::from_hello("x:9", &hello);
        assert_eq!(info.host, "b:2");
        assert_eq!((info.state, info.kind), (MemberState::Secondary, NodeKind::ReplicaSet));
        assert!(info.hidden && info.delay_secs == 60 && info.tags["dc"] == "east");
        assert_eq!(info.majority, OpTime::new(Ts::new(9, 4), 3));
        assert_eq!(info.hosts, ["a:1", "c:3"]);
    }

    #[test]
    fn other_servers_are_known_by_their_hello() {
        let kind = |hello: Document| MemberInfo::from_hello("x", &hello).kind;
        assert_eq!(kind(doc! { "msg": "isdbgrid" }), NodeKind::Mongos);
        assert_eq!(kind(doc! { "ismaster": true }), NodeKind::Standalone);
        assert_eq!(kind(doc! { "setName": "c", "configsvr": 2 }), NodeKind::ConfigServer);
        let starting = doc! { "isreplicaset": true };
        assert_eq!(kind(starting), NodeKind::ReplicaSet);
    }
}

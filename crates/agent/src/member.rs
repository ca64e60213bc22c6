//! Which member to read: a pure choice over what the members say.

use std::{collections::BTreeSet, time::Duration};

use bygone_base::{Error, ErrorKind, Result, Ts};

use crate::source::{MemberInfo, MemberState, NodeKind};

/// A member that the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `host:port` as the set names it.
    Host(String),
    /// A tag of the set's configuration.
    Tag(String, String),
}

impl Wanted {
    /// Reads `NAME=VALUE`.
    ///
    /// # Errors
    /// Usage: it is none.
    pub fn tag(text: &str) -> Result<Wanted> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("member tag {text:?} is not NAME=VALUE")))?;
        Ok(Wanted::Tag(name.to_owned(), value.to_owned()))
    }
}

/// Rules of the choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRule {
    /// Only this one, hidden or not.
    pub wanted: Option<Wanted>,
    /// A member that is further behind is not read.
    pub max_lag: Duration,
}

impl Default for MemberRule {
    fn default() -> Self {
        MemberRule { wanted: None, max_lag: Duration::from_secs(60) }
    }
}

/// The newest majority point that any member knows.
pub fn newest_majority(members: &[MemberInfo]) -> Ts {
    members.iter().map(|m| m.majority.ts).max().unwrap_or_default()
}

/// Refuses what is not a plain replica set.
pub fn refuse(member: &MemberInfo) -> Result<()> {
    let host = &member.host;
    match member.kind {
        NodeKind::ReplicaSet => Ok(()),
        NodeKind::Mongos => Err(Error::unsupported(format!("{host} is a mongos"))
            .hint("sharded clusters are not backed up yet: name a replica set")),
        NodeKind::ConfigServer => Err(Error::unsupported(format!("{host} is a config server"))
            .hint("sharded clusters are not backed up yet: name a replica set")),
        NodeKind::Standalone => Err(Error::unsupported(format!(
            "{host} is a standalone mongod: it has no oplog to follow"
        ))
        .hint("make it a replica set of one member (replication.replSetName, rs.initiate())")),
    }
}

/// Why a member cannot be read now; `None` when it can.
pub fn unusable(member: &MemberInfo, newest: Ts, rule: &MemberRule) -> Option<String> {
    let behind = newest.secs().saturating_sub(member.majority.ts.secs());
    let named = match &rule.wanted {
        None => false,
        Some(Wanted::Host(host)) if *host == member.host => true,
        Some(Wanted::Tag(name, value)) if member.tags.get(name) == Some(value) => true,
        Some(_) => return Some("is not the member asked for".into()),
    };
    match member.state {
        MemberState::Arbiter => Some("is an arbiter".into()),
        MemberState::Unreadable => Some("is starting, recovering or rolling back".into()),
        _ if member.delay_secs > 0 => Some(format!("is delayed by {} s", member.delay_secs)),
        _ if member.hidden && !named => Some("is hidden (name it to use it)".into()),
        _ if member.majority.ts == Ts::MIN => Some("knows no majority point yet".into()),
        _ if u64::from(behind) > rule.max_lag.as_secs() => Some(format!("is {behind} s behind")),
        _ => None,
    }
}

/// The member to read. Members in `failed` come last, the primary after the
/// secondaries, then by name, so that the choice is the same every time.
pub fn choose<'a>(
    members: &'a [MemberInfo],
    rule: &MemberRule,
    failed: &BTreeSet<String>,
) -> Result<&'a MemberInfo> {
    for member in members {
        refuse(member)?;
    }
    let newest = newest_majority(members);
    let usable = members.iter().filter(|m| unusable(m, newest, rule).is_none());
    let rank = |m: &&MemberInfo| {
        (failed.contains(&m.host), m.state == MemberState::Primary, m.host.clone())
    };
    usable.min_by_key(rank).ok_or_else(|| none_usable(members, newest, rule))
}

fn none_usable(members: &[MemberInfo], newest: Ts, rule: &MemberRule) -> Error {
    let reasons: Vec<String> = members
        .iter()
        .filter_map(|m| Some(format!("{} {}", m.host, unusable(m, newest, rule)?)))
        .collect();
    let known = members.iter().any(|m| match &rule.wanted {
        None => true,
        Some(Wanted::Host(host)) => *host == m.host,
        Some(Wanted::Tag(name, value)) => m.tags.get(name) == Some(value),
    });
    let message = format!("no member can be read now: {}", reasons.join(", "));
    let error = Error::new(ErrorKind::Unavailable, message);
    if known { error } else { error.hint("check the member's name as rs.status() shows it") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bygone_base::OpTime;
    use proptest::prelude::*;

    use super::*;

    fn member(host: &str, state: MemberState, secs: u32) -> MemberInfo {
        let at = OpTime::new(Ts::new(secs, 1), 1);
        MemberInfo {
            host: host.into(),
            kind: NodeKind::ReplicaSet,
            set: Some("rs0".into()),
            state,
            hidden: false,
            delay_secs: 0,
            tags: BTreeMap::new(),
            applied: at,
            majority: at,
            primary: None,
            hosts: Vec::new(),
            wire: 21,
        }
    }

    fn pick(members: &[MemberInfo], rule: &MemberRule) -> Result<String> {
        choose(members, rule, &BTreeSet::new()).map(|m| m.host.clone())
    }

    #[test]
    fn a_secondary_comes_before_the_primary() {
        let set = [member("a", MemberState::Primary, 100), member("b", MemberState::Secondary, 99)];
        assert_eq!(pick(&set, &MemberRule::default()).unwrap(), "b");
        assert_eq!(pick(&set[..1], &MemberRule::default()).unwrap(), "a");
        let failed = BTreeSet::from(["b".to_owned()]);
        assert_eq!(choose(&set, &MemberRule::default(), &failed).unwrap().host, "a");
    }

    #[test]
    fn lagging_delayed_hidden_and_unreadable_members_are_left_alone() {
        let mut delayed = member("d", MemberState::Secondary, 100);
        delayed.delay_secs = 5;
        let mut hidden = member("h", MemberState::Secondary, 100);
        hidden.hidden = true;
        hidden.tags.insert("use".into(), "backup".into());
        let set = [
            member("l", MemberState::Secondary, 10),
            delayed,
            hidden,
            member("r", MemberState::Unreadable, 100),
            member("x", MemberState::Arbiter, 0),
        ];
        let error = pick(&set, &MemberRule::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        for text in ["l is 90 s behind", "d is delayed by 5 s", "h is hidden", "x is an arbiter"] {
            assert!(error.message().contains(text), "{error}");
        }
        let host = MemberRule { wanted: Some(Wanted::Host("h".into())), ..Default::default() };
        assert_eq!(pick(&set, &host).unwrap(), "h");
        let tag = Some(Wanted::Tag("use".into(), "backup".into()));
        assert_eq!(pick(&set, &MemberRule { wanted: tag, ..Default::default() }).unwrap(), "h");
        let wrong = MemberRule { wanted: Some(Wanted::Host("zz".into())), ..Default::default() };
        assert!(pick(&set, &wrong).unwrap_err().hint_text().is_some());
    }

    #[test]
    fn a_mongos_a_standalone_and_a_config_server_are_refused_with_the_reason() {
        for (kind, text) in [
            (NodeKind::Mongos, "mongos"),
            (NodeKind::Standalone, "standalone"),
            (NodeKind::ConfigServer, "config server"),
        ] {
            let mut m = member("a", MemberState::Primary, 1);
            m.kind = kind;
            let error = pick(&[m], &MemberRule::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains(text), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn what_is_chosen_is_usable(states in prop::collection::vec((0..4u8, 0..200u32, any::<bool>(), 0..2i64), 1..6)) {
            let set: Vec<MemberInfo> = states.iter().enumerate().map(|(i, (state, secs, hidden, delay))| {
                let state = [MemberState::Primary, MemberState::Secondary, MemberState::Arbiter, MemberState::Unreadable][usize::from(*state)];
                let mut m = member(&format!("h{i}"), state, *secs + 1);
                (m.hidden, m.delay_secs) = (*hidden, *delay);
                m
            }).collect();
            let rule = MemberRule::default();
            let newest = newest_majority(&set);
            match choose(&set, &rule, &BTreeSet::new()) {
                Ok(m) => {
                    prop_assert!(unusable(m, newest, &rule).is_none());
                    let secondary = set.iter().any(|m| m.state == MemberState::Secondary && unusable(m, newest, &rule).is_none());
                    prop_assert!(!secondary || m.state == MemberState::Secondary);
                }
                Err(_) => prop_assert!(set.iter().all(|m| unusable(m, newest, &rule).is_some())),
            }
        }
    }
}

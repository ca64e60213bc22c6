//! The bar of an initial sync: its phases, and how far it is.

use bygone_control::views::Live;
use bygone_daemon::JobPhase;
use maud::{Markup, html};

use crate::format::{bytes, grouped};

/// The phases of an initial sync, in their order. (Ops Manager's words.)
const PHASES: [&str; 7] = [
    "starting",
    "transferring",
    "building",
    "applying oplogs",
    "fetching missing documents",
    "creating indexes",
    "complete",
];

/// Whether an initial sync is going on: then its phases are shown.
pub(crate) fn syncing(live: &Live) -> bool {
    !matches!(live.backup.phase, JobPhase::Complete | JobPhase::Stopped)
}

/// The phases with the current one marked, the bar, and what was done.
pub(crate) fn phases(live: &Live) -> Markup {
    let here = PHASES.iter().position(|phase| *phase == live.phase).unwrap_or(0);
    html! {
        div.sync {
            ol.phases {
                @for (at, phase) in PHASES.iter().enumerate() {
                    li class=(if at < here { "done" } else if at == here { "here" } else { "" })
                        aria-current=[(at == here).then_some("step")] { (phase) }
                }
            }
            (progress(live))
            @if let Some(agent) = &live.agent {
                p.quiet {
                    (grouped(agent.collections.0)) " of " (grouped(agent.collections.1)) " collections, "
                    (grouped(agent.documents)) " documents, " (bytes(agent.bytes.0))
                    @if agent.bytes.1 > 0 { " of about " (bytes(agent.bytes.1)) }
                }
            }
        }
    }
}

/// The bar alone.
pub(crate) fn progress(live: &Live) -> Markup {
    html! {
        progress max="100" value=(live.percent) aria-label={ "initial sync: " (live.phase) } { (live.percent) " %" }
    }
}

#[cfg(test)]
mod tests {
    use bygone_control::views::AgentLive;

    use super::*;

    #[test]
    fn the_phase_is_marked() {
        let agent = AgentLive {
            bytes: (2048, 4096),
            documents: 1234,
            collections: (1, 2),
            ..AgentLive::default()
        };
        let live =
            Live { agent: Some(agent), phase: "transferring", percent: 37, ..Live::default() };
        let text = phases(&live).into_string();
        assert!(syncing(&live));
        assert!(text.contains("<li class=\"done\">starting</li>"), "{text}");
        assert!(
            text.contains("<li class=\"here\" aria-current=\"step\">transferring</li>"),
            "{text}"
        );
        assert!(text.contains("value=\"37\""), "{text}");
        assert!(text.contains("1,234 documents"), "{text}");
    }
}

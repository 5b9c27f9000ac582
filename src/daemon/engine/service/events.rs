//! SHELL. `io.netsonde.Inventory.Events`: past and new events.

use serde_json::json;

use crate::daemon::engine::Shared;
use crate::daemon::engine::state::EngineState;
use crate::linux::wall_ns;
use crate::varlink::server::{Failure, Replies};
use netsonde_core::events::{Category, Event, Kind, Severity};
use netsonde_core::protocol::inventory as reply;
use netsonde_core::protocol::service::Limit;
use netsonde_core::protocol::time;

/// The events requested.
struct Query {
    since_ns: u64,
    until_ns: u64,
    interface: Option<String>,
    kinds: Vec<Kind>,
    severity: Severity,
    limit: usize,
}

impl Query {
    fn new(call: reply::EventsCall, now_ns: u64) -> Result<Query, Failure> {
        let invalid = |what: String| Failure::invalid_parameter(&what);
        let mut kinds = Vec::new();
        for name in call.kinds.unwrap_or_default() {
            let named = Kind::named(&name);
            if named.is_empty() {
                let categories = Category::ALL.map(Category::name).join(", ");
                return Err(invalid(format!(
                    "kinds: unknown kind {name:?}: see netsonde-events(7), or name a category: \
                        {categories}"
                )));
            }
            kinds.extend(named);
        }
        if kinds.is_empty() {
            kinds.extend(Kind::ALL);
        }
        let severity = call.severity.as_deref().unwrap_or("info");
        Ok(Query {
            since_ns: call
                .last_ns
                .map_or(0, |last_ns| now_ns.saturating_sub(last_ns))
                .max(call.since_ns.unwrap_or(0)),
            until_ns: call.until_ns.unwrap_or(u64::MAX),
            interface: call.interface,
            kinds,
            severity: Severity::from_name(severity).ok_or_else(|| {
                invalid(format!(
                    "severity: unknown severity {severity:?}: expected info, notice or warning"
                ))
            })?,
            limit: call.limit.map_or(usize::MAX, |limit| limit as usize),
        })
    }

    fn matches(&self, event: &Event) -> bool {
        (self.since_ns..=self.until_ns).contains(&event.time_ns)
            && self
                .interface
                .as_ref()
                .is_none_or(|name| *name == event.interface)
            && self.kinds.contains(&event.kind)
            && event.severity >= self.severity
    }

    /// Returns the events after this number. The newest one has the number of events ever stored.
    fn after(&self, engine: &EngineState, number: u64) -> reply::Events {
        let mut events: Vec<reply::Event> = engine
            .events()
            .iter()
            .filter(|event| event.number > number && self.matches(event))
            .map(event_reply)
            .collect();
        events.drain(..events.len().saturating_sub(self.limit));
        let (kept, evicted) = engine.recording.recorder.event_totals();
        reply::Events {
            time: time(wall_ns()),
            events,
            kept,
            evicted,
        }
    }
}

/// Returns whether this host has an interface, or an event is of one that it had.
fn is_known(engine: &EngineState, name: &str) -> bool {
    engine.links.index_of(name).is_some()
        || engine.events().iter().any(|event| event.interface == name)
}

fn event_reply(event: &Event) -> reply::Event {
    let interface = Some(event.interface.clone()).filter(|name| !name.is_empty());
    reply::Event {
        number: event.number,
        time: time(event.time_ns),
        kind: event.kind.name().into(),
        severity: event.severity.name().into(),
        packets: event.packets.as_ref().map(|packets| reply::EventPackets {
            from: time(packets.from_ns),
            to: time(packets.to_ns),
            interface: interface.clone(),
            filter: packets.filter.clone(),
        }),
        interface,
        subject: event.subject.clone(),
        text: event.text.clone(),
    }
}

/// Sends the replies.
pub async fn events(
    engine: &Shared,
    clients: &[Limit],
    call: reply::EventsCall,
    replies: &mut Replies<'_>,
) -> Result<(), Failure> {
    let follow = call.follow == Some(true) && replies.wants_more();
    let mut query = Query::new(call, wall_ns())?;
    // Includes what has just happened.
    engine.borrow_mut().poll_changes(clients);
    if let Some(name) = &query.interface
        && !is_known(&engine.borrow(), name)
    {
        return Err(Failure::error(
            "io.netsonde.Inventory.NoSuchInterface",
            json!({ "interface": name }),
        ));
    }
    let events_ready = engine.borrow().monitor.events_ready.clone();
    let past = query.after(&engine.borrow(), 0);
    if !follow {
        return replies.last(&past).await;
    }
    replies.next(&past).await?;
    let mut number = past.kept;
    query.limit = usize::MAX;
    loop {
        // Created before reading, so that no event is missed in between.
        let notified = events_ready.notified();
        let new = query.after(&engine.borrow(), number);
        number = new.kept;
        if new.events.is_empty() {
            notified.await;
        } else {
            replies.next(&new).await?;
        }
    }
}

//! SHELL. `mcast queriers`: IGMP and MLD queriers, and PIM routers.

use crate::client::render::style::{Style, age, duration, right, table};
use netsonde_core::protocol::multicast::{Queriers, Router};

pub(crate) fn queriers_text(report: &Queriers, style: Style, verbose: bool) -> String {
    let rows: Vec<Vec<String>> = report
        .queriers
        .iter()
        .map(|querier| {
            let mut row = vec![
                querier.interface.clone(),
                format!(
                    "{}{}",
                    querier.address,
                    if querier.own { " (this host)" } else { "" }
                ),
                format!("{}v{}", querier.protocol, querier.version),
                querier.standing.clone(),
                format!(
                    "{} {}",
                    duration(querier.interval_ns),
                    querier.interval_from
                ),
                age(&report.time, &querier.last),
                duration(querier.membership_ns),
                querier.queries.to_string(),
            ];
            if verbose {
                row.push(querier.robustness.to_string());
                row.push(duration(querier.max_response_ns));
                row.push(querier.group_queries.to_string());
            }
            row
        })
        .collect();
    let mut head = vec![
        "IF",
        "QUERIER",
        "VERSION",
        "STANDING",
        "INTERVAL",
        "LAST QUERY",
        "MEMBERSHIP",
        "QUERIES",
    ];
    if verbose {
        head.extend(["ROBUSTNESS", "RESPONSE", "GROUP QUERIES"]);
    }
    let mut text = if rows.is_empty() {
        "no querier seen".to_owned()
    } else {
        table(style, &head, &rows)
    };
    let routers = report.routers.as_deref().unwrap_or_default();
    if !routers.is_empty() {
        text.push_str("\n\n");
        text.push_str(&routers_text(routers, &report.time, style));
    }
    for unasked in &report.unasked {
        text.push('\n');
        text.push_str(&style.warn(&format!(
            "{}: no {} querier seen for {}; snooping switches will stop forwarding groups \
                (joined here: {})",
            unasked.interface,
            unasked.protocol,
            age(&report.time, &unasked.since),
            unasked.groups
        )));
    }
    text
}

pub(crate) fn routers_text(routers: &[Router], now: &str, style: Style) -> String {
    let mut rows: Vec<Vec<String>> = routers
        .iter()
        .map(|router| {
            vec![
                router.interface.clone(),
                format!(
                    "{}{}",
                    router.address,
                    if router.own { " (this host)" } else { "" }
                ),
                router.protocol.clone(),
                if router.designated { "designated" } else { "-" }.into(),
                router
                    .priority
                    .map_or("-".into(), |priority| priority.to_string()),
                age(now, &router.last),
                router.restarts.to_string(),
            ]
        })
        .collect();
    let head = [
        "IF",
        "ROUTER",
        "PROTOCOL",
        "STANDING",
        "PRIORITY",
        "LAST HEARD",
        "RESTARTS",
    ];
    right(&head, &mut rows, 4);
    table(style, &head, &rows)
}

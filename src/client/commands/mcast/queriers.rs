//! SHELL. `mcast queriers`: IGMP and MLD queriers, and PIM routers.

use crate::client::render::style::{Style, age, duration};
use crate::client::render::table::{Column, table};
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
    let mut columns = vec![
        Column::text("IF"),
        Column::text("QUERIER").shrinks(15),
        Column::text("VERSION"),
        Column::text("STANDING").shrinks(8),
        Column::text("INTERVAL").shrinks(8),
        Column::number("LAST QUERY"),
        Column::number("MEMBERSHIP").may_hide(1),
        Column::number("QUERIES").may_hide(2),
    ];
    if verbose {
        columns.extend([
            Column::number("ROBUSTNESS").may_hide(3),
            Column::number("RESPONSE").may_hide(4),
            Column::number("GROUP QUERIES").may_hide(5),
        ]);
    }
    let mut text = if rows.is_empty() {
        "no querier seen".to_owned()
    } else {
        table(style, &columns, &rows)
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
    let rows: Vec<Vec<String>> = routers
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
    let columns = [
        Column::text("IF"),
        Column::text("ROUTER").shrinks(15),
        Column::text("PROTOCOL"),
        Column::text("STANDING"),
        Column::number("PRIORITY"),
        Column::number("LAST HEARD"),
        Column::number("RESTARTS").may_hide(1),
    ];
    table(style, &columns, &rows)
}

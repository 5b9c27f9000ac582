//! SHELL. `mcast streams`: streams with rate and loss.

use crate::client::render::style::{Style, age, duration};
use crate::client::render::table::{Column, table};
use netsonde_core::protocol::multicast::{MpegTs, Rtp, Streams};
use std::net::IpAddr;

pub(crate) fn streams_text(report: &Streams, style: Style, verbose: bool) -> String {
    if report.streams.is_empty() {
        return "no streams".into();
    }
    let rows: Vec<Vec<String>> = report
        .streams
        .iter()
        .map(|stream| {
            let of_rtp = |value: fn(&Rtp) -> String| stream.rtp.as_ref().map_or("-".into(), value);
            let ts = stream.ts.as_ref();
            let of_either = |rtp: fn(&Rtp) -> u64, of_ts: fn(&MpegTs) -> u64| {
                let number = stream.rtp.as_ref().map(rtp).or(ts.map(of_ts));
                number.map_or("-".into(), |number| number.to_string())
            };
            let numbers = match (&stream.rtp, ts) {
                (Some(_), Some(_)) => "RTP, TS",
                (Some(_), None) => "RTP",
                (None, Some(_)) => "TS",
                (None, None) => "-",
            };
            let at = |address: &str, port: u16| match address.parse::<IpAddr>() {
                Ok(address) => std::net::SocketAddr::new(address, port).to_string(),
                Err(_) => format!("{address} {port}"),
            };
            let mut row = vec![
                stream.interface.clone(),
                at(&stream.group, stream.port),
                format!(
                    "{}{}",
                    stream.source,
                    if stream.outbound { " (this host)" } else { "" }
                ),
                stream.packets.to_string(),
                stream.packets_per_second.to_string(),
                format!("{:.3}", stream.bits_per_second as f64 / 1e6),
                stream.ttl.to_string(),
                age(&report.time, &stream.last),
                numbers.into(),
                of_either(|rtp| rtp.lost, |ts| ts.lost),
                of_rtp(|rtp| {
                    rtp.jitter_ns
                        .map_or("-".into(), |ns| format!("{:.3}", ns as f64 / 1e6))
                }),
            ];
            if verbose {
                row.push(duration(stream.longest_gap_ns));
                row.push(stream.wrong_mac.to_string());
                row.push(of_either(|rtp| rtp.duplicates, |ts| ts.duplicates));
                row.push(of_either(|rtp| rtp.reordered, |ts| ts.reordered));
                row.push(of_either(|rtp| rtp.restarts, |ts| ts.restarts));
            }
            row
        })
        .collect();
    let mut columns = vec![
        Column::text("IF"),
        Column::text("GROUP"),
        Column::text("SOURCE").shrinks(15),
        Column::number("PACKETS").may_hide(1),
        Column::number("PER S"),
        Column::number("Mbit/s").may_hide(3),
        Column::number("TTL").may_hide(2),
        Column::number("LAST"),
        Column::text("NUMBERS").may_hide(4),
        Column::number("LOST"),
        Column::number("JITTER ms").may_hide(5),
    ];
    if verbose {
        columns.extend([
            Column::number("LONGEST GAP").may_hide(6),
            Column::number("WRONG MAC").may_hide(10),
            Column::number("DUPLICATES").may_hide(9),
            Column::number("REORDERED").may_hide(8),
            Column::number("RESTARTS").may_hide(7),
        ]);
    }
    table(style, &columns, &rows)
}

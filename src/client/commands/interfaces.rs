//! SHELL. `netsonde interfaces`: links, addresses, memberships, and the state of recording.

use crate::client::cli::args::Global;
use crate::client::failure::Failure;
use crate::client::output::json;
use crate::client::render::style::Style;
use crate::client::render::wrap::fit;
use crate::client::screen;
use crate::varlink::client::ask;
use netsonde_core::protocol::service::{Interface, Interfaces};
use netsonde_core::text::{counted, unknown};
use std::io::Write;
use std::path::Path;

/// Runs `netsonde interfaces`.
pub fn interfaces(global: &Global, socket: &Path, names: &[String]) -> Result<u8, Failure> {
    let mut all: Interfaces = ask(socket, "io.netsonde.Service.Interfaces")?;
    for name in names {
        if !all
            .interfaces
            .iter()
            .any(|interface| interface.interface == *name)
        {
            let known: Vec<&str> = all
                .interfaces
                .iter()
                .map(|one| &one.interface[..])
                .collect();
            return Err(Failure::Other(unknown("interface", name, known)));
        }
    }
    if !names.is_empty() {
        all.interfaces
            .retain(|interface| names.contains(&interface.interface));
    }
    let mut out = screen::stdout();
    if global.json {
        json(&mut out, &all)?;
        return Ok(0);
    }
    let style = global.style();
    for interface in &all.interfaces {
        write!(out, "{}", fit(&one(interface, style), style))?;
    }
    Ok(0)
}

/// Formats an interface in the manner of `ip address`, one fact per line.
pub(crate) fn one(interface: &Interface, style: Style) -> String {
    let state = if interface.running {
        style.good("up")
    } else if interface.up && interface.flags.iter().any(|flag| flag == "LOWER_UP") {
        style.warn("up, not operational yet")
    } else if interface.up {
        style.warn("no carrier")
    } else {
        style.warn("down")
    };
    let master = interface
        .master
        .as_ref()
        .map(|master| format!(" master {master}"))
        .unwrap_or_default();
    let mut text = format!(
        "{}: {} {state} mtu {}{master} <{}>\n",
        interface.ifindex,
        style.bold(&interface.interface),
        interface.mtu,
        interface.flags.join(",")
    );
    let mut fact = |words: String| text.push_str(&format!("    {words}\n"));
    fact(
        format!(
            "link {} {}",
            interface.link,
            interface.mac.as_deref().unwrap_or("")
        )
        .trim_end()
        .to_owned(),
    );
    for address in &interface.addresses {
        fact(format!("address {address}"));
    }
    for membership in &interface.memberships {
        let ours = if membership.ours {
            ", one of them netsonde's"
        } else {
            ""
        };
        fact(format!(
            "member of {} ({}{ours})",
            membership.group,
            counted(membership.users, "user")
        ));
    }
    if interface.promiscuity > 0 || interface.allmulti > 0 {
        let words = format!(
            "promiscuity {}, allmulti {}",
            interface.promiscuity, interface.allmulti
        );
        fact(style.warn(&words));
    }
    let recording = if interface.recording {
        "recorded"
    } else {
        "not recorded"
    };
    fact(format!("{recording}: {}", interface.why));
    fact(format!(
        "packets {} bytes {}",
        interface.packets, interface.bytes
    ));
    let listened = &interface.listened;
    fact(format!(
        "received (wire/IP layer): icmp {}/{}, icmp6 {}/{}, igmp {}/{}",
        listened.icmp_wire,
        listened.icmp_heard,
        listened.icmp6_wire,
        listened.icmp6_heard,
        listened.igmp_wire,
        listened.igmp_heard
    ));
    text
}

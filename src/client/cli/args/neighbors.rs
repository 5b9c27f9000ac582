//! SHELL. Arguments of `neighbors`.

use clap::Args;
use netsonde_core::address::{looks_like_ipv4, looks_like_ipv6, parse_address};
use netsonde_core::neighbors::mac;

use super::packets::Past;

/// Options of `netsonde neighbors`.
#[derive(Clone, Debug, Default, Args)]
pub struct NeighborsArgs {
    /// Show only this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// A time in the past.
    #[command(flatten)]
    pub past: Past,
    /// Show only hosts with this address, MAC address or name.
    #[arg(value_name = "ADDRESS|MAC|NAME", value_parser = parse_who)]
    pub who: Vec<String>,
}

/// Parses the name or an address of a host. Returns it as written.
fn parse_who(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the name of a host must not be empty".into());
    }
    if text.contains('/') {
        return Err(format!(
            "{text} is a prefix: give addresses, MAC addresses or names"
        ));
    }
    if mac::parse(text).is_some() {
        return Ok(text.to_owned());
    }
    if looks_like_ipv4(text) {
        parse_address(text)?;
    }
    if looks_like_ipv6(text) {
        // Two digits to a group are a MAC address that lacks some.
        let is_mac = text.split(':').all(|part| (1..=2).contains(&part.len()));
        if is_mac && parse_address(text).is_err() {
            return Err(format!(
                "{text} is not a MAC address: expected six bytes in hexadecimal"
            ));
        }
        parse_address(text)?;
    }
    Ok(text.to_owned())
}

//! PURE. Applications over UDP and TCP, summarized in one line. Each is a row of [`mod@table`], found by content first
//! and port second; its decoder is in one of the files by subject.

mod databases;
mod dhcp;
mod industrial;
mod management;
mod media;
pub(super) mod message;
mod names;
mod table;
mod text;
mod tls;
mod vpn;

pub(super) use management::{ptp_message, wake};
pub use names::{record_type as dns_type_name, response_code as dns_code_name};
pub(super) use table::{tcp, udp};
pub(super) use vpn::esp_header;

//! PURE. Text protocols, whose first line says what they are: HTTP (RFC 9112), SSH (RFC 4253), SMTP (RFC 5321),
//! FTP (RFC 959), IMAP (RFC 9051), POP3 (RFC 1939), RTSP (RFC 2326), SIP (RFC 3261), syslog (RFC 5424), SSDP,
//! RFB (RFC 6143).

use super::super::Packet;
use super::super::cursor::first_line;
use super::message::{Fit, Message};

/// Shows the first line.
pub(super) fn first<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    packet.push_summary(first_line(message.payload()));
}

fn begins(message: &Message<'_>, words: &[&str]) -> bool {
    let bytes = message.payload();
    words.iter().any(|word| bytes.starts_with(word.as_bytes()))
}

/// Maximum length of a first line that is examined, in bytes: every packet is asked for it.
const LINE_MAX: usize = 256;

/// Returns whether the message begins with a letter as requests and commands do: most packets do not.
fn begins_with_letter(message: &Message<'_>) -> bool {
    message.u8(0).is_ascii_alphabetic()
}

/// The first line of the message, without its end.
fn line<'a>(message: &Message<'a>) -> &'a [u8] {
    let bytes = message.payload();
    let bytes = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let mut lines = bytes.split(|byte| matches!(byte, b'\r' | b'\n'));
    lines.next().unwrap_or_default()
}

/// Returns whether the first line is printable and complete, or longer than what was captured.
fn is_text(message: &Message<'_>) -> bool {
    is_printable(line(message))
}

fn is_printable(line: &[u8]) -> bool {
    !line.is_empty()
        && (line.iter()).all(|byte| matches!(byte, b' '..=b'~' | b'\t') || *byte >= 0x80)
}

/// Returns whether the message begins with a reply code of three digits, as SMTP and FTP have it.
fn is_reply(message: &Message<'_>) -> bool {
    matches!(
        message.payload(),
        [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..]
    ) && is_text(message)
}

/// Returns whether the first line begins with one of the commands, in either case.
fn is_command(message: &Message<'_>, commands: &[&str]) -> bool {
    if !begins_with_letter(message) {
        return false;
    }
    let line = line(message);
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    begins_with_letter(message)
        && is_text(message)
        && (commands.iter()).any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

const METHODS: &[&str] = &[
    "GET ",
    "POST ",
    "PUT ",
    "HEAD ",
    "DELETE ",
    "OPTIONS ",
    "PATCH ",
    "CONNECT ",
    "TRACE ",
    "PROPFIND ",
];

pub(super) fn http_fit(message: &Message<'_>) -> Fit {
    if !begins_with_letter(message) {
        return Fit::No;
    }
    if begins(message, &["HTTP/1.", "PRI * HTTP/2.0"]) {
        return Fit::Certain;
    }
    if !begins(message, METHODS) || !is_text(message) {
        return Fit::No;
    }
    let line = line(message);
    if line.windows(7).any(|part| part == b"HTTP/1.") {
        return Fit::Certain;
    }
    // The version was cut off; SIP and RTSP have these methods, too, and another version.
    let whole = line.len() < message.payload().len();
    Fit::plausible(!whole)
}

pub(super) fn ssh_fit(message: &Message<'_>) -> Fit {
    Fit::certain(begins(message, &["SSH-1.", "SSH-2."]))
}

pub(super) fn smtp_fit(message: &Message<'_>) -> Fit {
    if begins(message, &["EHLO ", "HELO ", "MAIL FROM:", "RCPT TO:"]) && is_text(message) {
        return Fit::Certain;
    }
    let commands = [
        "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "AUTH", "STARTTLS",
        "VRFY", "BDAT",
    ];
    Fit::plausible(message.on_port && (is_reply(message) || is_command(message, &commands)))
}

pub(super) fn ftp_fit(message: &Message<'_>) -> Fit {
    let commands = [
        "USER", "PASS", "ACCT", "CWD", "CDUP", "QUIT", "PORT", "PASV", "EPSV", "EPRT", "TYPE",
        "RETR", "STOR", "APPE", "LIST", "NLST", "MLSD", "PWD", "SYST", "FEAT", "OPTS", "AUTH",
        "PBSZ", "PROT", "SIZE", "MDTM", "DELE", "MKD", "RMD", "RNFR", "RNTO", "NOOP", "ABOR",
        "REST",
    ];
    Fit::plausible(is_reply(message) || is_command(message, &commands))
}

pub(super) fn imap_fit(message: &Message<'_>) -> Fit {
    if !message.on_port && message.u8(0) != b'*' {
        return Fit::No;
    }
    if begins(message, &["* OK"]) && line(message).windows(4).any(|part| part == b"IMAP") {
        return Fit::Certain;
    }
    // A tag or an asterisk, then a word.
    let tagged = message.u8(0).is_ascii_alphanumeric() || message.u8(0) == b'*';
    Fit::plausible(tagged && is_text(message) && line(message).contains(&b' '))
}

pub(super) fn pop3_fit(message: &Message<'_>) -> Fit {
    let commands = [
        "USER", "PASS", "QUIT", "STAT", "LIST", "RETR", "DELE", "NOOP", "RSET", "APOP", "TOP",
        "UIDL", "CAPA", "STLS", "AUTH",
    ];
    Fit::plausible(begins(message, &["+OK", "-ERR"]) || is_command(message, &commands))
}

pub(super) fn rtsp_fit(message: &Message<'_>) -> Fit {
    if !begins_with_letter(message) {
        return Fit::No;
    }
    let line = line(message);
    Fit::certain(line.starts_with(b"RTSP/1.") || line.ends_with(b" RTSP/1.0"))
}

pub(super) fn sip_fit(message: &Message<'_>) -> Fit {
    if !begins_with_letter(message) {
        return Fit::No;
    }
    let line = line(message);
    if line.starts_with(b"SIP/2.0 ") || line.ends_with(b" SIP/2.0") {
        return Fit::Certain;
    }
    // Empty lines keep a binding of NAT alive (RFC 5626, section 3.5.1).
    Fit::plausible(line.windows(5).any(|part| part == b" sip:"))
}

pub(super) fn syslog_fit(message: &Message<'_>) -> Fit {
    let bytes = message.payload();
    let Some(rest) = bytes.strip_prefix(b"<") else {
        return Fit::plausible(message.on_port && is_text(message));
    };
    let digits = (rest.iter())
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let ends = rest.get(digits) == Some(&b'>');
    // The C library of some systems ends a message with a zero byte, as a string.
    let line = line(message);
    let text = line.strip_suffix(b"\0").unwrap_or(line);
    Fit::certain((1..=3).contains(&digits) && ends && is_printable(text))
}

pub(super) fn ssdp_fit(message: &Message<'_>) -> Fit {
    if begins(message, &["M-SEARCH * HTTP/1.1", "NOTIFY * HTTP/1.1"]) {
        return Fit::Certain;
    }
    Fit::plausible(begins(message, &["HTTP/1.1", "M-SEARCH", "NOTIFY"]))
}

pub(super) fn vnc_fit(message: &Message<'_>) -> Fit {
    Fit::certain(message.length == 12 && begins(message, &["RFB 003.", "RFB 004.", "RFB 005."]))
}

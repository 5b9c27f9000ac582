//! PURE. Records of the tracepoint `skb:kfree_skb`.

use std::collections::BTreeMap;

/// Layout of a record of `skb:kfree_skb` in the running kernel, and its names of drop reasons: both differ between
/// versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceFormat {
    /// Offset and size of each field, in bytes.
    location: (usize, usize),
    protocol: (usize, usize),
    reason: (usize, usize),
    names: BTreeMap<u64, String>,
}

/// One dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DropRecord {
    /// Name of the drop reason, or its number.
    pub reason: String,
    /// EtherType.
    pub protocol: u16,
    /// Address of the kernel code that dropped it.
    pub location: u64,
}

impl TraceFormat {
    /// Parses the `format` file of the tracepoint. `None` if this kernel has no drop reasons (before 5.17).
    pub fn parse(text: &str) -> Option<TraceFormat> {
        let field = |name: &str| {
            let line = text.lines().find(|line| {
                let declared = line.split(';').next().unwrap_or_default();
                line.trim_start().starts_with("field:")
                    && declared.rsplit([' ', '*']).next() == Some(name)
            })?;
            let number = |key: &str| {
                let rest = line.split_once(key)?.1;
                rest.split(';').next()?.trim().parse::<usize>().ok()
            };
            Some((number("offset:")?, number("size:")?))
        };
        let mut format = TraceFormat {
            location: field("location")?,
            protocol: field("protocol")?,
            reason: field("reason")?,
            names: BTreeMap::new(),
        };
        let names = text.split_once("__print_symbolic(REC->reason,")?.1;
        for pair in names.split('{').skip(1) {
            let pair = pair.split('}').next()?;
            let Some((number, name)) = pair.split_once(',') else {
                continue;
            };
            let number = number.trim();
            let number = match number.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => number.parse(),
            };
            if let Ok(number) = number {
                let name = name.trim().trim_matches('"').to_owned();
                format.names.insert(number, name);
            }
        }
        Some(format)
    }

    /// Decodes a record. `None` if it is shorter than the format.
    pub fn record(&self, bytes: &[u8]) -> Option<DropRecord> {
        let number = |(at, size): (usize, usize)| {
            let bytes = bytes.get(at..at.checked_add(size)?)?;
            let mut word = [0; 8];
            word.get_mut(..size)?.copy_from_slice(bytes);
            Some(u64::from_le_bytes(word))
        };
        let reason = number(self.reason)?;
        Some(DropRecord {
            reason: match self.names.get(&reason) {
                Some(name) => name.clone(),
                // Subsystems have reasons of their own, without names in the format.
                None => format!("reason {reason:#x}"),
            },
            protocol: number(self.protocol)? as u16,
            location: number(self.location)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "name: kfree_skb\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:void * location;\toffset:16;\tsize:8;\tsigned:0;\n\
        \tfield:unsigned short protocol;\toffset:32;\tsize:2;\tsigned:0;\n\
        \tfield:enum skb_drop_reason reason;\toffset:36;\tsize:4;\tsigned:0;\n\n\
        print fmt: \"%s\", __print_symbolic(REC->reason, { 2, \"NOT_SPECIFIED\" }, { 3, \"NO_SOCKET\" })\n";

    #[test]
    fn records_follow_the_format_of_the_kernel() {
        let format = TraceFormat::parse(FORMAT).unwrap();
        let mut bytes = vec![0; 40];
        bytes[16] = 7;
        bytes[32..34].copy_from_slice(&0x0800u16.to_le_bytes());
        bytes[36] = 3;
        let drop = format.record(&bytes).unwrap();
        assert_eq!(
            (drop.reason.as_str(), drop.protocol, drop.location),
            ("NO_SOCKET", 0x0800, 7)
        );
        bytes[38] = 1;
        assert_eq!(format.record(&bytes).unwrap().reason, "reason 0x10003");
        assert_eq!(format.record(&bytes[..39]), None);
        assert_eq!(TraceFormat::parse("field:int x; offset:0; size:4;"), None);
    }
}

//! SHELL. Vendors of network cards, from the first installed list of IEEE assignments.
//! None comes with netsonde. A list is read once, line by line, for the addresses at hand.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use netsonde_core::wire::cursor::{Mac, text};

/// Maximum size of a list: the list of IEEE with all addresses has 6 MiB.
const LIST_BYTES: u64 = 32 << 20;
/// Maximum length of a vendor name.
const NAME_MAX: usize = 48;

/// A line of a list: the prefix with its length in bits, and the vendor.
type Line = fn(&str) -> Option<(u64, u8, &str)>;

/// Lists as installed by distributions, with their formats.
const LISTS: [(&str, Line); 8] = [
    ("/usr/share/ieee-data/oui.txt", ieee),
    ("/usr/share/misc/oui.txt", ieee),
    ("/usr/share/hwdata/oui.txt", ieee),
    ("/usr/share/wireshark/manuf", wireshark),
    ("/usr/share/nmap/nmap-mac-prefixes", digits),
    ("/usr/share/arp-scan/ieee-oui.txt", digits),
    ("/usr/lib/udev/hwdb.d/20-OUI.hwdb", hwdb),
    ("/lib/udev/hwdb.d/20-OUI.hwdb", hwdb),
];

/// Returns the vendors of these addresses, as far as an installed list contains them.
pub fn makers(of: &[Mac]) -> HashMap<Mac, String> {
    let found = LISTS.iter().find_map(|(path, line)| {
        let file = File::open(path).ok()?;
        let is_list = file
            .metadata()
            .is_ok_and(|data| data.is_file() && data.len() <= LIST_BYTES);
        is_list.then(|| {
            read(
                BufReader::new(file.take(LIST_BYTES)),
                *line,
                Path::new(path),
                of,
            )
        })
    });
    found.unwrap_or_default()
}

fn read(from: impl BufRead, line: Line, path: &Path, of: &[Mac]) -> HashMap<Mac, String> {
    // Assignments have 24, 28 or 36 bits. The longest match is the vendor.
    let mut wanted: HashMap<(u64, u8), Vec<Mac>> = HashMap::new();
    for mac in of {
        for bits in [24, 28, 36] {
            wanted
                .entry((prefix(*mac, bits), bits))
                .or_default()
                .push(*mac);
        }
    }
    let is_hwdb = path.extension().is_some_and(|end| end == "hwdb");
    let mut found: HashMap<Mac, (u8, String)> = HashMap::new();
    let mut before = String::new();
    for bytes in from.split(b'\n') {
        let Ok(bytes) = bytes else { break };
        let Ok(one) = String::from_utf8(bytes) else {
            continue;
        };
        // In this format the name is on the line after its prefix.
        let whole = if is_hwdb {
            format!("{before}\t{one}")
        } else {
            one.clone()
        };
        before = one;
        let Some((number, bits, name)) = line(&whole) else {
            continue;
        };
        for mac in wanted.get(&(number, bits)).into_iter().flatten() {
            let known = found.entry(*mac).or_default();
            if known.0 < bits {
                *known = (bits, text(name.trim().as_bytes(), NAME_MAX));
            }
        }
    }
    found
        .into_iter()
        .map(|(mac, (_, name))| (mac, name))
        .collect()
}

/// Returns the first bits of an address.
fn prefix(mac: Mac, bits: u8) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f]) >> (48 - bits)
}

/// Parses a prefix of 6, 7 or 9 hexadecimal digits.
fn assignment(digits: &str) -> Option<(u64, u8)> {
    let bits = match digits.len() {
        6 => 24,
        7 => 28,
        9 => 36,
        _ => return None,
    };
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, 16).ok()?;
    is_hex.then_some((number, bits))
}

/// `00-00-0C   (hex)`, tabulators, the name: IEEE's.
fn ieee(line: &str) -> Option<(u64, u8, &str)> {
    let (start, name) = line.split_once("(hex)")?;
    let (number, bits) = assignment(&start.trim().replace('-', ""))?;
    Some((number, bits, name))
}

/// `00:00:0C` or `00:1B:C5:00:00:00/36`, a short name and the name, with tabulators between: Wireshark's.
fn wireshark(line: &str) -> Option<(u64, u8, &str)> {
    let mut words = line.split('\t');
    let (start, short) = (words.next()?.trim(), words.next()?);
    let name = words.next().unwrap_or(short);
    let (address, bits): (&str, u8) = match start.split_once('/') {
        Some((address, bits)) => (address, bits.parse().ok()?),
        None => (start, 24),
    };
    let digits = address.replace(':', "");
    let length = match bits {
        24 | 28 | 36 => usize::from(bits) / 4,
        _ => return None,
    };
    let (number, bits) = assignment(digits.get(..length)?)?;
    Some((number, bits, name))
}

/// `00000C Name`, with a blank or a tabulator: nmap's and arp-scan's.
fn digits(line: &str) -> Option<(u64, u8, &str)> {
    let (start, name) = line.split_once([' ', '\t'])?;
    let (number, bits) = assignment(start)?;
    Some((number, bits, name))
}

/// `OUI:00000C*`, and on the next line ` ID_OUI_FROM_DATABASE=Name`: systemd's.
fn hwdb(lines: &str) -> Option<(u64, u8, &str)> {
    let (start, name) = lines.split_once('\t')?;
    let name = name.trim_start().strip_prefix("ID_OUI_FROM_DATABASE=")?;
    let (number, bits) = assignment(start.strip_prefix("OUI:")?.strip_suffix('*')?)?;
    Some((number, bits, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CISCO: Mac = Mac([0, 0, 0x0c, 1, 2, 3]);
    const SMALL: Mac = Mac([0x00, 0x1b, 0xc5, 0x00, 0x01, 0x02]);

    fn of(text: &[u8], line: Line, path: &str) -> (String, String) {
        let mut all = read(text, line, Path::new(path), &[CISCO, SMALL]);
        let mut take = |mac| all.remove(&mac).unwrap_or_default();
        (take(CISCO), take(SMALL))
    }

    #[test]
    fn every_list_format_is_parsed() {
        let both = ("Cisco".to_owned(), "Small".to_owned());
        let lists: [(&[u8], Line, &str); 5] = [
            (
                b"OUI/MA-L\n00-00-0C   (hex)\t\tCisco\r\n00000C     (base 16)\t\tOther\n\
                  00-1B-C5   (hex)\t\tSmall\n",
                ieee,
                "oui.txt",
            ),
            (
                b"# no:pe\n00:00:0C\tCi\tCisco\n00:1B:C5\tAll\tAll\n00:1B:C5:00:00:00/36\tSm\tSmall\n",
                wireshark,
                "manuf",
            ),
            (b"00000C Cisco\n001BC50 Less\n001BC5000 Small\n", digits, "nmap"),
            (b"00000C\tCisco\n001BC5000\tSmall\n001BC5\tAll\n", digits, "arp-scan"),
            (
                b"OUI:00000C*\n ID_OUI_FROM_DATABASE=Cisco\n\nOUI:001BC5000*\n ID_OUI_FROM_DATABASE=Small\n",
                hwdb,
                "20-OUI.hwdb",
            ),
        ];
        for (text, line, path) in lists {
            assert_eq!(of(text, line, path), both, "{path}");
        }
    }

    #[test]
    fn invalid_lists_are_ignored_and_names_escaped() {
        let nothing = (String::new(), String::new());
        for line in [ieee, wireshark, digits, hwdb] as [Line; 4] {
            for text in [
                &b"\xff\xfe\n\0\0\0"[..],
                b"+0000C Name",
                b"00000G Name",
                b"00:00:0C:01:02:03/99\tx\ty",
                b"00\xc3\xa40\tx\n(hex)\nOUI:*\t\n ID_OUI_FROM_DATABASE=",
            ] {
                assert_eq!(of(text, line, "x.hwdb"), nothing);
                assert_eq!(of(text, line, "x"), nothing);
            }
        }
        let (name, _) = of(b"00000C \x1b[31mred\n", digits, "nmap");
        assert_eq!(name, "\\x1b[31mred");
        let long = format!("00000C {}\n", "x".repeat(1000));
        assert_eq!(of(long.as_bytes(), digits, "nmap").0.len(), NAME_MAX + 3);
    }
}

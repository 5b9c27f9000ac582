//! SHELL. Options of tcpdump(8) that `watch` and `capture` do not have: what to use instead.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options of tcpdump by letter or name, and netsonde's way.
const INSTEAD: &[(&str, &str)] = &[
    (
        "-A",
        "payload is not printed: write a file (-w FILE) and open it with Wireshark or tcpdump -A",
    ),
    (
        "-X",
        "payload is not printed: write a file (-w FILE) and open it with Wireshark or tcpdump -X",
    ),
    (
        "-x",
        "payload is not printed: write a file (-w FILE) and open it with Wireshark or tcpdump -x",
    ),
    (
        "-B",
        "netsonded has the buffers: set capture.* in netsonde.toml(5)",
    ),
    (
        "-C",
        "files are not rotated: stop with -c N or --until TIME",
    ),
    (
        "-G",
        "files are not rotated: stop with -c N or --until TIME",
    ),
    (
        "-W",
        "files are not rotated: stop with -c N or --until TIME",
    ),
    ("-D", "list the interfaces with `netsonde interfaces'"),
    ("-F", "give the filter on the command line: \"$(cat FILE)\""),
    (
        "-K",
        "checksums that were left to hardware are recognized: leave it out",
    ),
    (
        "-L",
        "`netsonde interfaces' shows the type of each interface: leave it out",
    ),
    ("-N", "addresses are printed without names: leave it out"),
    ("-O", "libpcap always optimizes the filter: leave it out"),
    (
        "-Q",
        "select a direction with --direction in or --direction out",
    ),
    ("-S", "sequence numbers are always absolute: leave it out"),
    ("-U", "each packet is written at once: leave it out"),
    ("-V", "read one file after the other with -r FILE"),
    ("-Z", "the client needs no privilege: leave it out"),
    ("-a", "addresses are printed without names: leave it out"),
    ("-b", "addresses are printed without names: leave it out"),
    ("-d", "compiled filters are not printed: use tcpdump -d"),
    ("-j", "times are those of the kernel: leave it out"),
    ("-m", "MIBs are not used: leave it out"),
    (
        "-p",
        "netsonde never makes an interface promiscuous: leave it out",
    ),
    (
        "-s",
        "the snap length is that of the record: set capture.* in netsonde.toml(5), or use --headers",
    ),
    (
        "-t",
        "for other times use --json, which has them in RFC 3339 with nanoseconds",
    ),
    ("-u", "NFS is not decoded: leave it out"),
    ("-y", "the link type is that of the interface: leave it out"),
    ("-z", "run the program after netsonde"),
    ("-#", "for numbers use `nl' or `grep -n'"),
    ("--number", "for numbers use `nl' or `grep -n'"),
    ("--print", "run `netsonde watch' beside `netsonde capture'"),
    ("--immediate-mode", "packets arrive at once: leave it out"),
    (
        "--list-interfaces",
        "list the interfaces with `netsonde interfaces'",
    ),
    (
        "--snapshot-length",
        "the snap length is that of the record: set capture.* in netsonde.toml(5)",
    ),
    (
        "--time-stamp-precision",
        "files have nanoseconds: leave it out",
    ),
    (
        "--no-promiscuous-mode",
        "netsonde never makes an interface promiscuous: leave it out",
    ),
];

/// Returns a message for an option of tcpdump in the arguments of `watch` or `capture`, if `error` is
/// about one.
pub fn advice(error: &clap::Error, arguments: &[String]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let mut words = arguments.iter().skip(1);
    let command = words.find(|word| matches!(word.as_str(), "watch" | "capture"))?;
    let ContextValue::String(option) = error.get(ContextKind::InvalidArg)? else {
        return None;
    };
    let (_, instead) = INSTEAD.iter().find(|(known, _)| known == option)?;
    Some(format!("{option}: {instead} (see netsonde-{command}(1))"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = super::super::args::command()
            .try_get_matches_from(&words)
            .expect_err(line);
        advice(&error, &words)
    }

    #[test]
    fn options_of_tcpdump_are_answered_with_a_way() {
        for (line, expected) in [
            ("netsonde watch -X", "Wireshark"),
            ("netsonde capture -s0 -w x", "snap length"),
            ("netsonde watch -D", "netsonde interfaces"),
            ("netsonde watch -tttt -i e0", "RFC 3339"),
            ("netsonde -v watch -ni e0 -Q in", "--direction in"),
            ("netsonde watch --number", "nl"),
        ] {
            let advice = of(line).expect(line);
            assert!(advice.contains(expected), "{line}: {advice}");
        }
        assert_eq!(of("netsonde watch --sokcet x"), None);
        assert_eq!(of("netsonde ping -X"), None);
    }

    #[test]
    fn options_that_exist_need_no_advice() {
        let command = super::super::args::command();
        let watch = command.find_subcommand("watch").unwrap();
        for (known, _) in INSTEAD {
            let mut options = watch.get_arguments().chain(command.get_arguments());
            let is_option = options.any(|option| {
                option
                    .get_short()
                    .is_some_and(|short| *known == format!("-{short}"))
                    || option
                        .get_long()
                        .is_some_and(|long| *known == format!("--{long}"))
            });
            assert!(!is_option, "{known}");
        }
    }
}

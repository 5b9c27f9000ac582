//! Mutated frames of the everyday protocols (tests/field), through `netsonde watch --read` and through a link into the
//! service: nothing ends but as it should, and no output has a control character.
//!
//! `NETSONDE_MUTATED` is the number of frames, 30,000 by default.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{ChildStdout, Command, ExitCode, Stdio};

use netsonde::client::files::capture_file::{CaptureFile, Item};
use netsonde::lab::traffic;
use support::{Service, Test, number, pair, settled};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "files_of_mutated_frames_are_read",
                files_of_mutated_frames_are_read as Test,
            ),
            ("mutated_frames_cross_a_link", mutated_frames_cross_a_link),
        ],
        1,
    )
}

/// Frames of one command, so that all ways to print them have their turn.
const FRAMES_PER_COMMAND: u64 = 10_000;
/// Frames between two looks at the service, of which the record holds the newest.
const FRAMES_PER_LOOK: u64 = 1_000_000;

fn count() -> u64 {
    std::env::var("NETSONDE_MUTATED").map_or(30_000, |count| count.parse().unwrap())
}

/// Numbers that repeat in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Link type and frames of each capture.
fn fields() -> Vec<(u32, Vec<Vec<u8>>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "pcap"))
        .collect();
    paths.sort();
    let read = |path| {
        let mut file = CaptureFile::new(std::fs::File::open(path).unwrap()).unwrap();
        let (mut link, mut frames) = (0, Vec::new());
        while let Some(item) = file.next().unwrap() {
            if let Item::Packet(packet) = item {
                link = packet.link_number;
                frames.push(packet.bytes);
            }
        }
        (link, frames)
    };
    paths.into_iter().map(read).collect()
}

/// One of the frames, with up to eight bytes changed, and one in four cut; at least `least` bytes of it.
fn mutate(frames: &[Vec<u8>], least: usize, numbers: &mut Numbers, frame: &mut Vec<u8>) {
    frame.clone_from(&frames[numbers.below(frames.len())]);
    for _ in 0..=numbers.below(8) {
        let at = numbers.below(frame.len());
        frame[at] = match numbers.below(4) {
            0 => 0,
            1 => 0xff,
            // An escape sequence is what a terminal obeys.
            2 => 0x1b,
            _ => numbers.below(256) as u8,
        };
    }
    if numbers.below(4) == 0 {
        let length = numbers.below(frame.len() + 1).max(least.min(frame.len()));
        frame.truncate(length);
    }
}

/// Fails at a control character other than the end of a line. Returns the number of lines.
fn check(output: ChildStdout, what: &str) -> u64 {
    let mut reader = BufReader::with_capacity(1 << 16, output);
    let (mut line, mut lines) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line).unwrap() > 0 {
        let text = std::str::from_utf8(&line).unwrap_or_else(|_| panic!("{what}: {line:02x?}"));
        let is_clean = !text.trim_end_matches('\n').contains(char::is_control);
        assert!(is_clean, "{what}: {text:?}");
        line.clear();
        lines += 1;
    }
    lines
}

fn files_of_mutated_frames_are_read() -> Outcome {
    let ways: [&[&str]; 3] = [
        &["watch", "--read", "-"],
        &["--json", "watch", "--read", "-"],
        &["-v", "watch", "-e", "--read", "-"],
    ];
    let fields = fields();
    let mut left = count();
    let mut round = 0;
    while left > 0 {
        let (link, frames) = &fields[round % fields.len()];
        let way = ways[round / fields.len() % ways.len()];
        let now = left.min(FRAMES_PER_COMMAND);
        let mut child = Command::new(env!("CARGO_BIN_EXE_netsonde"))
            .args(way)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let lines = std::thread::scope(|scope| {
            scope.spawn(|| write(input, *link, frames, now, round as u64));
            check(output, &format!("{way:?} round {round}"))
        });
        let status = child.wait()?;
        assert!(status.success(), "{way:?} round {round}: {status}");
        assert!(
            lines >= now,
            "{way:?} round {round}: {lines} lines of {now} frames"
        );
        left -= now;
        round += 1;
    }
    Ok(())
}

/// Writes mutated frames as a pcap file.
fn write(to: impl Write, link: u32, frames: &[Vec<u8>], count: u64, seed: u64) {
    let mut to = BufWriter::new(to);
    let mut header = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0,
    ];
    header.extend_from_slice(&link.to_le_bytes());
    to.write_all(&header).unwrap();
    let mut numbers = Numbers(seed);
    let mut frame = Vec::new();
    for number in 0..count {
        mutate(frames, 0, &mut numbers, &mut frame);
        let length = frame.len() + numbers.below(2) * numbers.below(2000);
        for word in [number as u32, 0, frame.len() as u32, length as u32] {
            to.write_all(&word.to_le_bytes()).unwrap();
        }
        to.write_all(&frame).unwrap();
    }
    to.flush().unwrap();
}

fn mutated_frames_cross_a_link() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let frames: Vec<Vec<u8>> = fields()
        .into_iter()
        .filter(|(link, _)| *link == 1)
        .flat_map(|(_, frames)| frames)
        .collect();
    let mut left = count();
    let mut numbers = Numbers(1);
    while left > 0 {
        let now = left.min(FRAMES_PER_LOOK);
        a.run(|| {
            // What a packet socket accepts has a header.
            traffic::frames("e0", now, None, |_, frame| {
                mutate(&frames, 14, &mut numbers, frame)
            })
        })?;
        let status = service.until("all is taken in", settled);
        assert_eq!(number(&status["engine"]["starts"]), 1, "{}", service.log());
        let gaps = status["gaps"].as_array().unwrap();
        assert!(
            gaps.iter().all(|gap| gap["kind"] != "quarantined"),
            "{gaps:?}"
        );
        // What the trackers have made of them, and the newest of the record.
        for arguments in [
            &["watch", "--last", "1s"][..],
            &["--json", "watch", "--last", "1s"],
            &["neighbors"],
            &["--json", "neighbors"],
            &["mcast", "groups"],
            &["mcast", "queriers"],
            &["mcast", "streams"],
            &["talkers"],
            &["events"],
        ] {
            let mut child = b.run(|| {
                Command::new(env!("CARGO_BIN_EXE_netsonde"))
                    .arg("--socket")
                    .arg(service.socket())
                    .args(arguments)
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
            })?;
            check(child.stdout.take().unwrap(), &format!("{arguments:?}"));
            let status = child.wait()?;
            assert!(
                matches!(status.code(), Some(0 | 1)),
                "{arguments:?}: {status}"
            );
        }
        left -= now;
    }
    // Without what the log escapes.
    assert!(!service.log().replace('\n', "").contains(char::is_control));
    Ok(())
}

//! The bodies of the fuzz targets on their corpora (`fuzz/corpus`), as they are and changed at random. The targets
//! themselves need a nightly toolchain (CONTRIBUTING.md, "Fuzzing").
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use std::path::Path;

use bodies::TARGETS;

/// Inputs of a target, by file name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut inputs: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder.join(target))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn corpora_break_no_promise() {
    for (target, body) in TARGETS {
        let inputs = corpus(target);
        assert!(inputs.len() >= 3, "{target}");
        for (name, input) in inputs {
            println!("{target}/{name}");
            body(&input);
        }
    }
}

/// Changes up to eight bytes, and now and then the length.
fn mutate(input: &mut Vec<u8>, mut number: impl FnMut() -> usize) {
    if input.is_empty() {
        return;
    }
    for _ in 0..=number() % 8 {
        let at = number() % input.len();
        input[at] = match number() % 4 {
            0 => 0,
            1 => 0xff,
            2 => input[at] ^ 1 << (number() % 8),
            _ => number() as u8,
        };
    }
    if number().is_multiple_of(4) {
        input.truncate(number() % (input.len() + 1));
    }
}

/// `NETSONDE_FUZZ` inputs of each target, 200 by default.
#[test]
fn mutated_corpora_break_no_promise() {
    let count = std::env::var("NETSONDE_FUZZ").map_or(200, |count| count.parse().unwrap());
    let mut state = 7u64;
    let mut number = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for (target, body) in TARGETS {
        let inputs = corpus(target);
        for round in 0..count {
            let mut input = inputs[round % inputs.len()].1.clone();
            mutate(&mut input, &mut number);
            let whole = std::panic::AssertUnwindSafe(|| body(&input));
            if let Err(panic) = std::panic::catch_unwind(whole) {
                eprintln!("{target}, round {round}: {input:02x?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

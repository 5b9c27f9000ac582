//! `tests/SCENARIOS.md`: one part for each doctor and one for traces, written and checked by its tests.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

/// First lines of the parts, in their order.
pub const OF_GROUP: &str = "# Failure modes of multicast and their scenarios\n";
pub const OF_HOST: &str = "# Failure modes of a host and their scenarios\n";
pub const OF_TARGET: &str = "# Failure modes of a target and their scenarios\n";
pub const OF_PATH: &str = "# Faults of a path, side by side\n";

const TITLES: [&str; 4] = [OF_GROUP, OF_HOST, OF_TARGET, OF_PATH];

/// Splits the file into its parts; one that is not there is empty.
fn parts(all: &str) -> [String; 4] {
    let start = |title: &str| all.find(title);
    TITLES.map(|title| {
        let Some(from) = start(title) else {
            return String::new();
        };
        let next = TITLES
            .iter()
            .filter_map(|other| start(other))
            .filter(|at| *at > from)
            .min();
        all[from..next.unwrap_or(all.len())].trim_end().to_owned() + "\n"
    })
}

/// Compares the part with this first line to the generated text, or writes it with NETSONDE_BLESS=1.
pub fn agree(title: &str, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/SCENARIOS.md");
    let which = TITLES.iter().position(|known| *known == title).unwrap();
    let mut there = parts(&std::fs::read_to_string(&path)?);
    if std::env::var_os("NETSONDE_BLESS").is_some() {
        there[which] = text.to_owned();
        let all: Vec<String> = there.into_iter().filter(|part| !part.is_empty()).collect();
        std::fs::write(&path, all.join("\n"))?;
        there = parts(&std::fs::read_to_string(&path)?);
    }
    assert_eq!(
        there[which], text,
        "outdated: regenerate with NETSONDE_BLESS=1"
    );
    Ok(())
}

//! `tests/SCENARIOS.md`: one part for each doctor, written and checked by its tests.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

/// First line of the part for the whole host.
const OF_HOST: &str = "# Failure modes of a host and their scenarios\n";

/// Compares a part with the generated text, or writes it with NETSONDE_BLESS=1.
pub fn agree(is_of_host: bool, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/SCENARIOS.md");
    let parts = || -> std::io::Result<(String, String)> {
        let all = std::fs::read_to_string(&path)?;
        let at = all.find(OF_HOST).unwrap_or(all.len());
        Ok((
            all[..at].trim_end().to_owned() + "\n",
            all[at..].trim_end().to_owned() + "\n",
        ))
    };
    let (of_group, of_host) = parts()?;
    if std::env::var_os("NETSONDE_BLESS").is_some() {
        let all = match is_of_host {
            true => format!("{of_group}\n{text}"),
            false => format!("{text}\n{of_host}"),
        };
        std::fs::write(&path, all)?;
    }
    let (of_group, of_host) = parts()?;
    let there = if is_of_host { of_host } else { of_group };
    assert_eq!(there, text, "outdated: regenerate with NETSONDE_BLESS=1");
    Ok(())
}

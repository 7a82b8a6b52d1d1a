//! Writes the registry of algorithms as a page of the documentation:
//!
//!     cargo run -p chatelaine-crypto --example algorithms > docs/api/algorithms.md

use std::fmt::Write as _;
use std::io::Write as _;

use chatelaine_crypto::algorithms::{ALGORITHMS, DATA_CIPHERS, DEFAULT_DATA_CIPHER, Unit};

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(page().as_bytes())
}

/// The page.
pub(crate) fn page() -> String {
    let mut page = String::from(
        "# Algorithms\n\n<!-- Written by `cargo run -p chatelaine-crypto --example algorithms`; a test compares. -->\n\n\
         Names are understood in any case, and with `_` for `-`. A *unit* is a part of the processor that the implementation \
         runs on where it is there; without it portable code gives the same result.\n\n## Keys\n\n\
         | Number | Name | Also | Kind | Bits stored | Bits generated | Modes | Units | Status |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for entry in ALGORITHMS.iter().filter(|entry| entry.status.reason().is_none()) {
        let modes: Vec<&str> = entry.modes.iter().map(|mode| mode.name).collect();
        let _ = writeln!(
            page,
            "| {} | `{}` | {} | {} | {} | {} | {} | {} | {} |",
            entry.number,
            entry.name,
            entry.aliases.join(", "),
            entry.kind.name(),
            entry.bit_lengths,
            entry.generated,
            modes.join(", "),
            units(entry.units),
            entry.status.name(),
        );
    }
    page.push_str(
        "\n## Data ciphers\n\nNames for encryption defaults and for objects' metadata; [object-format.md](object-format.md) says what each does.\n\n\
         | Name | Key bits | Authenticated | Length preserving | Random access | Units | Status |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    for entry in DATA_CIPHERS.iter().filter(|entry| entry.status.reason().is_none()) {
        let default = if entry.name == DEFAULT_DATA_CIPHER { ", the default" } else { "" };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} | {}{default} |",
            entry.name,
            entry.key_bits,
            yes(entry.authenticated),
            yes(entry.length_preserving),
            yes(entry.random_access),
            units(entry.units),
            entry.status.name(),
        );
    }
    page.push_str("\n## Refused\n\n| Name | Why |\n|---|---|\n");
    let keys = ALGORITHMS.iter().map(|entry| (entry.name, entry.status));
    let ciphers = DATA_CIPHERS.iter().map(|entry| (entry.name, entry.status));
    let mut seen = Vec::new();
    for (name, status) in keys.chain(ciphers) {
        if let Some(reason) = status.reason()
            && !seen.contains(&name)
        {
            let _ = writeln!(page, "| `{name}` | {reason} |");
            seen.push(name);
        }
    }
    page
}

fn units(units: &[Unit]) -> String {
    let names: Vec<&str> = units.iter().map(|unit| unit.name()).collect();
    names.join(", ")
}

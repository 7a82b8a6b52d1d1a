//! The page about algorithms is what the registry says.

#[allow(dead_code, reason = "its `main` is for the command line")]
#[path = "../examples/algorithms.rs"]
mod algorithms;

#[test]
fn the_page_follows_the_registry() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api/algorithms.md");
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == algorithms::page(),
        "docs/api/algorithms.md is out of date: run \
         `cargo run -p chatelaine-crypto --example algorithms > docs/api/algorithms.md`"
    );
}

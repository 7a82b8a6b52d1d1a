//! The rule language and the file of `policy.yaml`.

use std::collections::BTreeMap;

use chatelaine_core::policy::rules::{RuleSet, RuleText, Verdict, parse_expression, parse_policy_file};
use serde_json::{Map, Value, json};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Each rule gives an answer, and the explanation of it agrees.
fn check_all(rules: &BTreeMap<String, RuleText>) {
    let Ok((set, _)) = RuleSet::build(&[], rules) else { return };
    let credentials = object(json!({
        "user_id": "u", "project_id": "p", "roles": ["admin", "a", "b"], "user": {"id": "u"}, "is_admin": true,
    }));
    let target =
        object(json!({"project_id": "p", "target.secret.project_id": "q", "x": 1, "": "u", "a": null}));
    for name in set.names() {
        let expected = match set.try_check(name, &credentials, &target) {
            Ok(true) => Verdict::Passed,
            Ok(false) => Verdict::Failed,
            Err(_) => Verdict::Faulted,
        };
        assert_eq!(set.check(name, &credentials, &target), expected == Verdict::Passed);
        let explained = set.explain(name, &credentials, &target);
        assert_eq!(explained.map(|root| root.verdict), Some(expected), "{name}");
    }
}

/// An expression that parses is printed as what it is.
pub(crate) fn expression(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(parsed) = parse_expression(text) else { return };
    let printed = parsed.to_string();
    assert_eq!(parse_expression(&printed), Ok(parsed), "{text:?} was printed as {printed:?}");
    check_all(&BTreeMap::from([("rule".to_owned(), RuleText::from(text))]));
}

/// A file that loads makes a set whose rules can all be checked.
pub(crate) fn file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(rules) = parse_policy_file(text) {
        check_all(&rules);
    }
}

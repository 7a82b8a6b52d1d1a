//! Every construct and every refusal; the wide comparison with oslo.policy is in `tests/interop/policy_oracle`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::*;

mod files;
mod properties;
mod sets;
mod syntax;

fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn overrides<const COUNT: usize>(rules: [(&str, RuleText); COUNT]) -> BTreeMap<String, RuleText> {
    rules.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

fn build(defaults: &[(&str, &str)]) -> RuleSet {
    RuleSet::build(defaults, &BTreeMap::new()).unwrap().0
}

fn refused(defaults: &[(&str, &str)]) -> RuleError {
    RuleSet::build(defaults, &BTreeMap::new()).unwrap_err()
}

fn try_one(text: impl Into<RuleText>, credentials: Json, target: Json) -> Result<bool, Fault> {
    let (set, _) = RuleSet::build(&[], &overrides([("rule", text.into())])).unwrap();
    set.try_check("rule", &object(credentials), &object(target))
}

fn allowed(text: &str, credentials: Json, target: Json) -> bool {
    try_one(text, credentials, target).unwrap()
}

//! Whole sets: references, overrides, warnings, limits, explanations.

use super::*;

#[test]
fn overrides_replace_and_add() {
    let (set, warnings) = RuleSet::build(
        &[("a", "!"), ("b", "rule:a"), ("c", "@")],
        &overrides([("a", "rule:helper".into()), ("helper", "role:x".into())]),
    )
    .unwrap();
    assert_eq!(warnings, []);
    assert!(set.check("b", &object(json!({"roles": ["X"]})), &()));
    assert_eq!(set.names().collect::<Vec<_>>(), ["a", "b", "c", "helper"]);
    assert_eq!(set.text("a"), Some("rule:helper"));
    assert_eq!(set.text("c"), Some("@"));
    assert_eq!(set.text("d"), None);
    assert!(set.is_overridden("a") && set.is_overridden("helper"));
    assert!(!set.is_overridden("b") && !set.is_overridden("nobody"));
}

#[test]
fn a_broken_default_may_be_overridden_but_not_stay() {
    assert!(RuleSet::build(&[("a", "(")], &overrides([("a", "@".into())])).is_ok());
    assert!(matches!(refused(&[("a", "(")]), RuleError::Syntax { rule, .. } if rule == "a"));
    assert_eq!(refused(&[("a", "@"), ("a", "!")]), RuleError::Duplicate { rule: "a".into() });
}

#[test]
fn unknown_rules_are_the_default_or_false() {
    let none = RuleSet::build(&[("a", "rule:x or rule:x"), ("b", "not rule:x")], &BTreeMap::new()).unwrap();
    let undefined =
        |rule: &str, falls_back| Warning::Undefined { rule: rule.into(), reference: "x".into(), falls_back };
    assert_eq!(none.1, [undefined("a", false), undefined("b", false)]);
    assert!(!none.0.check("a", &(), &()));
    assert!(none.0.check("b", &(), &()));
    assert!(!none.0.check("absent", &(), &()));
    assert!(none.0.explain("absent", &(), &()).is_none());
    let some = RuleSet::build(&[("a", "rule:x")], &overrides([("default", "@".into())])).unwrap();
    assert_eq!(some.1, [undefined("a", true)]);
    assert!(some.0.check("a", &(), &()));
    assert!(some.0.check("absent", &(), &()));
    assert!(some.1[0].to_string().contains("\"default\""));
}

#[test]
fn an_override_without_effect_is_reported() {
    let (_, warnings) =
        RuleSet::build(&[("secret:get", "@")], &overrides([("secrets:get", "!".into())])).unwrap();
    assert_eq!(warnings, [Warning::Unused { rule: "secrets:get".into() }]);
}

#[test]
fn circles_are_refused_wherever_they_hide() {
    let cycle = |path: &[&str]| RuleError::Cycle { path: path.iter().map(ToString::to_string).collect() };
    assert_eq!(refused(&[("a", "rule:a")]), cycle(&["a"]));
    assert_eq!(refused(&[("a", "@ or not (rule:b)"), ("b", "! and rule:a")]), cycle(&["a", "b"]));
    assert_eq!(
        refused(&[("a", "rule:b"), ("b", "rule:c"), ("c", "rule:d"), ("d", "rule:b")]),
        cycle(&["b", "c", "d"])
    );
    assert_eq!(refused(&[("default", "rule:missing")]), cycle(&["default"]));
    assert_eq!(
        cycle(&["a", "b"]).to_string(),
        "rules refer to each other in a circle: \"a\" -> \"b\" -> \"a\"; break it at one of them"
    );
    build(&[("a", "rule:b and rule:c"), ("b", "rule:d"), ("c", "rule:d"), ("d", "@")]);
}

#[test]
fn limits_of_a_set() {
    let names: Vec<String> = (0..=MAX_RULES).map(|number| format!("r{number:05}")).collect();
    let flat: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "@")).collect();
    build(&flat[..MAX_RULES]);
    assert!(matches!(refused(&flat), RuleError::TooLarge { size: 10_001, limit: 10_000, .. }));

    // A chain is as deep as it is long.
    let texts: Vec<String> = names.iter().skip(1).map(|name| format!("rule:{name}")).collect();
    let chain = |length: usize| {
        let mut rules: Vec<(&str, &str)> = names
            .iter()
            .zip(&texts)
            .take(length - 1)
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        rules.push((&names[length - 1], "@"));
        rules
    };
    assert!(build(&chain(MAX_LINKED_DEPTH)).check("r00000", &(), &()));
    assert!(matches!(refused(&chain(MAX_LINKED_DEPTH + 1)), RuleError::TooComplex { depth: 257, .. }));
    assert!(matches!(refused(&chain(MAX_RULES)), RuleError::TooComplex { .. }));

    // Each rule doubles the one behind it.
    let doubled: Vec<String> =
        names.iter().skip(1).map(|name| format!("rule:{name} and rule:{name}")).collect();
    let mut bomb: Vec<(&str, &str)> =
        names.iter().zip(&doubled).take(40).map(|(name, text)| (name.as_str(), text.as_str())).collect();
    bomb.push((&names[40], "@"));
    assert!(matches!(refused(&bomb), RuleError::TooComplex { .. }));
}

#[test]
fn values_need_no_json() {
    struct Caller {
        roles: Vec<String>,
    }
    impl Attributes for Caller {
        fn value(&self, name: &str) -> Option<Value<'_>> {
            match name {
                "user_id" => Some("alice".into()),
                "project_id" => Some(None.into()),
                "roles" => Some(Value::List(&self.roles)),
                _ => None,
            }
        }
    }
    let set = build(&[
        ("a", "role:service and user_id:%(target.key.owner)s"),
        ("b", "project_id:None"),
        ("c", "roles:%(list)s"),
        ("d", "user_id:%(map)s"),
    ]);
    let caller = Caller { roles: vec!["Service".into()] };
    assert!(set.check("a", &caller, &[("target.key.owner", Value::from("alice"))]));
    assert!(!set.check("a", &caller, &[("target.key.owner", Value::from("bob"))]));
    assert!(!set.check("a", &caller, &()));
    assert!(set.check("b", &caller, &()));
    assert!(!set.check("c", &caller, &[("list", Value::List(&["Service"]))]));
    assert_eq!(set.try_check("d", &caller, &[("map", Value::Map(&()))]), Err(Fault::NoText));
}

#[test]
fn texts_are_those_of_python() {
    let text = |json: Json| {
        let json = object(json!({ "v": json }));
        json.value("v").unwrap().into_text().unwrap().into_owned()
    };
    for (json, expected) in [
        (json!(null), "None"),
        (json!(true), "True"),
        (json!(-3), "-3"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(1.0), "1.0"),
        (json!(1e16), "1e+16"),
        (json!(1.5e-5), "1.5e-05"),
        (json!(0.0001), "0.0001"),
        (json!(123456789.125), "123456789.125"),
        (json!(["a", 1, null]), "['a', 1, None]"),
        (json!(["it's", "\"", "'\"", "\n\u{7f}\u{200b}é\u{e000}\u{10ffff}"]), {
            r#"["it's", '"', '\'"', '\n\x7f\u200bé\ue000\U0010ffff']"#
        }),
        (json!({"a": {"b": [true]}}), "{'a': {'b': [True]}}"),
    ] {
        assert_eq!(text(json), expected);
    }
}

#[test]
fn explanations_follow_the_check() {
    let set = build(&[
        ("get", "rule:admin or role:reader and user_id:%(owner)s or @"),
        ("admin", "role:admin"),
        ("fault", "not user.id:x"),
        ("gone", "rule:nowhere"),
    ]);
    let credentials = object(json!({"roles": ["reader"], "user_id": "alice", "user": 1}));
    let explanation = set.explain("get", &credentials, &object(json!({"owner": "bob"}))).unwrap();
    assert_eq!(
        explanation.to_string(),
        "+ rule:admin or role:reader and user_id:%(owner)s or @\n\
         \x20 - rule:admin\n\
         \x20   - role:admin  (the roles are ['reader'])\n\
         \x20 - role:reader and user_id:%(owner)s\n\
         \x20   + role:reader\n\
         \x20   - user_id:%(owner)s  (\"user_id\" is 'alice', wanted 'bob')\n\
         \x20 + @\n"
    );
    let short = set.explain("get", &object(json!({"roles": ["admin"]})), &()).unwrap();
    assert_eq!(short.verdict, Verdict::Passed);
    assert_eq!(short.parts[2].verdict, Verdict::NotReached);
    assert_eq!(
        set.explain("fault", &credentials, &()).unwrap().to_string(),
        "! not user.id:x\n  ! user.id:x  (a name in the rule goes below a credential that is not a mapping)\n"
    );
    assert_eq!(set.explain("gone", &credentials, &()).unwrap().note.as_deref(), Some("not defined"));
    let missing = set.explain("get", &credentials, &()).unwrap();
    assert_eq!(missing.parts[1].parts[1].note.as_deref(), Some("the target has no \"owner\""));
}

#[test]
fn nested_targets_flatten_to_dotted_names() {
    let nested = object(json!({"target": {"secret": {"owner": "a", "acl": [1]}, "none": {}}, "x": null}));
    let flat = json!({"target.secret.owner": "a", "target.secret.acl": [1], "x": null});
    assert_eq!(flatten(&nested), object(flat));
}

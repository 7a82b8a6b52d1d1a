//! Properties of the parser over arbitrary and over almost right input.

use proptest::prelude::*;

use super::*;

/// Words that expressions are made of, right and wrong, joined at random.
fn almost_expression() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("and"),
        Just("or"),
        Just("not"),
        Just("("),
        Just(")"),
        Just("@"),
        Just("!"),
        Just(" "),
        Just(" "),
        Just("role:a"),
        Just("rule:b"),
        Just("user.id:%(x)s"),
        Just("'l':%%"),
        Just("%("),
        Just(")s"),
        Just(":"),
        Just("'"),
        Just("\""),
        Just("\u{a0}"),
        Just("é"),
        Just("1"),
        Just("-"),
        Just("."),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

/// Expressions that are right, with brackets where they may be.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("@".to_owned()),
        Just("!".to_owned()),
        "role:[a-z%]{0,3}".prop_map(|text| text.replace('%', "%%")),
        "rule:[a-z:%(']{0,4}[a-z]",
        // No Python keyword among them: those are refused as names.
        "(abc|user|u_[a-z_]{1,3})(\\.[a-z]{2}_){0,2}:(%\\([a-z.]{0,4}\\)s|[a-z]|%%|:){0,3}",
        "'[a-z.é]{0,3}':[a-z]",
        "-?[1-9][0-9]{0,3}(\\.5)?:x",
    ];
    leaf.prop_recursive(6, 60, 4, |inner| {
        let some = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            inner.clone().prop_map(|text| format!("({text} )")),
            inner.prop_map(|text| format!("not ({text} )")),
            some.clone().prop_map(|parts| parts.join(" AND ")),
            some.prop_map(|parts| parts.join("\tor ")),
        ]
    })
}

fn check_round_trip(text: &str) -> Result<(), TestCaseError> {
    if let Ok(parsed) = parse_expression(text) {
        let printed = parsed.to_string();
        prop_assert_eq!(parse_expression(&printed), Ok(parsed), "{:?} was printed as {:?}", text, printed);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn any_text_parses_or_is_refused_and_prints_as_what_it_is(text in any::<String>()) {
        check_round_trip(&text)?;
    }

    #[test]
    fn almost_right_text_parses_or_is_refused_and_prints_as_what_it_is(text in almost_expression()) {
        check_round_trip(&text)?;
    }

    #[test]
    fn right_text_parses_and_prints_as_what_it_is(text in expression()) {
        prop_assert!(parse_expression(&text).is_ok(), "{:?}: {:?}", text, parse_expression(&text));
        check_round_trip(&text)?;
    }

    #[test]
    fn any_file_loads_or_is_refused(text in any::<String>()) {
        if let Ok(rules) = parse_policy_file(&text) {
            let _ = RuleSet::build(&[], &rules);
        }
    }

    #[test]
    fn an_explanation_agrees_with_the_check(text in expression(), id in "[a-z]", other in "[a-z]") {
        let Ok((set, _)) = RuleSet::build(&[], &overrides([("rule", text.as_str().into())])) else {
            return Ok(());
        };
        let credentials = object(json!({"abc": id, "roles": [id], "user": {"id": other}}));
        let target = object(json!({"a": id, "": other}));
        let expected = match set.try_check("rule", &credentials, &target) {
            Ok(true) => Verdict::Passed,
            Ok(false) => Verdict::Failed,
            Err(_) => Verdict::Faulted,
        };
        prop_assert_eq!(set.explain("rule", &credentials, &target).map(|root| root.verdict), Some(expected));
    }
}

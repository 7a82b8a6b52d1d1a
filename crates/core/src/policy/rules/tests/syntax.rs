//! Expressions: what they mean, and where they are refused.

use super::*;

fn holds(text: &str) -> bool {
    allowed(text, json!({}), json!({}))
}

fn error(text: &str) -> (Place, Reason) {
    let error = parse_expression(text).unwrap_err();
    (error.place, error.reason)
}

fn at(character: usize, reason: Reason) -> (Place, Reason) {
    (Place::Character(character), reason)
}

#[test]
fn constants_and_operators() {
    for text in ["", "@", "not !", "not not @", "(@)", "@ or !", "@ AND @", "! or @ and @", "NOT(!)or!"] {
        // The last one lacks white space and is a single, meaningless word.
        if text.ends_with("or!") {
            assert_eq!(error(text).1, Reason::NoColon);
        } else {
            assert!(holds(text), "{text}");
        }
    }
    for text in ["!", "not @", "@ and !", "! or !", "not ( @ )", "((!))"] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn not_binds_closer_than_and_and_that_closer_than_or() {
    assert!(holds("@ or ! and !"));
    assert!(!holds("(@ or !) and !"));
    assert!(holds("! and ! or @"));
    assert!(!holds("! and (! or @)"));
    assert!(holds("not ! or @ and !"));
    assert!(!holds("not (! or @) and @"));
    assert_eq!(parse_expression("a:1 or b:2 and (c:3) and not (d:4 or @)").unwrap().to_string(), {
        "a:1 or b:2 and c:3 and not (d:4 or @)"
    });
}

#[test]
fn white_space_is_unicode_white_space_and_the_separators() {
    assert!(holds("\u{a0}@\u{2003}and\u{1f}\n@\u{3000}"));
}

#[test]
fn roles_are_compared_without_case() {
    let credentials = json!({"roles": ["Admin", "STRASSE", "ΣΊΣΥΦΟΣ"]});
    for (text, expected) in [
        ("role:admin", true),
        ("role:ADMIN", true),
        ("role:σίσυφος", true),
        ("role:strasse", true),
        ("role:straße", false),
        ("role:adm", false),
        ("role:%(role)s", true),
        ("role:%(none)s", false),
    ] {
        assert_eq!(allowed(text, credentials.clone(), json!({"role": "aDMIN"})), expected, "{text}");
    }
    assert!(!allowed("role:admin", json!({}), json!({})));
}

#[test]
fn credentials_are_compared_as_python_text_with_case() {
    let credentials = json!({
        "user_id": "alice", "none": null, "yes": true, "seven": 7, "half": 0.5,
        "user": {"domain": {"id": "default"}, "tags": ["x", 1]}, "groups": [{"id": "a"}, {"id": "b"}],
        "OS-TRUST": {"id": "t"},
    });
    let target = json!({"owner": "alice", "none": null, "true": true, "7": 7, "half": 0.5, "a.b": "default"});
    for (text, expected) in [
        ("user_id:alice", true),
        ("user_id:Alice", false),
        ("user_id:%(owner)s", true),
        ("user_id:%(missing)s", false),
        ("missing:%(owner)s", false),
        ("none:None", true),
        ("none:%(none)s", true),
        ("none:", false),
        ("yes:True", true),
        ("yes:%(true)s", true),
        ("yes:true", false),
        ("seven:%(7)s", true),
        ("half:%(half)s", true),
        ("user.domain.id:%(a.b)s", true),
        ("user.tags:x", true),
        ("user.tags:1", true),
        ("user.tags:y", false),
        ("groups.id:b", true),
        ("groups.id:c", false),
        ("OS-TRUST.id:t", true),
        ("user_id:al%(missing)sce", false),
        ("user_id:%%", false),
        ("'Alice':%(owner)s", false),
        ("\"alice\":%(owner)s", true),
        ("True:%(true)s", true),
        ("None:%(none)s", true),
        ("7:%(7)s", true),
        ("0.50:%(half)s", true),
        ("'<alice@7>':<%(owner)s@%(7)s>", true),
        ("'100%':100%%", true),
    ] {
        assert_eq!(allowed(text, credentials.clone(), target.clone()), expected, "{text}");
    }
}

#[test]
fn system_stands_for_system_scope() {
    assert!(allowed("system:all", json!({"system_scope": "all"}), json!({})));
    assert!(allowed("system:all", json!({"system": "old", "system_scope": "all"}), json!({})));
    assert!(allowed("system:all", json!({"system": "all", "system_scope": null}), json!({})));
    assert!(!allowed("system:all", json!({"system_scope": ""}), json!({})));
}

#[test]
fn a_fault_denies_even_when_negated() {
    let credentials = json!({"user": "alice", "roles": "admin"});
    for text in ["user.id:x", "not user.id:x", "user.id:x or @", "@ and not (user.id:x and !)"] {
        assert_eq!(try_one(text, credentials.clone(), json!({})), Err(Fault::NotAMapping), "{text}");
    }
    assert_eq!(try_one("@ or user.id:x", credentials.clone(), json!({})), Ok(true));
    assert_eq!(try_one("not role:admin", credentials, json!({})), Err(Fault::Roles));
    assert_eq!(try_one("not role:a", json!({"roles": ["a", 1]}), json!({})), Err(Fault::Roles));
    let set = build(&[("rule", "not user.id:x")]);
    assert!(!set.check("rule", &object(json!({"user": null})), &()));
}

#[test]
fn structure_errors_tell_the_place() {
    assert_eq!(error("  "), at(1, Reason::Blank));
    assert_eq!(error("@ and"), at(6, Reason::Unfinished));
    assert_eq!(error("not"), at(4, Reason::Unfinished));
    assert_eq!(error("and @"), at(1, Reason::CheckExpected));
    assert_eq!(error("@ or or @"), at(6, Reason::CheckExpected));
    assert_eq!(error("( )"), at(3, Reason::CheckExpected));
    assert_eq!(error("@ @"), at(3, Reason::OperatorExpected));
    assert_eq!(error("(@ @)"), at(4, Reason::OperatorExpected));
    assert_eq!(error("@ not @"), at(3, Reason::OperatorExpected));
    assert_eq!(error("@ and ((@)"), at(7, Reason::Unclosed));
    assert_eq!(error("@ or @))"), at(7, Reason::Unopened));
    assert_eq!(error("é:x"), at(1, Reason::Subject));
    assert_eq!(error("a:é and (role:ü or b)"), at(20, Reason::NoColon));
}

#[test]
fn check_errors_tell_the_reason() {
    for (text, reason) in [
        ("admin", Reason::NoColon),
        ("@@", Reason::NoColon),
        ("'quoted'", Reason::Quoted),
        ("'a':'b'", Reason::Quoted),
        ("('a':b')", Reason::Quoted),
        ("http://host/", Reason::Remote),
        ("https:x", Reason::Remote),
        (":x", Reason::Subject),
        ("a..b:x", Reason::Subject),
        ("user.0:x", Reason::Subject),
        ("user.class:x", Reason::Subject),
        ("a-1.b:x", Reason::Subject),
        ("a+b:x", Reason::Subject),
        ("07:x", Reason::Subject),
        ("1e3:x", Reason::Subject),
        ("'it\\'s':x", Reason::Subject),
        ("'a:x", Reason::Subject),
        ("%(a)s:x", Reason::Subject),
        ("a:%", Reason::Format),
        ("a:%s", Reason::Format),
        ("a:%(b", Reason::Format),
        ("a:%(b)d", Reason::Format),
        ("role:%(b)", Reason::Format),
    ] {
        assert_eq!(error(text).1, reason, "{text}");
    }
    let error = parse_expression("@ or a:%s").unwrap_err().to_string();
    assert_eq!(
        error,
        "character 6, near \"a:%s\": `%` must be `%(name)s`, a value of the target, or `%%`, the sign itself"
    );
    let long = parse_expression(&"x".repeat(100)).unwrap_err().near;
    assert_eq!(long.chars().count(), 41);
}

#[test]
fn limits_of_an_expression() {
    let nested = |depth: usize| format!("{}@{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse_expression(&nested(MAX_NESTING)).is_ok());
    assert_eq!(error(&nested(MAX_NESTING + 1)), at(MAX_NESTING + 1, Reason::TooDeep));
    assert_eq!(error(&nested(20_000)).1, Reason::TooDeep);
    assert!(parse_expression(&format!("{}@", "not ".repeat(MAX_NESTING))).is_ok());
    assert_eq!(error(&format!("{}@", "not ".repeat(MAX_NESTING + 1))).1, Reason::TooDeep);
    assert!(parse_expression(&format!("a:{}", "b".repeat(MAX_EXPRESSION_BYTES - 2))).is_ok());
    assert_eq!(error(&format!("a:{}", "b".repeat(MAX_EXPRESSION_BYTES - 1))).1, Reason::TooLong);
    assert!(parse_expression(&format!("{}:x", ["a"; MAX_PATH].join("."))).is_ok());
    assert_eq!(error(&format!("{}:x", ["a"; MAX_PATH + 1].join("."))).1, Reason::LongPath);
}

#[test]
fn lists_of_lists() {
    let lists = |json: Json| -> RuleText {
        parse_policy_file(&json!({"r": json}).to_string()).unwrap().remove("r").unwrap()
    };
    let credentials = || json!({"roles": ["admin", "two words"], "user_id": "alice"});
    for (rule, expected) in [
        (json!([]), true),
        (json!([[]]), false),
        (json!(["", []]), false),
        (json!([["role:admin", "user_id:alice"]]), true),
        (json!([["role:admin", "user_id:bob"]]), false),
        (json!([["user_id:bob"], "role:admin"]), true),
        (json!(["role:two words"]), true),
        (json!([["@", "!"]]), false),
    ] {
        let text = lists(rule.clone());
        assert_eq!(try_one(text, credentials(), json!({})), Ok(expected), "{rule}");
    }
    let broken = overrides([("r", lists(json!([["@"], ["role:a", "b"]])))]);
    let error = RuleSet::build(&[], &broken).unwrap_err().to_string();
    assert!(error.starts_with("rule \"r\": list 2, check 2, near \"b\": a check is"), "{error}");
}

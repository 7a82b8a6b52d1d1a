//! The policy file.

use super::*;

fn parse(text: &str) -> BTreeMap<String, RuleText> {
    parse_policy_file(text).unwrap()
}

fn refusal(text: &str) -> String {
    parse_policy_file(text).unwrap_err().to_string()
}

#[test]
fn yaml_and_json() {
    let expected = overrides([
        ("secret:get", "role:admin or role:creator".into()),
        ("all", "".into()),
        ("none", "!".into()),
        ("old", RuleText::Lists(vec![vec!["role:a".into()], vec!["role:b".into(), "@".into()], vec![]])),
    ]);
    let yaml = "# Who may read\n\"secret:get\": >-\n  role:admin\n  or role:creator\nall: ''\nnone: \"!\"\n\
                old: ['role:a', ['role:b', '@'], '']\n";
    assert_eq!(parse(yaml), expected);
    let json = "\u{feff}{\n\t\"secret:get\": \"role:admin or role:creator\",\r\n\t\"all\": \"\", \"none\": \"!\",\n\
                \t\"old\": [\"role:a\", [\"role:b\", \"@\"], \"\"]\n}\n";
    assert_eq!(parse(json), expected);
}

#[test]
fn plain_scalars_and_anchors() {
    let yaml = "admin: &admin role:admin\nsecret:get: *admin\nsecret:put: user_id:%(owner)s and not role:x\n";
    let expected = overrides([
        ("admin", "role:admin".into()),
        ("secret:get", "role:admin".into()),
        ("secret:put", "user_id:%(owner)s and not role:x".into()),
    ]);
    assert_eq!(parse(yaml), expected);
}

#[test]
fn an_empty_file_overrides_nothing() {
    for text in ["", "\n", "---\n", "# \"secret:get\": \"role:admin\"\n", "{}", "null"] {
        assert_eq!(parse(text), BTreeMap::new(), "{text:?}");
    }
}

#[test]
fn what_is_no_rule_is_refused_with_name_and_line() {
    for (value, found) in [
        ("", "nothing"),
        ("null", "nothing"),
        ("true", "a truth value"),
        ("7", "a number"),
        ("-7", "a number"),
        ("1.5", "a number"),
        ("{a: b}", "a mapping"),
        ("!", "tagged as"),
        ("!!str", "tagged as"),
        ("!!str '@'", "tagged as"),
    ] {
        let error = refusal(&format!("good: '@'\n'bad:rule': {value}\n"));
        assert!(
            error.contains("\"bad:rule\"") && error.contains(&format!("but is {found}")),
            "{value}: {error}"
        );
        assert!(error.contains("line 2"), "{value}: {error}");
    }
    for value in
        ["@", "!x a", "[!x a]", "[1]", "[[null]]", "[[['role:a']]]", "[[true]]", "[null]", "[{a: b}]"]
    {
        let error = refusal(&format!("good: '@'\nbad: {value}\n"));
        assert!(error.contains("line 2"), "{value}: {error}");
    }
}

#[test]
fn broken_files_are_refused() {
    for text in
        ["- a\n", "text", "7", "a: '@'\n  b: '@'\n", "{", "a: '@'\n---\nb: '@'\n", "[]", "? [a]\n: b\n"]
    {
        assert!(matches!(parse_policy_file(text), Err(RuleError::File { .. })), "{text:?}");
    }
    let twice = refusal("a: '@'\nb: '@'\na: '!'\n");
    assert!(twice.contains("line 3") && twice.contains("a"), "{twice}");
    let merged = refusal("x: &x {}\n<<: *x\n");
    assert!(merged.contains("line"), "{merged}");
}

#[test]
fn limits_of_a_file() {
    let comment = |bytes: usize| format!("#{}", " ".repeat(bytes - 1));
    assert_eq!(parse(&comment(MAX_FILE_BYTES)), BTreeMap::new());
    assert!(matches!(parse_policy_file(&comment(MAX_FILE_BYTES + 1)), Err(RuleError::TooLarge { .. })));
    let many = |count: usize| (0..count).map(|number| format!("r{number}: '@'\n")).collect::<String>();
    assert_eq!(parse(&many(MAX_RULES)).len(), MAX_RULES);
    assert!(refusal(&many(MAX_RULES + 1)).contains("10000 rules"));
    // A small file that aliases make large.
    let long = "x".repeat(60_000);
    let aliases = (0..5_000).map(|number| format!("r{number}: *a\n")).collect::<String>();
    assert!(refusal(&format!("a: &a role:{long}\n{aliases}")).contains("longer than"));
    let list = vec!["*a"; 5_000].join(", ");
    assert!(refusal(&format!("a: &a role:{long}\nb: [{list}]\n")).contains("longer than"));
    assert!(refusal(&format!("a: &a role:{long}\nb: [[{list}]]\n")).contains("longer than"));
    let deep = format!("a: {}", "[".repeat(100_000));
    assert!(matches!(parse_policy_file(&deep), Err(RuleError::File { .. })));
}

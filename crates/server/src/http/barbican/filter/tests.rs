use serde_json::json;

use super::*;

fn moment(text: &str) -> Timestamp {
    time::parsed(text).unwrap()
}

fn filter(query: &str) -> Result<SecretFilter, BarbicanError> {
    SecretFilter::read(&Query::read(Some(query)))
}

fn entry(id: &'static str) -> SecretEntry<'static> {
    SecretEntry {
        id,
        name: Some("Volume Key"),
        algorithm: Some("aes"),
        mode: Some("cbc"),
        bit_length: Some(256),
        secret_type: "symmetric",
        created: moment("2027-01-02"),
        updated: moment("2027-01-03T04:05:06"),
        expiration: Some(moment("2028-01-01")),
    }
}

#[test]
fn patterns_are_those_of_sql() {
    for (pattern, text, fits) in [
        ("abc", "ABC", true),
        ("abc", "abcd", false),
        ("a%", "abc", true),
        ("%c", "abc", true),
        ("%b%", "abc", true),
        ("%", "", true),
        ("%%%", "abc", true),
        ("a_c", "abc", true),
        ("a_c", "ac", false),
        ("_", "ä", true),
        ("a%b%c", "a--b--b-c", true),
        ("a%b%c", "a--b--b-", false),
        ("%a%a%a%a%a%a%a%b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ("STRASSE%", "strasse 7", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(Like::new(pattern).matches(Some(text)), fits, "{pattern} {text}");
    }
    assert!(!Like::new("%").matches(None));
    assert!(!Like::new(&"x".repeat(10_000)).matches(Some(&"x".repeat(255))));
}

#[test]
fn filters_show_what_fits() {
    for (query, shown) in [
        ("", true),
        ("name=volume%20key", true),
        ("name=vol%25", true),
        ("name=vol", false),
        ("name=", true),
        ("alg=A_S&mode=CBC&bits=256", true),
        ("bits=128", false),
        ("bits=x", true),
        ("secret_type=symmetric", true),
        ("secret_type=nonsense", false),
        ("created=2027-01-02T00:00:00", true),
        ("created=2027-01-02T00:00:01", false),
        ("created=gt:2027-01-01,lt:2027-01-03", true),
        ("created=gt:2027-01-02", false),
        ("created=gte:2027-01-02,lte:2027-01-02", true),
        ("updated=gte:2027-01-03T04:05:06", true),
        ("updated=lt:2027-01-03T04:05:06", false),
        ("expiration=lte:2028-01-01", true),
        ("unknown=1&limit=x", true),
        ("bits=256&bits=1", true),
    ] {
        assert_eq!(filter(query).unwrap().matches(&entry("a")), shown, "{query}");
    }
    let bare = SecretEntry {
        name: None,
        algorithm: None,
        mode: None,
        bit_length: None,
        expiration: None,
        ..entry("b")
    };
    for query in ["name=%25", "alg=%25", "mode=_", "bits=1", "expiration=gt:1990-01-01"] {
        assert!(!filter(query).unwrap().matches(&bare), "{query}");
    }
    assert!(filter("limit=1&offset=2&x=y").unwrap().is_plain());
    assert!(!filter("sort=name").unwrap().is_plain());
    assert!(filter("acl_only=TRUE").unwrap().acl_only() && !filter("acl_only=1").unwrap().acl_only());
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (query, name) in [
        ("created=yesterday", "created"),
        ("created=eq:2027-01-01", "created"),
        ("updated=gt:2027-01-01,gte:2027-01-02", "updated"),
        ("updated=lt:2027-01-01,lt:2027-01-02", "updated"),
        ("expiration=2027-01-01,2027-01-02", "expiration"),
        ("expiration=2027-01-01,gte:2027-01-02", "expiration"),
        ("expiration=lte:2027-01-02,2027-01-01", "expiration"),
        ("created=2027-01-01,", "created"),
        ("created=2027-01-01T00:00:00+02:00", "created"),
        ("sort=color", "sort"),
        ("sort=name:up", "sort"),
        ("sort=name,name:desc", "sort"),
        ("sort=name:asc:desc", "sort"),
        ("sort=name,", "sort"),
    ] {
        let error = filter(query).unwrap_err();
        assert_eq!((error.status(), error.property()), (400, Some(name)), "{query}");
    }
}

#[test]
fn lists_are_sorted() {
    let first = SecretEntry { name: Some("b"), bit_length: None, ..entry("1") };
    let second = SecretEntry { name: Some("a"), created: moment("2027-01-03"), ..entry("2") };
    let third =
        SecretEntry { name: Some("a"), created: moment("2027-01-02"), expiration: None, ..entry("3") };
    for (query, expected) in [
        ("", "132"),
        ("sort=name", "321"),
        ("sort=name:desc", "132"),
        ("sort=name:asc,created:desc", "231"),
        ("sort=bit_length", "132"),
        ("sort=bit_length:desc", "321"),
        ("sort=expiration", "312"),
        ("sort=status:desc", "132"),
        ("sort=created:desc", "213"),
        ("sort=secret_type,algorithm,mode,updated", "132"),
    ] {
        let filter = filter(query).unwrap();
        let mut entries = [first, second, third];
        entries.sort_by(|left, right| filter.compare(left, right));
        assert_eq!(entries.map(|entry| entry.id).concat(), expected, "{query}");
    }
}

#[test]
fn containers_and_orders_are_filtered() {
    let containers = ContainerFilter::read(&Query::read(Some("name=a%25&type=rsa")));
    assert!(containers.matches(Some("Abc"), "rsa"));
    assert!(!containers.matches(Some("Abc"), "generic") && !containers.matches(None, "rsa"));
    assert!(ContainerFilter::default().matches(None, "generic"));
    let meta = json!({"algorithm": "aes", "name": null});
    let meta = meta.as_object().unwrap();
    let orders = |query| OrderFilter::read(&Query::read(Some(query))).matches(meta);
    for (query, found) in
        [("", true), ("meta=aes", true), ("meta=algorithm", true), ("meta=ae", false), ("meta=rsa", false)]
    {
        assert_eq!(orders(query), found, "{query}");
    }
}

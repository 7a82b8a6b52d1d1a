use std::sync::Arc;

use chatelaine_core::id::RequestId;
use chatelaine_core::policy::{Caller, Identity};

use super::*;

fn text(value: Option<Value<'_>>) -> Option<String> {
    value.and_then(Value::into_text).map(std::borrow::Cow::into_owned)
}

#[test]
fn the_described_caller_answers_as_the_real_one() {
    let identity = Identity {
        user_id: "u1".to_owned(),
        project_id: Some("p1".to_owned()),
        project_domain_id: Some("d1".to_owned()),
        roles: vec!["service".to_owned(), "reader".to_owned()],
        ..Identity::default()
    };
    let service =
        Identity { user_id: "s1".to_owned(), roles: vec!["service".to_owned()], ..Identity::default() };
    let described = DescribedCaller {
        roles: vec!["Service".to_owned(), "READER".to_owned()],
        user_id: Some("u1".to_owned()),
        project_id: Some("p1".to_owned()),
        project_domain_id: Some("d1".to_owned()),
        ..DescribedCaller::default()
    };
    let vouched = DescribedCaller {
        service_user_id: Some("s1".to_owned()),
        service_roles: vec!["SERVICE".to_owned()],
        ..described.clone()
    };
    for (described, service) in [(described, None), (vouched, Some(Arc::new(service)))] {
        let real = Caller::authenticated(Arc::new(identity.clone()), service, None, RequestId::random());
        let described = described.in_lower_case();
        for name in [
            "user_id",
            "project_id",
            "tenant",
            "domain_id",
            "project_domain_id",
            "system_scope",
            "roles",
            "is_admin",
            "service_user_id",
            "service_roles",
            "trust_id",
            "user_name",
            "",
        ] {
            assert_eq!(text(described.value(name)), text(real.value(name)), "{name}");
        }
    }
}

//! The functions behind `chatelaine identity add | list | remove`.

use super::*;
use crate::identity::Removed;

fn new(user_name: &str, project: &str, roles: &[&str]) -> NewIdentity {
    NewIdentity {
        user_name: user_name.into(),
        project: project.into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        user_id: None,
        project_id: None,
        expires_at: None,
    }
}

#[tokio::test]
async fn a_token_is_rotated_by_adding_one_and_removing_the_other() {
    let bench = Bench::new();
    bench.open().await;
    let (_, old) = bench.tokens();
    let before = list(&bench.file()).unwrap();
    let fresh = add(&bench.file(), &new("service", "service", &["service"]), bench.clock.now()).unwrap();
    let after = list(&bench.file()).unwrap();
    assert_eq!(after[..2], before[..], "the others stay as they are");
    assert_eq!((&after[2].user_id, &after[2].project_id), (&before[1].user_id, &before[1].project_id));
    assert_ne!(after[2].token, after[1].token);
    assert_eq!(remove(&bench.file(), "service", Some(&after[1].token)).unwrap().count, 1);
    let identities = bench.open().await;
    ask(&identities, &fresh, None).await.unwrap();
    assert_eq!(reason(ask(&identities, &old, None).await), "the token is not known");
    assert_eq!((mode(&bench.file()), list(&bench.file()).unwrap().len()), (0o600, 2));
}

#[test]
fn projects_are_found_by_name_and_id() {
    let bench = Bench::new();
    let file = bench.folder.path().join("f.toml");
    let now = bench.clock.now();
    let id = "0123456789abcdef0123456789abcdef";
    for project in ["demo", "demo", id, id] {
        add(&file, &new("u", project, &["Reader"]), now).unwrap();
    }
    let listed = list(&file).unwrap();
    assert_eq!(listed[0].project_id, listed[1].project_id);
    assert_eq!((listed[0].project_name.as_deref(), listed[0].project_id.len()), (Some("demo"), 32));
    assert_eq!((listed[2].project_id.as_str(), &listed[2].project_name), (id, &None));
    assert_eq!(listed[2].project_id, listed[3].project_id);
    assert_eq!(listed[0].roles, ["reader"]);
    add(&file, &new("v", &listed[0].project_id, &["reader"]), now).unwrap();
    assert_eq!(list(&file).unwrap()[4].project_name.as_deref(), Some("demo"));
    assert_eq!(mode(&file), 0o600);
    assert_eq!(remove(&file, &listed[0].user_id, None).unwrap().count, 4, "a user is found by id as well");
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let bench = Bench::new();
    let file = bench.folder.path().join("f.toml");
    let now = bench.clock.now();
    add(&file, &new("u", "p", &["reader"]), now).unwrap();
    let before = std::fs::read(&file).unwrap();
    let expired = NewIdentity { expires_at: Some(now), ..new("u", "p", &["reader"]) };
    for bad in
        [new("", "p", &["r"]), new("u", "p\n", &["r"]), new("u", "p", &[]), new("u", "p", &["a b"]), expired]
    {
        assert!(matches!(add(&file, &bad, now), Err(IdentityError::Edit(_))), "{bad:?}");
    }
    let token = list(&file).unwrap()[0].token.clone();
    for (user, digits) in
        [("v", None), ("u", Some("0123")), ("u", Some("ffffffffffffffff")), ("v", Some(token.as_str()))]
    {
        assert!(matches!(remove(&file, user, digits), Err(IdentityError::Edit(_))), "{user} {digits:?}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
    std::fs::write(&file, "[[identity]").unwrap();
    assert!(add(&file, &new("u", "p", &["reader"]), now).is_err());
    assert!(remove(&file, "u", None).is_err() && list(&file).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"[[identity]", "a file that does not parse is not written to");
    assert!(list(&bench.folder.path().join("none")).unwrap_err().to_string().contains("does not exist"));
}

#[test]
fn edits_at_the_same_time_lose_nothing() {
    let bench = Bench::new();
    let file = bench.folder.path().join("f.toml");
    let now = bench.clock.now();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let file = &file;
            scope.spawn(move || add(file, &new(&format!("user-{number}"), "p", &["reader"]), now).unwrap());
        }
    });
    let listed = list(&file).unwrap();
    assert_eq!(listed.len(), 8);
    assert!(listed.iter().all(|identity| identity.project_id == listed[0].project_id));
}

#[test]
fn an_edit_goes_through_a_symbolic_link() {
    let bench = Bench::new();
    let (file, link) = (bench.folder.path().join("real.toml"), bench.folder.path().join("link.toml"));
    let now = bench.clock.now();
    add(&file, &new("u", "p", &["reader"]), now).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    add(&link, &new("v", "p", &["reader"]), now).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(list(&file).unwrap().len(), 2);
}

#[test]
fn listing_shows_moments_as_text_and_no_token() {
    let bench = Bench::new();
    let file = bench.folder.path().join("f.toml");
    let now = bench.clock.now();
    let expires_at = Some(now.plus(Duration::from_secs(60)));
    let token = add(&file, &NewIdentity { expires_at, ..new("u", "p", &["reader"]) }, now).unwrap();
    let shown = serde_json::to_value(list(&file).unwrap()).unwrap();
    assert_eq!(shown[0]["expires_at"], "2026-11-24T10:01:00.000000Z");
    assert_eq!(shown[0]["token"], hex::encode(token::digest(&token))[..16]);
    assert!(!shown.to_string().contains(&token.expose()[11..]));
}

/// Keys belong to ids: who has lost the last token comes back under the same id, and nobody else takes it.
#[tokio::test]
async fn a_user_comes_back_under_the_same_id() {
    let bench = Bench::new();
    let file = bench.folder.path().join("f.toml");
    let now = bench.clock.now();
    add(&file, &new("keeper", "home", &["service"]), now).unwrap();
    add(&file, &new("keeper", "home", &["service"]), now).unwrap();
    add(&file, &new("other", "home", &["service"]), now).unwrap();
    let before = list(&file).unwrap();
    let (user, project) = (before[0].user_id.clone(), before[0].project_id.clone());
    assert_eq!(remove(&file, "keeper", Some(&before[0].token)).unwrap().last_of, None);
    let removed = remove(&file, "keeper", None).unwrap();
    assert_eq!(removed, Removed { count: 1, last_of: Some(("keeper".into(), user.clone())) });

    let back = |name: &str, project_id: &str| NewIdentity {
        user_id: Some(user.clone()),
        project_id: Some(project_id.to_owned()),
        ..new(name, "home", &["service"])
    };
    for wrong in [back("other", &project), back("keeper", "elsewhere"), back("keeper", "no id")] {
        assert!(matches!(add(&file, &wrong, now), Err(IdentityError::Edit(_))), "{wrong:?}");
    }
    add(&file, &back("keeper", &project), now).unwrap();
    assert!(matches!(add(&file, &back("thief", &project), now), Err(IdentityError::Edit(_))));
    let after = list(&file).unwrap();
    assert_eq!((&after[1].user_id, &after[1].project_id), (&user, &project));
}

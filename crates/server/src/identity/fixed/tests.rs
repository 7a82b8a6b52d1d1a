use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chatelaine_core::clock::ManualClock;
use chatelaine_core::id::RequestId;

use super::super::{AuthenticationError, Identities, IdentityConfig, NewIdentity, Presented, Request};
use super::super::{add, list, remove};
use super::*;

const URL: &str = "http://127.0.0.1:9311";

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_micros(1_795_000_000_000_000)))
}

async fn open(folder: &Path, clock: &Arc<ManualClock>) -> Result<(Identities, Option<FirstStart>), String> {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    Identities::open(&IdentityConfig::default(), folder, URL, clock).await.map_err(|error| error.to_string())
}

async fn who(
    identities: &Identities,
    token: &SecretText,
) -> Result<(String, Vec<String>), AuthenticationError> {
    let request_id = RequestId::random();
    let request = Request { method: "GET", path: "/v1/keys", address: None, request_id: &request_id };
    let presented = Presented { token: Some(token), service_token: None };
    let caller = identities.authenticate(presented, request).await?;
    Ok((caller.identity().user_name.clone(), caller.identity().roles.clone()))
}

fn refused<T>(result: &Result<T, AuthenticationError>) -> bool {
    matches!(result, Err(AuthenticationError::Refused { .. }))
}

/// The tokens of a first start, as the file shows them.
fn tokens(file: &Path) -> Vec<SecretText> {
    let text = std::fs::read_to_string(file).unwrap();
    let found = text.lines().filter_map(|line| line.trim().strip_prefix("token: \"")?.strip_suffix('"'));
    found.map(SecretText::new).collect()
}

fn cinder(expires_at: Option<Timestamp>) -> NewIdentity {
    NewIdentity {
        user_name: "cinder".to_owned(),
        project: "service".to_owned(),
        roles: vec!["Service".to_owned()],
        expires_at,
    }
}

#[tokio::test]
async fn the_first_start_makes_two_identities_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let (identities, first) = open(folder.path(), &clock()).await.unwrap();
    let file = first.unwrap().clouds_file;
    let tokens = tokens(&file);
    assert_eq!(tokens.len(), 2);
    assert_eq!(
        who(&identities, &tokens[0]).await.unwrap(),
        ("administrator".to_owned(), vec!["admin".to_owned()])
    );
    assert_eq!(
        who(&identities, &tokens[1]).await.unwrap(),
        ("service".to_owned(), vec!["service".to_owned()])
    );
    for name in ["clouds.yaml", "identities.toml"] {
        let path = folder.path().join(name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let kept = std::fs::read_to_string(folder.path().join("identities.toml")).unwrap();
    assert!(tokens.iter().all(|token| !kept.contains(token.expose())), "a token is kept in the clear");
    // The second start makes nothing.
    let (again, first) = open(folder.path(), &clock()).await.unwrap();
    assert!(first.is_none());
    assert!(who(&again, &tokens[1]).await.is_ok());
}

/// T-TOKEN-FORGED: only the token that was handed out is good.
#[tokio::test]
async fn what_was_not_handed_out_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (identities, first) = open(folder.path(), &clock()).await.unwrap();
    let good = tokens(&first.unwrap().clouds_file).remove(1);
    let mut forged = good.expose().to_owned();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);
    let kept = std::fs::read_to_string(folder.path().join("identities.toml")).unwrap();
    let digest = kept.split('"').find(|part| part.len() == 64).unwrap();
    for wrong in [forged.as_str(), digest, "chatelaine_", "x", &"x".repeat(9000), "a\nb"] {
        assert!(refused(&who(&identities, &SecretText::new(wrong)).await), "{wrong}");
    }
    assert_eq!(who(&identities, &SecretText::new("")).await.unwrap_err(), AuthenticationError::Missing);
}

/// T-TOKEN-EXPIRED.
#[tokio::test]
async fn a_token_ends_when_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let (_, _) = open(folder.path(), &clock).await.unwrap();
    let file = folder.path().join("identities.toml");
    let end = clock.now().plus(Duration::from_secs(60));
    let token = add(&file, &cinder(Some(end)), clock.now()).unwrap();
    let (identities, _) = open(folder.path(), &clock).await.unwrap();
    assert_eq!(who(&identities, &token).await.unwrap().1, ["service"]);
    clock.advance(Duration::from_secs(60));
    assert!(refused(&who(&identities, &token).await));
}

/// T-TOKEN-REVOKED: a removed token ends within a second, without a restart.
#[tokio::test]
async fn changes_of_the_file_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let (identities, _) = open(folder.path(), &clock).await.unwrap();
    let file = folder.path().join("identities.toml");
    let token = add(&file, &cinder(None), clock.now()).unwrap();
    clock.advance(Duration::from_secs(2));
    assert!(who(&identities, &token).await.is_ok());
    assert_eq!(list(&file).unwrap().len(), 3);
    assert_eq!(remove(&file, "cinder", None).unwrap(), 1);
    clock.advance(Duration::from_secs(2));
    assert!(refused(&who(&identities, &token).await));
    assert!(remove(&file, "cinder", None).is_err());
}

#[tokio::test]
async fn a_broken_file_leaves_the_identities_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let (identities, first) = open(folder.path(), &clock).await.unwrap();
    let token = tokens(&first.unwrap().clouds_file).remove(1);
    let file = folder.path().join("identities.toml");
    std::fs::write(&file, "[[identity]\n").unwrap();
    clock.advance(Duration::from_secs(2));
    assert!(who(&identities, &token).await.is_ok());
    assert!(identities.reload().await.is_err());
    assert!(who(&identities, &token).await.is_ok());
    assert!(open(folder.path(), &clock).await.unwrap_err().contains("identities.toml"));
}

/// T-KEYFILE-READABLE: a file that others can read or change is not believed.
#[tokio::test]
async fn a_file_open_to_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), &clock()).await.unwrap();
    let file = folder.path().join("identities.toml");
    for mode in [0o644, 0o622, 0o666] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = open(folder.path(), &clock()).await.unwrap_err();
        assert!(error.contains("identities.toml"), "{mode:o}: {error}");
    }
}

/// Tokens whose identities were lost do not make the next start hand out new ones silently.
#[tokio::test]
async fn lost_identities_are_not_made_anew_beside_old_tokens() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), &clock()).await.unwrap();
    std::fs::remove_file(folder.path().join("identities.toml")).unwrap();
    let error = open(folder.path(), &clock()).await.unwrap_err();
    assert!(error.contains("clouds.yaml"), "{error}");
}

/// A first start that ended between its two files is finished by the next.
#[tokio::test]
async fn a_first_start_that_was_cut_off_heals() {
    let folder = tempfile::tempdir().unwrap();
    let (_, first) = open(folder.path(), &clock()).await.unwrap();
    let file = first.unwrap().clouds_file;
    let token = tokens(&file).remove(1);
    let pending = folder.path().join(".clouds.yaml.pending");
    std::fs::rename(&file, &pending).unwrap();
    let (identities, first) = open(folder.path(), &clock()).await.unwrap();
    assert_eq!(first.unwrap().clouds_file, file);
    assert!(who(&identities, &token).await.is_ok());
    // Tokens without identities were never good for anything.
    std::fs::rename(&file, &pending).unwrap();
    std::fs::remove_file(folder.path().join("identities.toml")).unwrap();
    let (identities, _) = open(folder.path(), &clock()).await.unwrap();
    assert!(refused(&who(&identities, &token).await));
    assert!(who(&identities, &tokens(&file)[1]).await.is_ok());
}

mod caches;
mod fake;

use std::path::PathBuf;

use chatelaine_client::SecretText;
use chatelaine_core::Clock;
use chatelaine_core::clock::SystemClock;
use chatelaine_core::id::RequestId;
use chatelaine_core::policy::Caller;
use serde_json::{Value, json};

use self::fake::{Fake, Mode, Question};
use super::super::{Identities, IdentityConfig, IdentityKind, Kind};
use super::*;

/// Identities that ask a fake Keystone.
struct Bench {
    fake: Fake,
    folder: tempfile::TempDir,
    identities: Arc<Identities>,
}

fn write_private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn config(url: &str, password_file: PathBuf) -> IdentityConfig {
    let keystone = KeystoneSettings {
        auth_url: url.to_owned(),
        username: "chatelaine".into(),
        password_file,
        project_name: "service".into(),
        timeout: 10,
        ..KeystoneSettings::default()
    };
    IdentityConfig { kind: IdentityKind::Keystone, keystone, ..IdentityConfig::default() }
}

impl Bench {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut KeystoneSettings)) -> Self {
        let fake = Fake::start().await;
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        write_private(&password_file, "password-canary\n");
        let mut config = config(&fake.url, password_file);
        change(&mut config.keystone);
        let clock: Arc<dyn Clock> = Arc::<chatelaine_core::clock::ManualClock>::clone(&fake.clock);
        let (identities, first_start) =
            Identities::open(&config, folder.path(), "http://127.0.0.1:9311", clock).await.unwrap();
        assert!(first_start.is_none());
        Self { fake, folder, identities: Arc::new(identities) }
    }

    fn inner(&self) -> &KeystoneIdentities {
        match &self.identities.0 {
            Kind::Keystone(identities) => identities,
            Kind::Static(_) => unreachable!("the kind is keystone"),
        }
    }

    async fn ask(&self, token: &str, service: Option<&str>) -> Result<Caller, AuthenticationError> {
        ask(&self.identities, token, service, "GET", "/v1/secrets/a").await
    }

    async fn request(&self, token: &str, service: Option<&str>, method: &str, path: &str) -> bool {
        ask(&self.identities, token, service, method, path).await.is_ok()
    }

    /// The answer must be a refusal; gives its reason.
    async fn refusal(&self, token: &str, service: Option<&str>) -> &'static str {
        match self.ask(token, service).await.unwrap_err() {
            AuthenticationError::Refused { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    fn advance(&self, seconds: u64) {
        self.fake.clock.advance(Duration::from_secs(seconds));
    }
}

async fn ask(
    identities: &Identities,
    token: &str,
    service: Option<&str>,
    method: &str,
    path: &str,
) -> Result<Caller, AuthenticationError> {
    let (token, service) = (SecretText::new(token), service.map(SecretText::new));
    let request_id = RequestId::random();
    let presented = Presented { token: Some(&token), service_token: service.as_ref() };
    let request = Request { method, path, address: None, request_id: &request_id };
    identities.authenticate(presented, request).await
}

/// Waits for something that other tasks bring about.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn role(name: &str) -> Value {
    json!([{"id": "r", "name": name}])
}

/// What a token says is what the caller is, for each kind of scope and for a trust.
#[tokio::test]
async fn the_caller_is_what_the_token_says() {
    let bench = Bench::new().await;
    bench.fake.issue("project", 600, |_| ());
    let caller = bench.ask("project", None).await.unwrap();
    let identity = caller.identity();
    assert_eq!(identity.user_id, "user-of-project");
    assert_eq!(identity.project_id.as_deref(), Some("project"));
    assert_eq!(identity.roles, ["member", "reader"], "roles are lower case");
    assert_eq!(identity.expires_at, Some(bench.fake.clock.now().plus(Duration::from_secs(600))));
    assert!(identity.trust.is_none() && identity.domain_id.is_none() && !identity.system);
    assert!(caller.service().is_none());

    let unscoped = |details: &mut Value| {
        details.as_object_mut().unwrap().remove("project");
    };
    bench.fake.issue("domain", 600, |details| {
        unscoped(details);
        details["domain"] = json!({"id": "d1", "name": "D"});
    });
    bench.fake.issue("system", 600, |details| {
        unscoped(details);
        details["system"] = json!({"all": true});
    });
    bench.fake.issue("unscoped", 600, |details| {
        unscoped(details);
        details["roles"] = json!([]);
    });
    bench.fake.issue("trust", 600, |details| {
        details["OS-TRUST:trust"] = json!({"id": "t1", "impersonation": true,
            "trustee_user": {"id": "cinder"}, "trustor_user": {"id": "user-of-trust"}});
    });
    let domain = bench.ask("domain", None).await.unwrap();
    assert_eq!((domain.identity().domain_id.as_deref(), &domain.identity().project_id), (Some("d1"), &None));
    let system = bench.ask("system", None).await.unwrap();
    assert!(system.identity().system && system.identity().project_id.is_none());
    let nothing = bench.ask("unscoped", None).await.unwrap();
    assert!(nothing.identity().roles.is_empty() && nothing.identity().project_id.is_none());
    let trust = bench.ask("trust", None).await.unwrap().identity().trust.clone().unwrap();
    assert_eq!((trust.id.as_str(), trust.trustor_user_id.as_str()), ("t1", "user-of-trust"));
    assert_eq!((trust.trustee_user_id.as_str(), trust.impersonation), ("cinder", true));
}

/// T-TOKEN-FORGED: what cannot be a token is refused without a question.
#[tokio::test]
async fn no_question_is_spent_on_what_is_no_token() {
    let bench = Bench::new().await;
    bench.fake.issue("good", 600, |_| ());
    for bad in ["two words", "line\nbreak", "é", &"a".repeat(8193)] {
        assert!(bench.refusal(bad, None).await.contains("no token at all"));
        assert!(bench.refusal("good", Some(bad)).await.contains("service token"));
    }
    assert!(bench.refusal("good", Some("")).await.contains("service token"));
    assert_eq!(bench.ask("", None).await.unwrap_err(), AuthenticationError::Missing);
    let presented = Presented { token: None, service_token: None };
    let request_id = RequestId::random();
    let request = Request { method: "GET", path: "/", address: None, request_id: &request_id };
    let missing = bench.identities.authenticate(presented, request).await.unwrap_err();
    assert_eq!(missing, AuthenticationError::Missing);
    assert_eq!(bench.fake.asked(), 0);
}

/// T-TOKEN-EXPIRED: an expired token counts with a good service token, and with nothing less.
#[tokio::test]
async fn an_expired_token_needs_a_service_that_vouches() {
    let bench = Bench::with(|settings| settings.service_token_roles = vec!["Service".into()]).await;
    bench.fake.issue("user", 60, |_| ());
    bench.fake.issue("nova", 600, |details| details["roles"] = role("service"));
    bench.fake.issue("member", 600, |details| details["roles"] = role("member"));
    bench.fake.issue("old-nova", 60, |details| details["roles"] = role("service"));
    bench.advance(60);

    assert_eq!(bench.refusal("user", None).await, "the token is not valid");
    assert_eq!(
        bench.refusal("user", Some("member")).await,
        "the service token has no role that lets it vouch for others"
    );
    assert_eq!(bench.refusal("user", Some("old-nova")).await, "the service token is not valid");
    assert_eq!(bench.refusal("user", Some("unheard-of")).await, "the service token is not valid");
    let caller = bench.ask("user", Some("nova")).await.unwrap();
    assert_eq!(caller.identity().user_id, "user-of-user");
    assert_eq!(caller.service().unwrap().user_id, "user-of-nova");
    let last = bench.fake.questions().pop().unwrap();
    assert_eq!(last, Question { subject: "user".into(), allow_expired: true });

    let before = bench.fake.asked();
    bench.ask("user", Some("nova")).await.unwrap();
    assert_eq!(bench.fake.asked(), before + 1, "an expired token is not remembered as good");
    bench.fake.revoke("user");
    assert_eq!(bench.refusal("user", Some("nova")).await, "the token is not valid");
    assert_eq!(bench.refusal("user", None).await, "the token is not valid");
}

/// A service token that is not good spoils the request, however good the user's token is.
#[tokio::test]
async fn a_bad_service_token_is_not_ignored() {
    let bench = Bench::new().await;
    bench.fake.issue("user", 600, |_| ());
    bench.fake.issue("member", 600, |_| ());
    bench.ask("user", None).await.unwrap();
    assert!(bench.refusal("user", Some("unheard-of")).await.contains("service token"));
    assert!(bench.refusal("user", Some("member")).await.contains("service token"));
}

/// Rules hold for every request, also for those that the cache answers.
#[tokio::test]
async fn access_rules_are_held_against_each_request() {
    let bench = Bench::new().await;
    let rules = |details: &mut Value| {
        details["roles"] = role("service");
        details["application_credential"] = json!({"id": "ac", "name": "n", "restricted": true, "access_rules": [
            {"id": "1", "service": "key-manager", "method": "GET", "path": "/v1/secrets/*"},
            {"id": "2", "service": "object-store", "method": "POST", "path": "/v1/secrets"}]});
    };
    bench.fake.issue("ruled", 600, rules);
    bench.fake.issue("nova", 600, |details| details["roles"] = role("service"));
    bench.fake.issue("free", 600, |details| {
        details["application_credential"] = json!({"id": "ac2", "name": "n", "restricted": true});
    });
    let caller = bench.ask("ruled", None).await.unwrap();
    assert_eq!(caller.identity().application_credential_id.as_deref(), Some("ac"));
    assert!(bench.request("ruled", None, "GET", "/v1/secrets/b").await);
    for (method, path) in
        [("DELETE", "/v1/secrets/a"), ("POST", "/v1/secrets"), ("GET", "/v1/secrets/a/payload")]
    {
        assert!(!bench.request("ruled", None, method, path).await, "{method} {path}");
    }
    assert_eq!(bench.fake.asked(), 1, "the cache answers, the rules hold");
    assert!(bench.request("ruled", Some("nova"), "DELETE", "/v1/secrets/a").await, "the service vouches");
    assert!(bench.request("free", None, "DELETE", "/v1/secrets/a").await, "no rules, no limit");
    assert!(bench.request("free", Some("ruled"), "GET", "/v1/secrets/a").await);
    assert!(
        !bench.request("free", Some("ruled"), "DELETE", "/v1/secrets/a").await,
        "a service token vouches for nothing outside its own rules"
    );
}

#[tokio::test]
async fn our_own_token_is_renewed_when_keystone_refuses_it() {
    let bench = Bench::new().await;
    bench.fake.issue("user", 600, |_| ());
    bench.fake.forget_own_tokens();
    bench.ask("user", None).await.unwrap();
    assert_eq!((bench.fake.logins().len(), bench.fake.asked()), (2, 1));
}

#[tokio::test]
async fn wrong_credentials_show_at_the_start_and_an_absent_keystone_does_not_stop_it() {
    let bench = Bench::new().await;
    let wrong = bench.folder.path().join("wrong");
    write_private(&wrong, "not-the-password-canary");
    let open = |config: IdentityConfig| async move {
        Identities::open(
            &config,
            std::path::Path::new("/nonexistent"),
            "http://127.0.0.1:9311",
            Arc::new(SystemClock),
        )
        .await
    };
    let error = open(config(&bench.fake.url, wrong)).await.unwrap_err();
    assert!(matches!(error, IdentityError::OwnCredentials(_)), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
    let missing = open(config(&bench.fake.url, bench.folder.path().join("none"))).await.unwrap_err();
    assert!(missing.to_string().contains("identity.keystone.password_file"), "{missing}");
    let no_url = open(config("ftp://x", bench.folder.path().join("password"))).await.unwrap_err();
    assert!(no_url.to_string().contains("identity.keystone.auth_url"), "{no_url}");

    // Nobody listens on a port that was just given back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (absent, _) = open(config(&address, bench.folder.path().join("password"))).await.unwrap();
    assert!(absent.health().await.unwrap_err().contains("Keystone is unavailable"));
    let error = ask(&absent, "user", None, "GET", "/").await.unwrap_err();
    assert!(matches!(error, AuthenticationError::Unavailable { retry_after: RETRY_AFTER, .. }), "{error:?}");
}

#[tokio::test]
async fn an_application_credential_of_our_own() {
    let bench = Bench::with(|settings| {
        settings.application_credential_secret_file = std::mem::take(&mut settings.password_file);
        settings.username.clear();
        settings.application_credential_id = "ac-of-ours".into();
    })
    .await;
    let login = &bench.fake.logins()[0]["auth"];
    assert_eq!(login["identity"]["application_credential"]["id"], "ac-of-ours");
    assert!(login.get("scope").is_none(), "the credential brings its project along");
    assert!(bench.identities.describe().contains("ac-of-ours"));
}

#[tokio::test]
async fn a_changed_password_is_taken_by_reloading() {
    let bench = Bench::new().await;
    bench.fake.issue("user", 600, |_| ());
    bench.fake.change_password("new-canary");
    bench.fake.forget_own_tokens();
    let error = bench.identities.reload().await.unwrap_err();
    assert!(matches!(error, IdentityError::OwnCredentials(_)), "{error}");
    write_private(&bench.folder.path().join("password"), "new-canary\n");
    bench.identities.reload().await.unwrap();
    bench.ask("user", None).await.unwrap();
    assert!(bench.identities.health().await.is_ok());
}

#[tokio::test]
async fn health_and_words_for_people() {
    let bench = Bench::new().await;
    bench.fake.set(Mode::Down);
    let seen = bench.identities.health().await.unwrap_err();
    assert!(seen.contains("503"), "{seen}");
    bench.fake.set(Mode::Up);
    *bench.inner().health.lock().await = None;
    bench.identities.health().await.unwrap();
    bench.fake.set(Mode::Down);
    // As if no time had passed since, however slow this machine is.
    *bench.inner().health.lock().await = Some((Instant::now() + Duration::from_secs(60), Ok(())));
    bench.identities.health().await.unwrap();
    assert_eq!(bench.identities.challenge(), format!("Keystone uri=\"{}/v3\"", bench.fake.url));
    let words = format!("{:?}", bench.identities);
    assert!(words.contains("user `chatelaine`") && words.contains("300 s"), "{words}");
    assert!(!words.contains("canary"), "{words}");
}

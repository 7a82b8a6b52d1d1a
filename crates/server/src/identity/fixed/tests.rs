mod editing;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use chatelaine_core::clock::ManualClock;
use chatelaine_core::id::RequestId;
use chatelaine_core::policy::Caller;

use super::super::{Identities, IdentityConfig, Kind, NewIdentity, Request, add, list, remove};
use super::*;

struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        let start = Timestamp::parse("2026-11-24T10:00:00Z").unwrap();
        Self { folder: tempfile::tempdir().unwrap(), clock: Arc::new(ManualClock::at(start)) }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn file(&self) -> PathBuf {
        self.data().join("identities.toml")
    }

    fn tokens_file(&self) -> PathBuf {
        self.data().join("clouds.yaml")
    }

    fn pending(&self) -> PathBuf {
        self.data().join(".clouds.yaml.pending")
    }

    async fn try_open(&self) -> Result<(Identities, Option<FirstStart>), IdentityError> {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        Identities::open(&IdentityConfig::default(), &self.data(), "http://127.0.0.1:9311", clock).await
    }

    async fn open(&self) -> Identities {
        self.try_open().await.unwrap().0
    }

    /// The tokens of the first start: administrator and service.
    fn tokens(&self) -> (SecretText, SecretText) {
        let text = std::fs::read_to_string(self.tokens_file()).unwrap();
        assert_eq!(text.matches("token:").count(), 2);
        let token = |name: &str| {
            let entry = text.split(&format!("  {name}:\n")).nth(1).unwrap();
            SecretText::new(entry.split("token: \"").nth(1).unwrap().split('"').next().unwrap())
        };
        (token("administrator"), token("service"))
    }

    fn add(&self, user_name: &str, expires_in: Option<u64>) -> SecretText {
        let now = self.clock.now();
        let expires_at = expires_in.map(|seconds| now.plus(Duration::from_secs(seconds)));
        let roles = vec!["Member".to_owned()];
        let new = NewIdentity {
            user_name: user_name.into(),
            project: "demo".into(),
            roles,
            user_id: None,
            project_id: None,
            expires_at,
        };
        add(&self.file(), &new, now).unwrap()
    }

    /// Lets enough time pass for the file to be looked at again.
    fn next_look(&self) {
        self.clock.advance(LOOK_EVERY);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

async fn ask(
    identities: &Identities,
    token: &SecretText,
    service_token: Option<&SecretText>,
) -> Result<Caller, AuthenticationError> {
    let request_id = RequestId::random();
    let address = Some(std::net::IpAddr::from([192, 0, 2, 7]));
    let request = Request { method: "GET", path: "/", address, request_id: &request_id };
    let caller = identities.authenticate(Presented { token: Some(token), service_token }, request).await?;
    assert_eq!((caller.address(), caller.request_id()), (address, &request_id));
    Ok(caller)
}

fn reason(result: Result<Caller, AuthenticationError>) -> &'static str {
    match result.unwrap_err() {
        AuthenticationError::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_start_makes_an_administrator_and_a_service() {
    let bench = Bench::new();
    let (identities, first_start) = bench.try_open().await.unwrap();
    assert_eq!(first_start, Some(FirstStart { clouds_file: bench.tokens_file() }));
    assert_eq!((mode(&bench.data()), mode(&bench.file()), mode(&bench.tokens_file())), (0o700, 0o600, 0o600));
    let (administrator, service) = bench.tokens();
    for token in [&administrator, &service] {
        let digits = token.expose().strip_prefix("chatelaine_").unwrap();
        assert!(digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(!std::fs::read_to_string(bench.file()).unwrap().contains(digits), "only digests are kept");
    }
    let caller = ask(&identities, &administrator, None).await.unwrap();
    assert_eq!(
        (caller.identity().user_name.as_str(), &*caller.identity().roles),
        ("administrator", &["admin", "member", "reader"].map(str::to_owned)[..])
    );
    let other = ask(&identities, &service, None).await.unwrap();
    assert_eq!(
        (other.identity().user_name.as_str(), &*other.identity().roles),
        ("service", &["service".to_owned()][..])
    );
    for caller in [&caller, &other] {
        for id in [&caller.identity().user_id, caller.identity().project_id.as_ref().unwrap()] {
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        }
        assert!(caller.identity().expires_at.is_none() && caller.service().is_none());
    }
    assert_ne!(caller.identity().project_id, other.identity().project_id);
    assert_eq!(identities.challenge(), "Token realm=\"chatelaine\"");
    assert_eq!(identities.counters().entries, 2);
    assert!(identities.describe().contains("2 tokens"));

    let (again, nothing_new) = bench.try_open().await.unwrap();
    assert_eq!(nothing_new, None);
    ask(&again, &administrator, None).await.unwrap();
}

/// A crash may leave the pending tokens alone, or with the identities; each heals.
#[tokio::test]
async fn a_torn_first_start_heals() {
    let bench = Bench::new();
    bench.open().await;
    let (administrator, _) = bench.tokens();

    // Between the identities and the name of the tokens: the tokens get their name.
    std::fs::rename(bench.tokens_file(), bench.pending()).unwrap();
    let (identities, first_start) = bench.try_open().await.unwrap();
    assert_eq!(first_start, Some(FirstStart { clouds_file: bench.tokens_file() }));
    ask(&identities, &administrator, None).await.unwrap();
    assert!(!bench.pending().exists() && mode(&bench.tokens_file()) == 0o600);

    // Between the pending tokens and the identities: nobody has seen the tokens, so there are new ones.
    std::fs::rename(bench.tokens_file(), bench.pending()).unwrap();
    std::fs::remove_file(bench.file()).unwrap();
    let (identities, first_start) = bench.try_open().await.unwrap();
    assert!(first_start.is_some() && !bench.pending().exists());
    assert_eq!(reason(ask(&identities, &administrator, None).await), "the token is not known");
    let (administrator, _) = bench.tokens();
    ask(&identities, &administrator, None).await.unwrap();

    // Pending tokens that belong to no identity go.
    std::fs::write(bench.pending(), "administrator = \"chatelaine_00\"\n").unwrap();
    chmod(&bench.pending(), 0o600);
    assert_eq!(bench.try_open().await.unwrap().1, None);
    assert!(!bench.pending().exists() && bench.tokens_file().exists());
}

/// T-TOKEN-REVOKED: a lost file of identities does not make tokens good again that lie about.
#[tokio::test]
async fn nothing_that_exists_is_overwritten() {
    let bench = Bench::new();
    bench.open().await;
    let text = std::fs::read(bench.tokens_file()).unwrap();
    std::fs::remove_file(bench.file()).unwrap();
    let error = bench.try_open().await.unwrap_err().to_string();
    assert!(error.contains("clouds.yaml") && error.contains("move the tokens away"), "{error}");
    assert_eq!(std::fs::read(bench.tokens_file()).unwrap(), text);
    assert!(!bench.file().exists());
}

#[tokio::test]
async fn two_first_starts_at_once_make_one() {
    let bench = Bench::new();
    let (one, two) = tokio::join!(bench.try_open(), bench.try_open());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!([&one.1, &two.1].into_iter().flatten().count(), 1);
    let (administrator, _) = bench.tokens();
    for identities in [&one.0, &two.0] {
        ask(identities, &administrator, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_named_must_exist() {
    let bench = Bench::new();
    let mut config = IdentityConfig::default();
    config.fixed.file = bench.folder.path().join("named.toml");
    let open = || {
        Identities::open(
            &config,
            bench.folder.path(),
            "http://127.0.0.1:9311",
            Arc::<ManualClock>::clone(&bench.clock),
        )
    };
    let error = open().await.unwrap_err().to_string();
    assert!(error.starts_with("identity.static.file:") && error.contains("does not exist"), "{error}");
    assert!(!bench.folder.path().join("clouds.yaml").exists());
    let new = NewIdentity {
        user_name: "a".into(),
        project: "p".into(),
        roles: vec!["admin".into()],
        user_id: None,
        project_id: None,
        expires_at: None,
    };
    let token = add(&config.fixed.file, &new, bench.clock.now()).unwrap();
    ask(&open().await.unwrap().0, &token, None).await.unwrap();
}

#[tokio::test]
async fn a_file_or_folder_that_others_can_get_at_is_refused() {
    let bench = Bench::new();
    bench.open().await;
    for bits in [0o604, 0o602, 0o620, 0o666] {
        chmod(&bench.file(), bits);
        let error = bench.try_open().await.unwrap_err().to_string();
        assert!(error.contains("chmod"), "{error}");
    }
    chmod(&bench.file(), 0o640);
    bench.open().await;
    chmod(&bench.data(), 0o770);
    assert!(bench.try_open().await.unwrap_err().to_string().contains("others can write to the folder"));
}

/// T-TOKEN-FORGED: one digit off is another token.
#[tokio::test]
async fn only_the_very_token_is_good() {
    let bench = Bench::new();
    let identities = bench.open().await;
    let (administrator, _) = bench.tokens();
    let text = administrator.expose();
    let digest = hex::encode(token::digest(&administrator));
    let last = if text.ends_with('0') { "1" } else { "0" };
    let changed = format!("{}{last}", &text[..text.len() - 1]);
    for forged in
        [changed, text[..text.len() - 1].to_owned(), format!("{text}0"), text.to_uppercase(), digest]
    {
        assert_eq!(reason(ask(&identities, &SecretText::new(forged), None).await), "the token is not known");
    }
    assert!(reason(ask(&identities, &SecretText::new("a b"), None).await).contains("no token at all"));
    assert_eq!(ask(&identities, &SecretText::new(""), None).await.unwrap_err(), AuthenticationError::Missing);
}

/// T-TOKEN-EXPIRED: to the microsecond, and no service can vouch for an expired static token.
#[tokio::test]
async fn a_token_ends_when_it_says() {
    let bench = Bench::new();
    bench.open().await;
    let (_, service) = bench.tokens();
    let token = bench.add("short", Some(60));
    let identities = bench.open().await;
    let caller = ask(&identities, &token, None).await.unwrap();
    assert_eq!(caller.identity().roles, ["member"]);
    let end = bench.clock.now().plus(Duration::from_secs(60));
    assert_eq!(caller.identity().expires_at, Some(end));
    bench.clock.advance(Duration::from_micros(59_999_999));
    ask(&identities, &token, None).await.unwrap();
    bench.clock.advance(Duration::from_micros(1));
    assert_eq!(reason(ask(&identities, &token, None).await), "the token has expired");
    assert_eq!(reason(ask(&identities, &token, Some(&service)).await), "the token has expired");
    assert_eq!(reason(ask(&identities, &service, Some(&token)).await), "the service token has expired");
}

#[tokio::test]
async fn a_service_vouches_with_its_own_token() {
    let bench = Bench::new();
    let identities = bench.open().await;
    let (administrator, service) = bench.tokens();
    let caller = ask(&identities, &administrator, Some(&service)).await.unwrap();
    assert_eq!(caller.service().unwrap().user_name, "service");
    assert!(reason(ask(&identities, &service, Some(&administrator)).await).contains("no role"));
    let unknown = SecretText::new("chatelaine_unknown");
    assert_eq!(
        reason(ask(&identities, &administrator, Some(&unknown)).await),
        "the service token is not known"
    );
}

/// T-TOKEN-REVOKED: a change counts a second later, or at once when told to reload.
#[tokio::test]
async fn changes_are_noticed() {
    let bench = Bench::new();
    let identities = bench.open().await;
    let token = bench.add("later", None);
    assert_eq!(reason(ask(&identities, &token, None).await), "the token is not known");
    bench.next_look();
    ask(&identities, &token, None).await.unwrap();
    remove(&bench.file(), "later", None).unwrap();
    ask(&identities, &token, None).await.unwrap();
    bench.next_look();
    assert_eq!(reason(ask(&identities, &token, None).await), "the token is not known");
    let token = bench.add("at once", None);
    identities.reload().await.unwrap();
    ask(&identities, &token, None).await.unwrap();

    // A clock that is set back does not put the next look off.
    let early = Arc::new(ManualClock::at(Timestamp::EPOCH));
    let Kind::Static(mut inner) = identities.0 else { unreachable!() };
    inner.clock = Arc::<ManualClock>::clone(&early);
    let identities = Identities(Kind::Static(inner));
    remove(&bench.file(), "at once", None).unwrap();
    assert_eq!(reason(ask(&identities, &token, None).await), "the token is not known");
}

#[tokio::test]
async fn a_broken_file_leaves_the_identities_as_they_were() {
    let bench = Bench::new();
    let identities = bench.open().await;
    let (administrator, _) = bench.tokens();
    let whole = std::fs::read(bench.file()).unwrap();
    identities.health().await.unwrap();
    type Breakage = fn(&Path);
    let breakages: [(&str, Breakage); 4] = [
        ("is not TOML", |path| std::fs::write(path, "[[identity]").unwrap()),
        ("missing field", |path| std::fs::write(path, "[[identity]]\nuser_id = \"u\"").unwrap()),
        ("has mode 0604", |path| chmod(path, 0o604)),
        ("does not exist", |path| std::fs::remove_file(path).unwrap()),
    ];
    for (expected, breakage) in breakages {
        breakage(&bench.file());
        bench.next_look();
        ask(&identities, &administrator, None).await.unwrap();
        let problem = identities.health().await.unwrap_err();
        assert!(problem.contains(expected), "{problem}");
        assert!(identities.reload().await.unwrap_err().to_string().contains(expected));
        if !bench.file().exists() {
            std::fs::write(bench.file(), "").unwrap();
        }
        chmod(&bench.file(), 0o600);
        std::fs::write(bench.file(), &whole).unwrap();
        bench.next_look();
        identities.health().await.unwrap();
        ask(&identities, &administrator, None).await.unwrap();
    }
    assert!(bench.try_open().await.unwrap().1.is_none());
}

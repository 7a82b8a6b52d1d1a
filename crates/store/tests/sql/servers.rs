//! Database servers as child processes.

use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chatelaine_core::store::StoreError;
use chatelaine_store::sql::{Address, Options, Password, SqlStore};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const USER: &str = "chatelaine";
pub(crate) const PASSWORD: &str = "a password with 'quotes' and spaces";
const INSTALL: &str = "cannot start: install Debian's packages mariadb-server, postgresql, rsync, util-linux";
const START: Duration = Duration::from_secs(90);

/// A port nobody listens on now, and below those that the system gives to connections: it may be a while until it is
/// listened on.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const PORTS: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Processes begin at different places.
        let number = NEXT.fetch_add(1, Ordering::SeqCst).wrapping_add(std::process::id().wrapping_mul(97));
        let port = u16::try_from(FIRST + number % PORTS).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command of this user of the system, if this is root; it ends with the thread that starts it.
fn as_user(user: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).env_remove("LC_ALL").env("LANG", "C.UTF-8");
    command
}

/// A folder that belongs to a user of the system.
fn folder_of(user: &str) -> TempDir {
    // The path of a socket in it may not be long.
    let folder = tempfile::Builder::new().prefix("db-").tempdir_in("/tmp").unwrap();
    give(user, folder.path());
    folder
}

fn give(user: &str, path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    if is_root() {
        run(Command::new("chown").arg("-R").arg(format!("{user}:{user}")).arg(path));
    }
}

/// Puts a certificate and its key where a server may read them.
fn place(user: &str, folder: &Path, certificate: &str, key: &str) -> (PathBuf, PathBuf) {
    let paths = (folder.join("server.pem"), folder.join("server.key"));
    for (path, text) in [(&paths.0, certificate), (&paths.1, key)] {
        std::fs::write(path, text).unwrap();
        give(user, path);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    paths
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect(INSTALL);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    output
}

/// A process with its children.
struct Process {
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    fn start(&mut self, command: &mut Command) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().append(true).create(true).open(&self.log).unwrap();
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect(INSTALL));
    }

    fn id(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("it does not run").id()).unwrap()
    }

    /// Those it has started itself.
    fn children(&self) -> Vec<i32> {
        let parent_of = |id: i32| -> Option<i32> {
            let line = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // After the name, which stands in brackets: the state, then the parent.
            line.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
        };
        let all = std::fs::read_dir("/proc").unwrap();
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|id| parent_of(*id) == Some(self.id()))
            .collect()
    }

    fn signal(&self, signal: Signal) {
        // The one that could start more first.
        for id in std::iter::once(self.id()).chain(self.children()) {
            // A child may have ended meanwhile.
            let _ = kill_process(Pid::from_raw(id).unwrap(), signal);
        }
    }

    fn kill(&mut self) {
        // Stopped first, so that nobody loses a parent before it is found.
        self.signal(Signal::STOP);
        self.signal(Signal::KILL);
        self.child.take().unwrap().wait().unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.chars().rev().take(4000).collect::<Vec<_>>().into_iter().rev().collect()
    }

    fn wait(&mut self, what: &str, mut is_ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + START;
        while !is_ready() {
            assert!(!self.has_ended(), "{what} ended: {}", self.log());
            assert!(Instant::now() < deadline, "{what} is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// A database server of either kind.
pub(crate) trait Server {
    /// Makes an empty database that the user may do everything in.
    fn make(&self, database: &str);
    /// Runs statements as the administrator.
    fn administer(&self, database: &str, sql: &str) -> String;
    /// Ends it without any warning.
    fn kill(&mut self);
    /// Lets it hang, and go on.
    fn freeze(&self, frozen: bool);
    /// Starts it again, and waits until it serves.
    fn start(&mut self);
    fn url(&self, database: &str) -> String;
    /// Lets it speak TLS with this certificate, and take nothing else.
    fn speak_tls(&mut self, certificate: &str, key: &str);
}

pub(crate) fn options() -> Options {
    Options { password: Some(Password::new(PASSWORD)), connections: 8, timeout: Duration::from_secs(10) }
}

pub(crate) async fn open(url: &str) -> SqlStore {
    try_open(url).await.unwrap()
}

pub(crate) async fn try_open(url: &str) -> Result<SqlStore, StoreError> {
    SqlStore::open(&Address::parse(url)?, &options()).await
}

pub(crate) struct Postgres {
    process: Process,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    settings: Vec<String>,
}

fn postgres_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect(INSTALL);
    let newest = versions
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok())
        .max()
        .expect(INSTALL);
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}

impl Postgres {
    pub(crate) fn new() -> Self {
        let folder = folder_of("postgres");
        let data = folder.path().join("data");
        run(as_user("postgres", postgres_programs().join("initdb")).arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "-N",
            "--locale=C.UTF-8",
        ]));
        std::fs::write(
            data.join("pg_hba.conf"),
            "local all postgres trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
        )
        .unwrap();
        let mut server = Self::beside(folder, &data, Vec::new());
        server.start();
        server.administer(
            "postgres",
            &format!("CREATE USER {USER} PASSWORD '{}'", PASSWORD.replace('\'', "''")),
        );
        server
    }

    fn beside(folder: TempDir, data: &Path, mut settings: Vec<String>) -> Self {
        // Tests end processes, not machines.
        settings.push("fsync=off".to_owned());
        settings.push(format!("data_directory={}", data.display()));
        let process = Process { child: None, log: folder.path().join("log") };
        Self { process, folder, port: free_port(), settings }
    }

    /// Another one that follows this.
    pub(crate) fn follower(&self) -> Self {
        let folder = folder_of("postgres");
        let data = folder.path().join("data");
        run(as_user("postgres", postgres_programs().join("pg_basebackup"))
            .args(["-U", "postgres", "-R", "-X", "stream", "-c", "fast", "-p", &self.port.to_string(), "-h"])
            .arg(self.folder.path())
            .arg("-D")
            .arg(&data));
        let mut server = Self::beside(folder, &data, vec!["hot_standby=on".to_owned()]);
        server.start();
        server
    }

    fn client(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"])
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string()]);
        command
    }

    fn answers(&self) -> bool {
        let mut client = self.client("postgres");
        client.args(["-c", "SELECT 1"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        client.status().expect(INSTALL).success()
    }
}

impl Server for Postgres {
    fn make(&self, database: &str) {
        self.administer("postgres", &format!("CREATE DATABASE {database} OWNER {USER}"));
    }

    fn administer(&self, database: &str, sql: &str) -> String {
        String::from_utf8(run(self.client(database).args(["-c", sql])).stdout).unwrap()
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn freeze(&self, frozen: bool) {
        self.process.signal(if frozen { Signal::STOP } else { Signal::CONT });
    }

    fn start(&mut self) {
        let mut command = as_user("postgres", postgres_programs().join("postgres"));
        command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        self.process.start(&mut command);
        let deadline = Instant::now() + START;
        while !self.answers() {
            assert!(Instant::now() < deadline, "PostgreSQL is not ready: {}", self.process.log());
            if self.process.has_ended() {
                // Children of one that was killed hold its memory for a moment.
                self.process.child = None;
                std::thread::sleep(Duration::from_millis(100));
                self.process.start(&mut command);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn speak_tls(&mut self, certificate: &str, key: &str) {
        let (certificate, key) = place("postgres", self.folder.path(), certificate, key);
        self.settings.retain(|setting| !setting.starts_with("ssl"));
        self.settings.push("ssl=on".to_owned());
        self.settings.push(format!("ssl_cert_file={}", certificate.display()));
        self.settings.push(format!("ssl_key_file={}", key.display()));
        let hosts = "local all postgres trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(self.folder.path().join("data/pg_hba.conf"), hosts).unwrap();
        self.process.kill();
        self.start();
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }
}

pub(crate) struct MariaDb {
    process: Process,
    folder: TempDir,
    pub(crate) port: u16,
    settings: Vec<String>,
    is_galera: bool,
}

impl MariaDb {
    fn installed() -> TempDir {
        let folder = folder_of("mysql");
        let user = if is_root() { "mysql".to_owned() } else { std::env::var("USER").unwrap() };
        run(Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--user={user}"))
            .arg(format!("--datadir={}", folder.path().join("data").display())));
        folder
    }

    fn beside(folder: TempDir, settings: Vec<String>, is_galera: bool) -> Self {
        let process = Process { child: None, log: folder.path().join("log") };
        Self { process, folder, port: free_port(), settings, is_galera }
    }

    fn make_user(&self) {
        let password = PASSWORD.replace('\'', "''");
        self.administer(
            "mysql",
            &format!(
                "CREATE USER '{USER}'@'%' IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO '{USER}'@'%'; \
                      REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM '{USER}'@'%'"
            ),
        );
    }

    pub(crate) fn new() -> Self {
        let mut server = Self::beside(Self::installed(), Vec::new(), false);
        server.start();
        server.make_user();
        server
    }

    /// A Galera cluster of so many nodes.
    pub(crate) fn cluster(nodes: usize) -> Vec<Self> {
        let first = Self::installed();
        let ports: Vec<(u16, u16, u16)> =
            (0..nodes).map(|_| (free_port(), free_port(), free_port())).collect();
        let members: Vec<_> = ports.iter().map(|(group, ..)| format!("127.0.0.1:{group}")).collect();
        let mut cluster: Vec<Self> = Vec::new();
        for (index, (group, incremental, whole)) in ports.iter().enumerate() {
            let folder = folder_of("mysql");
            run(Command::new("cp").arg("-a").arg(first.path().join("data")).arg(folder.path()));
            let settings = vec![
                "--wsrep-on=ON".to_owned(),
                "--wsrep-provider=/usr/lib/galera/libgalera_smm.so".to_owned(),
                "--binlog-format=ROW".to_owned(),
                "--innodb-autoinc-lock-mode=2".to_owned(),
                format!("--wsrep-cluster-address=gcomm://{}", members.join(",")),
                format!("--wsrep-node-address=127.0.0.1:{group}"),
                "--wsrep-sst-method=rsync".to_owned(),
                format!("--wsrep-sst-receive-address=127.0.0.1:{whole}"),
                format!(
                    "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group};\
                     ist.recv_addr=127.0.0.1:{incremental}"
                ),
            ];
            let mut node = Self::beside(folder, settings, true);
            if index == 0 {
                node.settings.push("--wsrep-new-cluster".to_owned());
            }
            node.start();
            // It joins the others when it is started again.
            node.settings.retain(|setting| setting != "--wsrep-new-cluster");
            cluster.push(node);
        }
        cluster[0].make_user();
        cluster
    }

    fn client(&self, database: &str) -> Command {
        let mut command = Command::new("mariadb");
        command
            .args([
                "--no-defaults",
                "--batch",
                "--skip-column-names",
                "-u",
                "root",
                "--connect-timeout=3",
                "-S",
            ])
            .arg(self.folder.path().join("s"))
            .arg(database);
        command
    }
}

impl Server for MariaDb {
    fn make(&self, database: &str) {
        self.administer("mysql", &format!("CREATE DATABASE {database}"));
    }

    fn administer(&self, database: &str, sql: &str) -> String {
        String::from_utf8(run(self.client(database).args(["-e", sql])).stdout).unwrap()
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn freeze(&self, frozen: bool) {
        self.process.signal(if frozen { Signal::STOP } else { Signal::CONT });
    }

    fn start(&mut self) {
        let data = self.folder.path().join("data");
        let mut command = as_user("mysql", "mariadbd");
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", self.folder.path().join("s").display()))
            .arg(format!("--pid-file={}", data.join("pid").display()))
            .args([
                "--bind-address=127.0.0.1",
                // Written at each commit, flushed now and then: tests end processes, not machines.
                "--innodb-flush-log-at-trx-commit=2",
                "--innodb-buffer-pool-size=64M",
            ])
            .arg(format!("--port={}", self.port))
            .args(&self.settings);
        self.process.start(&mut command);
        let question = if self.is_galera { "SHOW STATUS LIKE 'wsrep_ready'" } else { "SELECT 'ON'" };
        let mut client = self.client("mysql");
        client.args(["-e", question]).stdin(Stdio::null());
        self.process.wait("MariaDB", || {
            let answer = client.output().expect(INSTALL);
            answer.status.success() && String::from_utf8_lossy(&answer.stdout).contains("ON")
        });
    }

    fn speak_tls(&mut self, certificate: &str, key: &str) {
        let (certificate, key) = place("mysql", self.folder.path(), certificate, key);
        self.settings.retain(|setting| !setting.contains("ssl"));
        self.settings.push(format!("--ssl-cert={}", certificate.display()));
        self.settings.push(format!("--ssl-key={}", key.display()));
        self.process.kill();
        self.start();
        self.administer("mysql", &format!("ALTER USER '{USER}'@'%' REQUIRE SSL"));
    }

    fn url(&self, database: &str) -> String {
        format!("mysql://{USER}@127.0.0.1:{}/{database}", self.port)
    }
}

//! `cargo xtask interop`: the tests against real neighbours, in an environment of their own.
//!
//! Owns the packages of the system that tests need, the Python environments, which are made once and again whenever
//! their requirements change, and what the tests drive: the server, the Python package and the examples. The tests run in one environment;
//! the code of OpenStack's services, which brings hundreds of packages, has its own. Refuses to skip anything: what is
//! missing is installed, or named.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{python, run};

/// A Python environment, by its folder and the list of what is in it.
struct Environment {
    folder: &'static str,
    requirements: &'static str,
}

const TESTS_ENVIRONMENT: Environment =
    Environment { folder: "target/interop-venv", requirements: "tests/interop/requirements.txt" };
const SERVICES_ENVIRONMENT: Environment =
    Environment { folder: "target/services-venv", requirements: "tests/interop/requirements-services.txt" };
const TESTS: &str = "tests/interop";

/// Something of the system that the tests need, how to see whether it is there, and Debian's package of it.
struct Need {
    package: &'static str,
    probe: &'static [&'static str],
}

/// uwsgi comes as source and is built against the Python that runs it; the rest are wheels.
const NEEDS: [Need; 18] = [
    Need { package: "gcc", probe: &["gcc", "--version"] },
    Need { package: "python3-venv", probe: &["python3", "-c", "import ensurepip, venv"] },
    Need {
        package: "python3-dev",
        probe: &[
            "python3",
            "-c",
            "import os, sysconfig; assert os.path.exists(sysconfig.get_path('include') + '/Python.h')",
        ],
    },
    Need { package: "util-linux", probe: &["setpriv", "--version"] },
    // For systemd-analyze; nothing is run by systemd.
    Need { package: "systemd", probe: &["systemd-analyze", "--version"] },
    // Databases a Barbican may have, and the store: the tests start servers of their own, clusters as well. Those copy their
    // state with rsync.
    Need { package: "rsync", probe: &["rsync", "--version"] },
    Need { package: "mariadb-server", probe: &["mariadbd", "--version"] },
    Need { package: "postgresql", probe: &["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb"] },
    // A PKCS#11 token without hardware, for the seal of that kind.
    Need { package: "softhsm2", probe: &["softhsm2-util", "--version"] },
    // For commands that the documentation tells operators.
    Need { package: "curl", probe: &["curl", "--version"] },
    // Software TPMs, their manufacture, and other tools to compare with: for the tests of `crates/tpm`, too.
    Need { package: "swtpm", probe: &["swtpm", "--version"] },
    Need { package: "swtpm-tools", probe: &["sh", "-c", "command -v swtpm_setup"] },
    Need { package: "tpm2-tools", probe: &["tpm2_pcrread", "--version"] },
    // The library of Terraform's provider, as source, and what builds it without the network.
    Need { package: "golang-go", probe: &["go", "version"] },
    Need {
        package: "golang-github-gophercloud-gophercloud-dev",
        probe: &[
            "test",
            "-d",
            "/usr/share/gocode/src/github.com/gophercloud/gophercloud/openstack/keymanager/v1",
        ],
    },
    // Other programs that encrypt bulk data, to compare with: for the tests and the measurement of `crates/crypto`.
    Need { package: "openssl", probe: &["openssl", "version"] },
    Need { package: "qemu-utils", probe: &["qemu-img", "--version"] },
    Need { package: "cryptsetup-bin", probe: &["cryptsetup", "--version"] },
];

/// Prepares everything and runs pytest: all of `tests/interop`, or what `arguments` say.
pub(crate) fn test(root: &Path, arguments: &[String]) -> Result<()> {
    timed("environment", || environment(root))?;
    timed("environment of the services", || SERVICES_ENVIRONMENT.python(root))?;
    let python = timed("wheel", || python::install(root))?;
    timed("build", || {
        run(root, "cargo", &["build", "-p", "chatelaine-server", "--bin", "chatelaine"])?;
        run(root, "cargo", &["build", "-p", "chatelaine-client", "--example", "keystone_probe"])?;
        run(root, "cargo", &["build", "-p", "chatelaine-core", "--example", "policy_cases"])
    })?;
    let mut command = vec!["-m", "pytest", "-q", "--durations=10"];
    if arguments.is_empty() {
        command.push(TESTS);
    }
    command.extend(arguments.iter().map(String::as_str));
    timed("tests", || run(root, &python, &command))
}

/// The Python of the tests.
pub(crate) fn environment(root: &Path) -> Result<String> {
    TESTS_ENVIRONMENT.python(root)
}

impl Environment {
    /// Its Python; it holds exactly what the requirements say.
    fn python(&self, root: &Path) -> Result<String> {
        let folder = root.join(self.folder);
        let stamp = folder.join("installed-requirements.txt");
        let wanted = std::fs::read_to_string(root.join(self.requirements))
            .with_context(|| format!("cannot read {}", self.requirements))?;
        let python = folder.join("bin/python");
        if python.exists() && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(text(&python));
        }
        install_needs(root)?;
        // From nothing: packages of older requirements must not stay behind.
        run(root, "python3", &["-m", "venv", "--clear", &text(&folder)])?;
        run(root, &text(&python), &["-m", "pip", "install", "--quiet", "-r", self.requirements])?;
        std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
        Ok(text(&python))
    }
}

/// Installs what the tests need of the system, where it is missing: those of the crates as well as those against
/// neighbours.
pub(crate) fn install_needs(root: &Path) -> Result<()> {
    let missing: Vec<&str> =
        NEEDS.iter().filter(|need| !works(need.probe)).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !works(&["apt-get", "--version"]) || !works(&["sh", "-c", "test \"$(id -u)\" = 0"]) {
        bail!("the tests need Debian's packages {list} (or what they hold); install them and try again");
    }
    run(root, "apt-get", &["update", "-q"])?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(missing);
    run(root, "apt-get", &install)?;
    match NEEDS.iter().find(|need| !works(need.probe)) {
        None => Ok(()),
        Some(need) => bail!("{} is installed, and yet `{}` fails", need.package, need.probe.join(" ")),
    }
}

fn works(probe: &[&str]) -> bool {
    let Some((program, arguments)) = probe.split_first() else { return false };
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn timed<T>(what: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = step()?;
    println!("xtask: interop: {what} took {:.1} s", start.elapsed().as_secs_f64());
    Ok(result)
}

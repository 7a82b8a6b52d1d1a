//! Against programs that encrypt disks. `qemu-img` makes a LUKS volume and fills it; `cryptsetup` tells its key.
//!
//! QEMU's sectors have 512 bytes and ours 4096, which is dm-crypt's `sector_size:4096 iv_large_sectors`; what is compared
//! is the cipher, the order of the two keys and how a sector's number becomes its tweak, `plain64`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::xts::Xts;
use super::*;

const SECTOR: usize = 512;

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(
            "the Debian packages qemu-utils and cryptsetup-bin are needed: `cargo xtask test` installs them",
        );
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A folder of its own, removed with its content.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chatelaine-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn xts_is_that_of_qemu_and_cryptsetup() {
    let folder = Folder::new("luks");
    let path = |name: &str| folder.0.join(name).display().to_string();
    let plain = plain_bytes(300 * SECTOR);
    std::fs::write(path("plain"), &plain).unwrap();
    std::fs::write(path("passphrase"), "for this test only").unwrap();
    let secret = format!("secret,id=pass,file={}", path("passphrase"));
    for (bits, name) in [(128, "aes-128"), (256, "aes-256")] {
        let options =
            format!("key-secret=pass,cipher-alg={name},cipher-mode=xts,ivgen-alg=plain64,iter-time=10");
        let volume = path(name);
        run(
            Command::new("qemu-img")
                .args(["convert", "-q", "-f", "raw", "-O", "luks", "--object", &secret, "-o", &options])
                .args([path("plain").as_str(), volume.as_str()]),
            b"",
        );
        let dump = run(
            Command::new("cryptsetup")
                .args(["luksDump", "--batch-mode", "--dump-volume-key", "--key-file"])
                .args([path("passphrase").as_str(), volume.as_str()]),
            b"",
        );
        let dump = String::from_utf8(dump).unwrap();
        let field = |name: &str| dump.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!(field("Cipher mode:"), Some("xts-plain64"));
        let start = SECTOR * field("Payload offset:").unwrap().parse::<usize>().unwrap();
        let key: String = dump.split("MK dump:").nth(1).unwrap().split_whitespace().collect();
        let xts = Xts::new(&hex::decode(key).unwrap()).unwrap();

        let mut ours = vec![0; plain.len()];
        xts.encrypt_small(0, &plain, &mut ours).unwrap();
        let theirs = std::fs::read(&volume).unwrap();
        assert!(theirs[start..start + plain.len()] == ours, "AES-{bits}-XTS");
    }
}

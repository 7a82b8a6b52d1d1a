//! TLS of the listener: 1.2 and 1.3, post-quantum hybrid key exchange first, client certificates where asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsConfig;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds nothing of use.
    #[error("{setting}: {}: {problem}", path.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The parts do not fit together.
    #[error("server.tls: {0}")]
    Setup(String),
}

/// The settings in force; replaced as a whole when they are read again.
pub struct TlsSettings {
    config: TlsConfig,
    current: ArcSwap<ServerConfig>,
}

impl TlsSettings {
    /// Reads certificate, key and authorities.
    ///
    /// # Errors
    /// [`TlsError`] naming the setting.
    pub fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self { config: config.clone(), current: ArcSwap::from_pointee(read(config)?) })
    }

    /// Reads the files again; what was in force stays if they are not good.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(&self.config)?));
        Ok(())
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |problem: String| TlsError::File { setting, path: path.to_path_buf(), problem };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(error.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("it holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

fn read(config: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let chain = certificates("server.tls.cert", &config.cert)?;
    let wrong =
        |problem: String| TlsError::File { setting: "server.tls.key", path: config.key.clone(), problem };
    let mode = std::fs::metadata(&config.key).map_err(|error| wrong(error.to_string()))?;
    let mode = std::os::unix::fs::MetadataExt::mode(&mode) & 0o777;
    if mode & 0o027 != 0 {
        return Err(wrong(format!(
            "its mode is {mode:04o}: others can read or change it; chmod 0600 or 0640"
        )));
    }
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| wrong(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(setup)?;
    let builder = if config.client_ca.as_os_str().is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for authority in certificates("server.tls.client_ca", &config.client_ca)? {
            roots.add(authority).map_err(setup)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut settings = builder.with_single_cert(chain, key).map_err(setup)?;
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(settings)
}

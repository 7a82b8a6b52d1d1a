//! Certificates of endorsement keys (TCG EK Credential Profile, 3): a maker's word that a key lives in its TPM.
//!
//! Owns: the makers that are trusted, and the check of a certificate and its key.
//!
//! Refuses: certificates of other makers, of another key, expired ones, and such that are for another purpose. Malformed
//! certificates exist in the field; a host that has one is enrolled by its key's name alone.

use std::fmt;

use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::pkcs8::SubjectPublicKeyInfoRef;
use rsa::traits::PublicKeyParts;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::certificate_algorithms;
use super::exchange::{rsa_key, uncompressed};
use crate::error::TpmError;
use crate::types::{Curve, KeyParameters, Public};

/// The longest certificate, in bytes.
pub const MAX_CERTIFICATE: usize = 4096;
/// Certificates between the endorsement key's and a root.
pub const MAX_INTERMEDIATES: usize = 3;
/// tcg-kp-EKCertificate, 2.23.133.8.1.
const ENDORSEMENT_USAGE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// P-256 and P-384 as certificates name them.
const CURVE_P256: &str = "1.2.840.10045.3.1.7";
const CURVE_P384: &str = "1.3.132.0.34";

/// Why a certificate does not vouch for a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateRefusal {
    /// It is no certificate, or one that breaks the rules for them.
    #[error("it is no well-formed X.509 certificate: {0}")]
    Malformed(String),
    /// No trusted maker vouches for it.
    #[error("no trusted root vouches for it: {0}")]
    Untrusted(String),
    /// It is about another key.
    #[error("it is about another key than the endorsement key that was presented")]
    OtherKey,
}

/// The makers of TPMs that are trusted.
#[derive(Clone)]
pub struct Makers {
    roots: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Makers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Makers({} roots, {} intermediates)", self.roots.len(), self.intermediates.len())
    }
}

impl Makers {
    /// Trusts these roots. Intermediates are not trusted by themselves; they fill gaps in the chains that TPMs present. A
    /// maker whose root is of an algorithm that is not known here can be trusted by one of its issuing authorities as root.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when a root is no certificate.
    pub fn new(
        roots: impl IntoIterator<Item = Vec<u8>>,
        intermediates: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Self, TpmError> {
        let roots = roots
            .into_iter()
            .map(|der| {
                anchor_from_trusted_cert(&CertificateDer::from(der)).map(|anchor| anchor.to_owned()).map_err(
                    |_| {
                        TpmError::invalid(
                            "root certificate of a maker of TPMs",
                            "it is no X.509 certificate in DER",
                        )
                    },
                )
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { roots, intermediates: intermediates.into_iter().map(CertificateDer::from).collect() })
    }

    /// Whether a trusted maker vouches at `now` (seconds since 1970) that `key` lives in a TPM of its make.
    ///
    /// # Errors
    /// [`CertificateRefusal`]
    pub fn check(
        &self,
        certificate: &[u8],
        chain: &[Vec<u8>],
        key: &Public,
        now: u64,
    ) -> Result<(), CertificateRefusal> {
        let der = CertificateDer::from(certificate);
        let parsed = EndEntityCert::try_from(&der)
            .map_err(|error| CertificateRefusal::Malformed(error.to_string()))?;
        let intermediates: Vec<CertificateDer<'_>> = chain
            .iter()
            .take(MAX_INTERMEDIATES)
            .map(|der| CertificateDer::from(der.as_slice()))
            .chain(self.intermediates.iter().cloned())
            .collect();
        parsed
            .verify_for_usage(
                certificate_algorithms::ALL,
                &self.roots,
                &intermediates,
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(now)),
                // Required of all, intermediates would fail: theirs do not name the usage.
                KeyUsage::required_if_present(ENDORSEMENT_USAGE),
                None,
                None,
            )
            .map_err(|error| CertificateRefusal::Untrusted(error.to_string()))?;
        if is_key(&parsed.subject_public_key_info(), key) {
            Ok(())
        } else {
            Err(CertificateRefusal::OtherKey)
        }
    }
}

/// Whether the certificate's key is the public area's.
fn is_key(info: &[u8], key: &Public) -> bool {
    let Ok(info) = SubjectPublicKeyInfoRef::try_from(info) else { return false };
    let Some(bytes) = info.subject_public_key.as_bytes() else { return false };
    match &key.parameters {
        KeyParameters::Rsa { bits, modulus, .. } => {
            let (Ok(found), Ok(own)) = (rsa::PublicKey::from_pkcs1_der(bytes), rsa_key(modulus, *bits))
            else {
                return false;
            };
            found.n() == own.n() && found.e() == own.e()
        }
        KeyParameters::Ecc { curve, x, y, .. } => {
            let named = match curve {
                Curve::P256 => CURVE_P256,
                Curve::P384 => CURVE_P384,
            };
            info.algorithm.parameters_oid().is_ok_and(|found| found.to_string() == named)
                && uncompressed(*curve, x, y).is_ok_and(|own| own == bytes)
        }
        KeyParameters::KeyedHash { .. } => false,
    }
}

/// The length of the DER sequence that the bytes begin with; none when they do not, or are shorter.
#[must_use]
pub fn der_length(bytes: &[u8]) -> Option<usize> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (header, content) = match (tag, first) {
        (0x30, 0x81) => (3_usize, usize::from(*rest.first()?)),
        (0x30, 0x82) => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        (0x30, short) if *short < 0x80 => (2, usize::from(*short)),
        _ => return None,
    };
    header.checked_add(content).filter(|length| *length <= bytes.len())
}

/// For the fuzz targets.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    use super::{CertificateDer, EndEntityCert, Public, is_key};

    /// Whether the bytes are a certificate of that key, by whomever.
    #[must_use]
    pub fn is_certificate_of(certificate: &[u8], key: &Public) -> bool {
        let der = CertificateDer::from(certificate);
        EndEntityCert::try_from(&der).is_ok_and(|parsed| is_key(&parsed.subject_public_key_info(), key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_cut_at_its_own_length() {
        assert_eq!(der_length(&[0x30, 2, 1, 2, 0xff, 0xff]), Some(4));
        let mut long = vec![0x30, 0x82, 1, 0];
        long.extend([0; 300]);
        assert_eq!(der_length(&long), Some(260));
        assert_eq!(der_length(&[0x30, 0x81, 1, 9]), Some(4));
        for wrong in
            [&[][..], &[0x30], &[0x30, 3, 1], &[0x31, 0], &[0x30, 0x80], &[0x30, 0x82, 1], &[0xff; 9]]
        {
            assert_eq!(der_length(wrong), None, "{wrong:?}");
        }
    }
}

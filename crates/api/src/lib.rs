//! The wire types of the native API, shared by server and clients.
//!
//! Owns the shapes of requests and answers and nothing of their meaning: no rule, no default that is not on the wire.
//! Unknown fields are refused in requests; clients ignore unknown fields in answers, so that a server may say more.
//! Key strings are [`KeyString`]: wiped on drop and unprintable.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod agent;
mod attestation;
mod encryption_defaults;
mod error;
mod key_string;
mod keys;
mod master_key;
mod secrets;
mod server;

pub use agent::{
    AgentCreateRequest, AgentKey, AgentKeyDocument, AgentKeyPage, AgentPairDocument, AgentPairRequest,
    AgentRotationDocument, AgentScopeKeyRequest, AgentStatusDocument, Lock,
};
pub use attestation::{
    AnswerRequest, BundleDocument, ChallengeDocument, ConfirmRequest, ConfirmedDocument, EnrolRequest,
    HeldKeyDocument, HeldKeysDocument, HelloRequest, HostDocument, HostsDocument, PendingHostDocument,
    ReceiveRequest, ReceivedDocument, SiblingDocument, SiblingsDocument, WithdrawRequest,
};
pub use encryption_defaults::{
    DefaultLevel, DefaultSource, EffectiveDefaultDocument, EncryptionDefaultDocument,
    EncryptionDefaultRequest,
};
pub use error::{ErrorBody, ErrorDocument};
pub use key_string::KeyString;
pub use keys::{
    Deletion, KeyDocument, KeyPage, Links, NewKeyRequest, ReleasedKey, Revocation, RevocationReason,
    RevokeRequest, Scope, State, UpdateKeyRequest, WiderScope,
};
pub use master_key::{
    BootStateDocument, DestroyMasterKeyRequest, MasterKeyDocument, MasterKeysDocument, RecoveryDocument,
    RecoveryRequest, RotateRequest, RotatedProjectKey, RotationDocument, SealChangeRequest, SealedByDocument,
    UnsealRequest,
};
pub use secrets::{AccessDocument, Origin, SecretDocument, SecretPage, SecretType};
pub use server::{
    AccelerationDocument, AlgorithmDocument, AlgorithmsDocument, BitLengthRange, DataCipherDocument,
    ModeDocument, ReadinessCheck, ReadinessDocument, ReapDocument,
};

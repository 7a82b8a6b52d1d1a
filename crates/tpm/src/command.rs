//! The commands this client sends, without I/O: what goes into each and how its answer is read (Part 3).
//!
//! Invariant: every handle comes with the name that the authorization of the command covers; a name is computed here, from
//! a public area, never taken from a TPM.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod answers;
mod policy;

use zeroize::Zeroizing;

use crate::codec::{Wire, Writer};
use crate::software::credential::Credential;
use crate::software::import::ImportBlob;
use crate::types::{ALGORITHM_NULL, AuthValue, EcdsaSignature, HashAlgorithm, Name, PcrSelection, Public};

pub(crate) use answers::MAX_PRIVATE;
pub use answers::{
    CreatedObject, CreatedPrimary, NvPublic, QuoteAnswer, Ticket, capability_handles, capability_properties,
    created, created_primary, name_answer, nv_public, pcr_values, public_area, quote, random, sized_answer,
    started_session, ticket,
};
pub use policy::{policy_auth_value, policy_authorize, policy_get_digest, policy_pcr, policy_secret};

/// The owner hierarchy (`TPM_RH_OWNER`).
pub const OWNER: u32 = 0x4000_0001;
/// No hierarchy, no key (`TPM_RH_NULL`).
pub const NULL: u32 = 0x4000_0007;
/// A password in place of a session (`TPM_RS_PW`).
pub(crate) const PASSWORD: u32 = 0x4000_0009;
/// The endorsement hierarchy (`TPM_RH_ENDORSEMENT`).
pub const ENDORSEMENT: u32 = crate::software::policy::ENDORSEMENT;

/// A handle and the name of what it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// The number on the wire.
    pub value: u32,
    /// The name that authorizations cover.
    pub name: Name,
}

impl Handle {
    /// A hierarchy, register or session: its name is its number.
    #[must_use]
    pub fn permanent(value: u32) -> Self {
        Self { value, name: Name::of_handle(value) }
    }

    /// An object.
    #[must_use]
    pub fn object(value: u32, name: Name) -> Self {
        Self { value, name }
    }
}

/// A command before it is authorized.
pub struct Command {
    /// Its name in the standard.
    pub name: &'static str,
    pub(crate) code: u32,
    pub(crate) handles: Vec<Handle>,
    /// How many of the handles need an authorization; those come first.
    pub(crate) authorized: usize,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// Whether the answer begins with a handle.
    pub(crate) returns_handle: bool,
    /// Whether what the answer's handle refers to has to be flushed.
    pub(crate) flushes: Option<u32>,
}

impl Command {
    fn new(name: &'static str, code: u32) -> Self {
        Self {
            name,
            code,
            handles: Vec::new(),
            authorized: 0,
            parameters: Zeroizing::default(),
            returns_handle: false,
            flushes: None,
        }
    }

    fn authorized(mut self, handle: &Handle) -> Self {
        self.handles.push(handle.clone());
        self.authorized = self.handles.len();
        self
    }

    fn handle(mut self, handle: &Handle) -> Self {
        self.handles.push(handle.clone());
        self
    }

    fn parameters(mut self, write: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::secret();
        write(&mut writer);
        self.parameters = writer.into_secret();
        self
    }

    fn returning_handle(mut self) -> Self {
        self.returns_handle = true;
        self
    }
}

/// `TPM2_Startup` after power-on (Part 3, 9.3); firmware does it on real machines.
#[must_use]
pub fn startup_clear() -> Command {
    Command::new("TPM2_Startup", 0x144).parameters(|writer| {
        writer.u16(0);
    })
}

/// `TPM2_GetTestResult` (Part 3, 10.4): whether the TPM is in failure mode.
#[must_use]
pub fn get_test_result() -> Command {
    Command::new("TPM2_GetTestResult", 0x17c)
}

/// `TPM2_GetCapability` (Part 3, 30.2) of properties (`TPM_CAP_TPM_PROPERTIES`) or handles (`TPM_CAP_HANDLES`).
#[must_use]
pub fn get_capability(capability: Capability, first: u32, count: u32) -> Command {
    Command::new("TPM2_GetCapability", 0x17a).parameters(|writer| {
        writer.u32(capability as u32).u32(first).u32(count);
    })
}

/// What `TPM2_GetCapability` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Handles in use, of the kind that the first one has.
    Handles = 1,
    /// Properties with their values.
    Properties = 6,
}

/// `TPM2_GetRandom` (Part 3, 16.1): at most that many bytes.
#[must_use]
pub fn get_random(count: u16) -> Command {
    Command::new("TPM2_GetRandom", 0x17b).parameters(|writer| {
        writer.u16(count);
    })
}

/// `TPM2_ReadPublic` (Part 3, 12.4) of a persistent or loaded object. The answer is checked by the caller.
#[must_use]
pub fn read_public(handle: u32) -> Command {
    // Nothing authorizes it, so the name is in no HMAC.
    Command::new("TPM2_ReadPublic", 0x173).handle(&Handle::permanent(handle))
}

/// `TPM2_CreatePrimary` (Part 3, 24.1) in a hierarchy, without authorization value and without data.
#[must_use]
pub fn create_primary(hierarchy: u32, template: &Public) -> Command {
    Command::new("TPM2_CreatePrimary", 0x131)
        .authorized(&Handle::permanent(hierarchy))
        .parameters(|writer| {
            // TPM2B_SENSITIVE_CREATE with an empty value and no data.
            writer.u16(4).u16(0).u16(0);
            writer.sized_structure(template).sized(&[]).u32(0);
        })
        .returning_handle()
}

/// `TPM2_Create` (Part 3, 12.1) of sealed data under a storage key. The first parameter holds the secret.
#[must_use]
pub fn create_sealed(parent: &Handle, auth: &AuthValue, secret: &[u8], public: &Public) -> Command {
    Command::new("TPM2_Create", 0x153).authorized(parent).parameters(|writer| {
        let mut sensitive = Writer::secret();
        sensitive.sized(auth.expose()).sized(secret);
        writer.sized(sensitive.as_slice()).sized_structure(public).sized(&[]).u32(0);
    })
}

/// `TPM2_Load` (Part 3, 12.2).
#[must_use]
pub fn load(parent: &Handle, private: &[u8], public: &Public) -> Command {
    Command::new("TPM2_Load", 0x157)
        .authorized(parent)
        .parameters(|writer| {
            writer.sized(private).sized_structure(public);
        })
        .returning_handle()
}

/// `TPM2_LoadExternal` (Part 3, 12.3) of a public key alone, in the owner hierarchy: of none, its tickets would be worth
/// nothing.
#[must_use]
pub fn load_external(public: &Public) -> Command {
    Command::new("TPM2_LoadExternal", 0x167)
        .parameters(|writer| {
            writer.sized(&[]).sized_structure(public).u32(OWNER);
        })
        .returning_handle()
}

/// `TPM2_FlushContext` (Part 3, 28.4) of a transient object or a session.
#[must_use]
pub fn flush_context(handle: u32) -> Command {
    let mut command = Command::new("TPM2_FlushContext", 0x165).parameters(|writer| {
        writer.u32(handle);
    });
    command.flushes = Some(handle);
    command
}

/// `TPM2_Unseal` (Part 3, 12.7).
#[must_use]
pub fn unseal(object: &Handle) -> Command {
    Command::new("TPM2_Unseal", 0x15e).authorized(object)
}

/// `TPM2_Import` (Part 3, 13.3) of an object that was made in software for `parent`.
#[must_use]
pub fn import(parent: &Handle, blob: &ImportBlob) -> Command {
    Command::new("TPM2_Import", 0x156).authorized(parent).parameters(|writer| {
        writer.sized(&[]).sized_structure(&blob.public).sized(&blob.duplicate).sized(&blob.encrypted_seed);
        writer.u16(ALGORITHM_NULL);
    })
}

/// `TPM2_ActivateCredential` (Part 3, 12.5): gives out the secret if the TPM has both keys.
#[must_use]
pub fn activate_credential(activated: &Handle, key: &Handle, credential: &Credential) -> Command {
    Command::new("TPM2_ActivateCredential", 0x147).authorized(activated).authorized(key).parameters(
        |writer| {
            writer.sized(&credential.blob).sized(&credential.encrypted_seed);
        },
    )
}

/// `TPM2_Quote` (Part 3, 18.4) with the scheme the key is bound to.
#[must_use]
pub fn quote_registers(key: &Handle, extra_data: &[u8], selection: &PcrSelection) -> Command {
    Command::new("TPM2_Quote", 0x158).authorized(key).parameters(|writer| {
        writer.sized(extra_data).u16(ALGORITHM_NULL).structure(selection);
    })
}

/// `TPM2_VerifySignature` (Part 3, 20.1): a ticket that the key signed the digest.
#[must_use]
pub fn verify_signature(key: &Handle, digest: &[u8], signature: &EcdsaSignature) -> Command {
    Command::new("TPM2_VerifySignature", 0x177).handle(key).parameters(|writer| {
        writer.sized(digest).structure(signature);
    })
}

/// `TPM2_PCR_Read` (Part 3, 22.4): at most eight registers are answered.
#[must_use]
pub fn pcr_read(selection: &PcrSelection) -> Command {
    Command::new("TPM2_PCR_Read", 0x17e).parameters(|writer| {
        writer.structure(selection);
    })
}

/// `TPM2_PCR_Extend` (Part 3, 22.2) of one register in one bank, by a digest of that bank.
#[must_use]
pub fn pcr_extend(register: u8, bank: HashAlgorithm, digest: &[u8]) -> Command {
    Command::new("TPM2_PCR_Extend", 0x182).authorized(&Handle::permanent(register.into())).parameters(
        |writer| {
            writer.u32(1).structure(&bank).raw(digest);
        },
    )
}

/// `TPM2_NV_ReadPublic` (Part 3, 31.6).
#[must_use]
pub fn nv_read_public(index: u32) -> Command {
    Command::new("TPM2_NV_ReadPublic", 0x169).handle(&Handle::permanent(index))
}

/// `TPM2_NV_Read` (Part 3, 31.13), authorized by a hierarchy or by the index itself.
#[must_use]
pub fn nv_read(authority: &Handle, index: &Handle, size: u16, offset: u16) -> Command {
    Command::new("TPM2_NV_Read", 0x14e).authorized(authority).handle(index).parameters(|writer| {
        writer.u16(size).u16(offset);
    })
}

/// `TPM2_EvictControl` (Part 3, 28.5): makes a loaded object of the owner hierarchy persistent, or removes that.
#[must_use]
pub fn evict_control(object: &Handle, persistent: u32) -> Command {
    Command::new("TPM2_EvictControl", 0x120).authorized(&Handle::permanent(OWNER)).handle(object).parameters(
        |writer| {
            writer.u32(persistent);
        },
    )
}

/// What kind of session `TPM2_StartAuthSession` makes (`TPM_SE`, Part 2, 6.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// Authorizes by HMAC.
    Hmac = 0,
    /// Authorizes by policy.
    Policy = 1,
    /// Computes the digest of a policy.
    Trial = 3,
}

/// `TPM2_StartAuthSession` (Part 3, 11.1), bound to nothing, with SHA-256 and AES-128-CFB.
#[must_use]
pub fn start_auth_session(
    kind: SessionKind,
    salt_key: Option<&Handle>,
    nonce: &[u8],
    encrypted_salt: &[u8],
) -> Command {
    let none = Handle::permanent(NULL);
    Command::new("TPM2_StartAuthSession", 0x176)
        .handle(salt_key.unwrap_or(&none))
        .handle(&none)
        .parameters(|writer| {
            writer.sized(nonce).sized(encrypted_salt).u8(kind as u8);
            writer.u16(0x0006).u16(128).u16(0x0043).structure(&HashAlgorithm::Sha256);
        })
        .returning_handle()
}

/// The encoding of a public area with its length in front, as other tools store it (`TPM2B_PUBLIC`).
#[must_use]
pub fn sized_public(public: &Public) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.sized(&public.to_bytes());
    writer.into_vec()
}

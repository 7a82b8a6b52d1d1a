//! What a module's answers mean: whether to ask again, to wait, or to change something.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

use crate::SealError;

/// Why something with the token did not work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The token or the module's view of it is lost: the module is started anew, and asked once more.
    Lost(String),
    /// As [`Failure::Lost`], but asking once more could use up an attempt at the PIN.
    LostAtLogin(String),
    /// The token answers, and does not do it.
    Refused {
        /// Why.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Something else.
    Other(SealError),
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        Self::Other(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = describe(&error);
        match error {
            Error::Pkcs11(code, _) if is_final(code) => Self::refused(
                text,
                "use a token and a `mechanism` that go together; the token's manual lists its mechanisms and what its keys may do",
            ),
            Error::Pkcs11(..) => Self::Lost(text),
            _ => Self::refused(text, "use a module that implements PKCS#11 version 2.40 or later"),
        }
    }
}

impl Failure {
    pub(super) fn refused(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { problem: problem.into(), remedy: remedy.into() }
    }

    /// The error of the seal that describes itself as `place`.
    pub(super) fn at(self, place: String) -> SealError {
        match self {
            Self::Lost(problem) | Self::LostAtLogin(problem) => SealError::Unavailable { place, problem },
            Self::Refused { problem, remedy } => SealError::Refused { place, problem, remedy },
            Self::Other(error) => error,
        }
    }
}

/// The error by its name in the standard, without its explanation there.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} failed with {code:?}"),
        other => other.to_string(),
    }
}

/// Whether the answer stays the same however often one asks.
fn is_final(code: RvError) -> bool {
    use RvError::{
        ActionProhibited, AttributeReadOnly, AttributeTypeInvalid, AttributeValueInvalid, CurveNotSupported,
        FunctionNotSupported, KeyFunctionNotPermitted, KeyNotWrappable, KeySizeRange, KeyTypeInconsistent,
        KeyUnextractable, MechanismInvalid, MechanismParamInvalid, SessionReadOnly, TemplateIncomplete,
        TemplateInconsistent, TokenWriteProtected, UnwrappingKeySizeRange, UnwrappingKeyTypeInconsistent,
        WrappingKeySizeRange, WrappingKeyTypeInconsistent,
    };
    matches!(
        code,
        ActionProhibited
            | AttributeReadOnly
            | AttributeTypeInvalid
            | AttributeValueInvalid
            | CurveNotSupported
            | FunctionNotSupported
            | KeyFunctionNotPermitted
            | KeyNotWrappable
            | KeySizeRange
            | KeyTypeInconsistent
            | KeyUnextractable
            | MechanismInvalid
            | MechanismParamInvalid
            | SessionReadOnly
            | TemplateIncomplete
            | TemplateInconsistent
            | TokenWriteProtected
            | UnwrappingKeySizeRange
            | UnwrappingKeyTypeInconsistent
            | WrappingKeySizeRange
            | WrappingKeyTypeInconsistent
    )
}

/// Whether the answer is that what should be opened is not what was made.
pub(super) fn is_about_content(error: &Error, again: bool) -> bool {
    let Error::Pkcs11(code, function) = error else { return false };
    match code {
        RvError::EncryptedDataInvalid
        | RvError::EncryptedDataLenRange
        | RvError::DataInvalid
        | RvError::DataLenRange
        | RvError::WrappedKeyInvalid
        | RvError::WrappedKeyLenRange => true,
        // Some modules have no other word for it. The first time it may be that the token was lost just now.
        RvError::GeneralError | RvError::FunctionFailed => {
            again && matches!(function, Function::Decrypt | Function::UnwrapKey)
        }
        _ => false,
    }
}

/// Whether the answer is about the PIN.
pub(super) fn is_about_pin(code: RvError) -> bool {
    use RvError::{PinExpired, PinIncorrect, PinInvalid, PinLenRange, PinLocked, PinTooWeak};
    matches!(code, PinExpired | PinIncorrect | PinInvalid | PinLenRange | PinLocked | PinTooWeak)
}

/// Whether a login with that answer never reached the token, so that another one costs no attempt.
pub(super) fn never_reached_token(code: RvError) -> bool {
    use RvError::{
        CryptokiNotInitialized, SessionClosed, SessionHandleInvalid, SlotIdInvalid, TokenNotPresent,
    };
    matches!(
        code,
        CryptokiNotInitialized | SessionClosed | SessionHandleInvalid | SlotIdInvalid | TokenNotPresent
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: RvError, function: Function) -> Error {
        Error::Pkcs11(code, function)
    }

    #[test]
    fn a_lost_token_is_asked_for_again_and_a_refusal_is_not() {
        for code in [
            RvError::DeviceRemoved,
            RvError::TokenNotPresent,
            RvError::SessionHandleInvalid,
            RvError::CryptokiNotInitialized,
            RvError::SlotIdInvalid,
            RvError::DeviceError,
            RvError::GeneralError,
            RvError::VendorDefined(0x8000_0001),
        ] {
            let failure = Failure::from(failed(code, Function::OpenSession));
            assert!(matches!(failure, Failure::Lost(_)), "{code:?}");
            assert!(matches!(failure.at("token".to_owned()), SealError::Unavailable { .. }));
        }
        for code in
            [RvError::MechanismInvalid, RvError::KeyFunctionNotPermitted, RvError::FunctionNotSupported]
        {
            let failure = Failure::from(failed(code, Function::EncryptInit));
            assert!(matches!(failure, Failure::Refused { .. }), "{code:?}");
        }
    }

    #[test]
    fn a_vague_answer_is_about_the_content_only_when_given_twice_and_where_content_is_read() {
        let vague = failed(RvError::GeneralError, Function::Decrypt);
        assert!(!is_about_content(&vague, false));
        assert!(is_about_content(&vague, true));
        assert!(!is_about_content(&failed(RvError::GeneralError, Function::DecryptInit), true));
        assert!(is_about_content(&failed(RvError::EncryptedDataInvalid, Function::Decrypt), false));
        assert!(!is_about_content(&failed(RvError::DeviceRemoved, Function::Decrypt), true));
    }

    #[test]
    fn errors_name_the_function_and_the_answer() {
        assert_eq!(
            describe(&failed(RvError::TokenNotPresent, Function::OpenSession)),
            "C_OpenSession failed with TokenNotPresent"
        );
    }
}

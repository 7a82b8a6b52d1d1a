//! What TPMs answer, what joining hosts and holders send one another, and what lies in files.

use std::fmt::Debug;

use chatelaine_tpm::attest::{Answer, Challenge, Enrolment, Grant, Hello, Pending, challenge, check_answer};
use chatelaine_tpm::codec::Wire;
use chatelaine_tpm::command::{self, Handle, SessionKind, Ticket};
use chatelaine_tpm::session::{Authorization, Starting, Use, prepare};
use chatelaine_tpm::software::certificate::{Makers, der_length, fuzzing::is_certificate_of};
use chatelaine_tpm::tpm::keys::storage_template;
use chatelaine_tpm::tpm::{EndorsementKind, Lock, SealedBlob};
use chatelaine_tpm::types::{
    AuthValue, EcdsaSignature, KeyParameters, Name, PcrSelection, PcrValues, Public, Quote,
};
use chatelaine_tpm::{Approval, Authority, ReleaseAuthority};

use super::choices;

/// Whatever is read has that one encoding.
fn one_encoding<T: Wire + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let read = T::from_bytes(input).ok()?;
    let written = read.to_bytes();
    assert_eq!(written, input, "one structure, one encoding");
    assert_eq!(T::from_bytes(&written).as_ref(), Ok(&read));
    Some(read)
}

/// Choice: which structure the input is.
pub(crate) fn structure(input: &[u8]) {
    let Some(([choice], input)) = choices::<1>(input) else { return };
    match choice % 9 {
        0 => {
            if let Some(public) = one_encoding::<Public>(input) {
                assert_eq!(Name::parse(&public.name().to_string()), Ok(public.name()));
            }
        }
        1 => drop(one_encoding::<Quote>(input)),
        2 => drop(one_encoding::<EcdsaSignature>(input)),
        3 => {
            if let Some(selection) = one_encoding::<PcrSelection>(input) {
                assert_eq!(selection.to_string().parse(), Ok(selection));
            }
        }
        4 => drop(one_encoding::<PcrValues>(input)),
        5 => {
            if let Some(approval) = one_encoding::<Approval>(input) {
                let stranger = ReleaseAuthority::generate().expect("random bytes").authority();
                assert!(!approval.is_signed_by(&stranger), "nobody signed this with this key");
            }
        }
        6 => drop(one_encoding::<Authority>(input)),
        7 => drop(one_encoding::<SealedBlob>(input)),
        _ => {
            if let Some(lock) = one_encoding::<Lock>(input) {
                assert_ne!(lock.policy(true), lock.policy(false));
            }
        }
    }
}

/// A message of an exchange: the choice tells which.
pub(crate) fn message(input: &[u8]) {
    let Some(([choice], input)) = choices::<1>(input) else { return };
    let selection: PcrSelection = "sha256:0,2,4,7,8,9".parse().expect("a good selection");
    match choice % 5 {
        0 => {
            let makers = Makers::new([], []).expect("no certificates");
            let with_certificate =
                challenge(input, |_| Some(Enrolment::WithCertificate), &makers, 0, selection, &[]);
            assert!(with_certificate.is_err(), "no maker is trusted");
            let by_name = challenge(input, |_| Some(Enrolment::ByNameOnly), &makers, 0, selection, &[]);
            if one_encoding::<Hello>(input).is_none() {
                assert!(by_name.is_err());
            }
        }
        1 => drop(one_encoding::<Challenge>(input)),
        2 => drop(one_encoding::<Answer>(input)),
        3 => drop(one_encoding::<Grant>(input)),
        _ => {
            // A state, and an answer that was not made for it.
            let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
            let (state, answer) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
            let Ok(pending) = Pending::from_secret_bytes(state) else { return };
            assert_eq!(pending.to_secret_bytes().as_slice(), state);
            let authority = ReleaseAuthority::generate().expect("random bytes").authority();
            assert!(check_answer(pending, answer, &authority, b"reference", &[]).is_err(), "nothing is approved");
        }
    }
}

/// A certificate in an index that may be longer.
pub(crate) fn certificate(input: &[u8]) {
    if let Some(length) = der_length(input) {
        assert!((2..=input.len()).contains(&length));
    }
    let makers = Makers::new([], []).expect("no certificates");
    let _ = Makers::new([input.to_vec()], []);
    for kind in EndorsementKind::ALL {
        let key = kind.template();
        assert!(makers.check(input, &[input.to_vec()], &key, 1_700_000_000).is_err(), "no maker is trusted");
        assert!(!is_certificate_of(input, &key), "a template is no key");
    }
}

/// What a TPM answers. The choice tells to what.
pub(crate) fn answer(input: &[u8]) {
    let Some(([choice], input)) = choices::<1>(input) else { return };
    match choice % 14 {
        0 => drop(command::created_primary(input)),
        1 => drop(command::created(input)),
        2 => drop(command::public_area(input)),
        3 => drop(command::name_answer(input)),
        4 => drop(command::sized_answer(input)),
        5 => drop(command::random(input)),
        6 => drop(command::quote(input)),
        7 => drop(one_encoding::<Ticket>(input)),
        8 => drop(command::nv_public(input)),
        9 => drop(command::capability_handles(input)),
        10 => drop(command::capability_properties(input)),
        11 => {
            let wanted: PcrSelection = "sha256:0,2,4,7,8,9,10,11,12".parse().expect("a good selection");
            if let Ok(reading) = command::pcr_values(input, &wanted) {
                assert!(reading.values.len() <= 8);
                assert!(reading.values.iter().all(|(register, value)| *register < 24 && value.len() == 32));
            }
        }
        12 => {
            // Without a session an answer is what it says; it must be read or refused.
            let command = command::get_random(16);
            let prepared = prepare(&command, &mut []).expect("a good command");
            let _ = prepared.accept(input);
        }
        _ => authenticated(input),
    }
}

/// No answer is believed that was not made with the session's key, which is new each time.
fn authenticated(input: &[u8]) {
    let authority = ReleaseAuthority::generate().expect("random bytes").authority();
    let KeyParameters::Ecc { x, y, .. } = authority.public().parameters.clone() else { return };
    let mut key = storage_template();
    if let KeyParameters::Ecc { x: own_x, y: own_y, .. } = &mut key.parameters {
        (*own_x, *own_y) = (x, y);
    }
    let (starting, _) = Starting::begin(SessionKind::Policy, Some((0x8100_0001, &key))).expect("a good key");
    let nonce = [&[0, 32][..], &[7; 32]].concat();
    let mut session = starting.finish(0x0300_0000, &nonce).expect("a good nonce");
    let none = AuthValue::default();
    let unseal = command::unseal(&Handle::object(0x8000_0000, key.name()));
    let mut authorizations = [Authorization::Session(&mut session, &none, Use::LAST.encrypting())];
    let prepared = prepare(&unseal, &mut authorizations).expect("a good command");
    assert!(prepared.accept(input).is_err(), "nobody made this with this key");
}

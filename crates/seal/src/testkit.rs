//! The check that every seal passes.

use crate::{Seal, SealError};

/// Checks a seal that has no keys yet; `open` makes a new handle on the same place.
///
/// The first use creates, later ones find the same key, a second creation is refused and changes nothing.
///
/// # Errors
/// A sentence naming the first thing that is not as it must be.
pub fn conformance(open: &dyn Fn() -> Box<dyn Seal>) -> Result<(), String> {
    let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    let failed = |what: &'static str| move |error: SealError| format!("{what}: {error}");

    let seal = open();
    check(!seal.kind().is_empty() && !seal.describe().is_empty(), "a seal names and describes itself")?;
    check(!seal.exists().map_err(failed("exists"))?, "the seal given has keys already")?;
    check(matches!(seal.unseal(), Err(SealError::Missing { .. })), "unseal without keys answers Missing")?;

    let created = seal.create().map_err(failed("create"))?;
    check(created.active.material.len() == 32, "a master key has 256 bits")?;
    check(created.active.material.expose().iter().any(|byte| *byte != 0), "a master key is not zero")?;
    check(created.retired.is_empty(), "a new seal has no retired keys")?;
    check(seal.exists().map_err(failed("exists"))?, "after create there are keys")?;

    let same = |when: &str, seal: &dyn Seal| {
        let keys = seal.unseal().map_err(|error| format!("unseal {when}: {error}"))?;
        check(keys.active.id == created.active.id, &format!("{when} the id is another"))?;
        check(
            keys.active.material.ct_eq(created.active.material.expose()),
            &format!("{when} the key is another"),
        )?;
        check(keys.retired.is_empty(), &format!("{when} there are retired keys"))
    };
    same("after create", seal.as_ref())?;
    let again = open();
    same("through a new handle", again.as_ref())?;
    check(matches!(again.create(), Err(SealError::Exists { .. })), "a second create answers Exists")?;
    same("after the second create", again.as_ref())
}

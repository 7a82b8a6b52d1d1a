//! Trusts (OS-TRUST): what users have delegated to us.

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::{AuthenticateError, Keystone, Unavailable, X_AUTH_TOKEN};
use crate::transport::{self, Outgoing};

/// So many trusts are read at most: one user holds no more that matter at once.
const MOST: usize = 1000;

/// A trust whose trustee we are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DelegatedTrust {
    /// Its id.
    pub id: String,
    /// Who delegates.
    pub trustor_user_id: String,
    /// For which project.
    #[serde(default)]
    pub project_id: Option<String>,
    /// Until when; for ever where it is missing.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Answer {
    trusts: Vec<DelegatedTrust>,
}

pub(super) async fn of_trustee(keystone: &Keystone) -> Result<Vec<DelegatedTrust>, AuthenticateError> {
    let own = keystone.token().await?;
    let mut url = transport::join(&keystone.base, "/OS-TRUST/trusts");
    url.query_pairs_mut().append_pair("trustee_user_id", &own.details.user.id);
    let header: HeaderValue = own
        .value
        .header_value()
        .ok_or_else(|| Unavailable::Malformed("our own token cannot be sent as a header".into()))?;
    let request = Outgoing::new(Method::GET, url).header(X_AUTH_TOKEN, header);
    let answer = keystone.transport.send(request).await.map_err(Unavailable::Transport)?;
    match answer.status {
        200 => {}
        401 => return Err(AuthenticateError::Refused { who: keystone.describe() }),
        403 => return Err(AuthenticateError::NotAllowed { who: keystone.describe() }),
        404 => return Err(AuthenticateError::NotKeystone),
        status => return Err(Unavailable::Status(status).into()),
    }
    let Answer { mut trusts } = serde_json::from_slice(&answer.body).map_err(|_| {
        AuthenticateError::from(Unavailable::Malformed("the list of trusts is not understood".into()))
    })?;
    trusts.truncate(MOST);
    Ok(trusts)
}

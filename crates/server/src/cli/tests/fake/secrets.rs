//! The operator's routes of the small key manager: the keys that were put, as an operator sees them.

use std::collections::BTreeMap;

use axum::http::Method;
use chatelaine_api::{Links, Origin, SecretDocument, SecretPage, SecretType};

use super::{Answer, Inner, PAGE, Stored};

impl Inner {
    pub(super) fn operate(
        &mut self,
        method: &Method,
        segments: &[&str],
        query: &BTreeMap<String, String>,
    ) -> Answer {
        let find = |keys: &[Stored], id: &str| {
            keys.iter().position(|key| key.document.id == id).ok_or((404, "there is no such secret"))
        };
        match (method.as_str(), segments) {
            ("GET", []) => Ok((200, self.list_secrets(query))),
            ("GET", [id]) => shown(&self.keys[find(&self.keys, id)?]),
            ("POST", [id, "undelete"]) => {
                let place = find(&self.keys, id)?;
                self.keys[place].document.deletion.take().ok_or((409, "the secret is not deleted"))?;
                shown(&self.keys[place])
            }
            ("POST", [id, "purge"]) => {
                let place = find(&self.keys, id)?;
                if self.keys[place].document.deletion.is_none() {
                    return Err((409, "the secret is not deleted: delete it first"));
                }
                self.keys.remove(place);
                Ok((204, serde_json::Value::Null))
            }
            _ => Err((404, "there is no such route")),
        }
    }

    fn list_secrets(&self, query: &BTreeMap<String, String>) -> serde_json::Value {
        let limit = query.get("limit").map_or(PAGE, |limit| limit.parse().unwrap()).min(PAGE);
        let matching: Vec<SecretDocument> = self
            .keys
            .iter()
            .filter(|key| key.document.deletion.is_some() == query.contains_key("deleted"))
            .map(seen)
            .filter(|secret| query.get("project").is_none_or(|wanted| secret.project_id == *wanted))
            .collect();
        let start = query
            .get("marker")
            .map_or(0, |marker| matching.iter().position(|secret| secret.id == *marker).unwrap() + 1);
        let secrets: Vec<SecretDocument> = matching[start..].iter().take(limit).cloned().collect();
        let next = (start + secrets.len() < matching.len()).then(|| {
            format!("http://elsewhere.invalid/v1/operator/secrets?marker={}", secrets.last().unwrap().id)
        });
        serde_json::to_value(SecretPage { secrets, links: Links { next } }).unwrap()
    }
}

fn shown(key: &Stored) -> Answer {
    Ok((200, serde_json::to_value(seen(key)).unwrap()))
}

fn seen(key: &Stored) -> SecretDocument {
    let key = key.document.clone();
    SecretDocument {
        id: key.id,
        version: key.version,
        project_id: key.project_id,
        owner: key.owner,
        name: key.name,
        origin: Origin::Native,
        secret_type: SecretType::Symmetric,
        algorithm: key.algorithm,
        bit_length: key.bit_length,
        mode: None,
        content_type: Some("application/octet-stream".to_owned()),
        has_payload: true,
        state: key.state,
        created_at: key.created_at,
        updated_at: key.updated_at,
        activates_at: key.activates_at,
        expires_at: key.expires_at,
        revocation: key.revocation,
        deletion: key.deletion,
        access: None,
    }
}

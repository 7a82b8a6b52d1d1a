//! Keys of users, projects and domains, and encryption defaults, of the small key manager.

use std::collections::BTreeMap;

use axum::http::Method;
use chatelaine_api::{
    EncryptionDefaultDocument, EncryptionDefaultRequest, KeyDocument, KeyPage, Links, Scope, WiderScope,
};
use serde_json::json;

use super::{Answer, Inner, NOW, PAGE, parsed};

impl Inner {
    pub(super) fn list_scope_keys(&self, query: &BTreeMap<String, String>) -> serde_json::Value {
        let limit = query.get("limit").map_or(PAGE, |limit| limit.parse().unwrap()).min(PAGE);
        let is = |name: &str, value: Option<String>| {
            query.get(name).is_none_or(|wanted| Some(wanted) == value.as_ref())
        };
        let word = |scope: Scope| serde_json::to_value(scope).unwrap().as_str().map(str::to_owned);
        let matching: Vec<&KeyDocument> = self
            .keys
            .iter()
            .map(|key| &key.document)
            .filter(|key| key.scope != Scope::Entity && is("scope", word(key.scope)))
            .filter(|key| is("scope_id", key.scope_id.clone()))
            .filter(|key| key.deletion.is_some() == query.contains_key("deleted"))
            .collect();
        let start = query
            .get("marker")
            .map_or(0, |marker| matching.iter().position(|key| key.id == *marker).unwrap() + 1);
        let page: Vec<KeyDocument> = matching[start..].iter().take(limit).map(|key| (*key).clone()).collect();
        let next = (start + page.len() < matching.len())
            .then(|| format!("/v1/scope-keys?marker={}", page.last().unwrap().id));
        serde_json::to_value(KeyPage { keys: page, links: Links { next } }).unwrap()
    }

    pub(super) fn encryption_default(
        &mut self,
        method: &Method,
        (level, id): (&str, &str),
        if_match: Option<&str>,
        body: &[u8],
    ) -> Answer {
        let level = WiderScope::ALL.into_iter().find(|known| format!("{}s", known.as_str()) == level);
        let level = level.ok_or((400, "level: users, projects or domains are allowed"))?;
        let place = format!("{}:{id}", level.as_str());
        let version = self.defaults.get(&place).map(|found| found.version);
        match (method.as_str(), version) {
            ("GET", Some(_)) => Ok((200, serde_json::to_value(&self.defaults[&place]).unwrap())),
            ("DELETE", Some(_)) => {
                self.defaults.remove(&place);
                Ok((204, json!(null)))
            }
            ("PUT", version) => {
                if version.map(|version| format!("\"{version}\"")).as_deref() != if_match {
                    return Err((412, "it has another version"));
                }
                let EncryptionDefaultRequest { algorithm, lock, scope } = parsed(body)?;
                let document = EncryptionDefaultDocument {
                    level,
                    id: id.to_owned(),
                    version: version.unwrap_or(0) + 1,
                    algorithm,
                    lock,
                    scope,
                    created_at: NOW.to_owned(),
                    updated_at: NOW.to_owned(),
                };
                let answer = serde_json::to_value(&document).unwrap();
                self.defaults.insert(place, document);
                Ok((if version.is_some() { 200 } else { 201 }, answer))
            }
            _ => Err((404, "there is none")),
        }
    }
}

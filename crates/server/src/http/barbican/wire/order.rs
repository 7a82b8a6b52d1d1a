//! Orders: keys that the server is to make, what becomes of them, and how they are shown.
//!
//! A passphrase is taken out of an order when it is read: it is neither stored with it nor shown.

use chatelaine_core::Timestamp;
use chatelaine_crypto::keypair::MAXIMUM_PASSPHRASE;
use chatelaine_crypto::{KeyMaterial, KeyPairKind};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::body::{Json, MAX_TEXT, Object};
use super::super::error::{BarbicanError, shortened};
use super::super::time::{self, Moment};
use super::container::ContainerKind;
use super::secret::{ACTIVE, Described, is_nothing};

pub(crate) const SCHEMA: &str = "Order";
const META_SCHEMA: &str = "OrderMeta";

/// Bit lengths of single keys; with the mode XTS each is two keys in one.
const LENGTHS: [u32; 4] = [64, 128, 192, 256];
const ALGORITHMS: [&str; 6] = ["aes", "des", "hmacsha1", "hmacsha256", "hmacsha384", "hmacsha512"];
/// The longest reason of a failure that is shown, in characters.
const MAX_REASON: usize = 255;

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderKind {
    /// A single key, which becomes a secret.
    Key,
    /// A key pair, which becomes a container.
    Asymmetric,
}

impl OrderKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Asymmetric => "asymmetric",
        }
    }
}

/// An order to be carried out.
#[derive(Debug)]
pub(crate) struct NewOrder {
    pub(crate) kind: OrderKind,
    pub(crate) name: Option<String>,
    pub(crate) algorithm: String,
    pub(crate) bit_length: u32,
    pub(crate) mode: Option<String>,
    pub(crate) expiration: Option<Timestamp>,
    /// For the key; none is `application/octet-stream`.
    pub(crate) payload_content_type: Option<String>,
    /// For the private half of a key pair.
    pub(crate) passphrase: Option<KeyMaterial>,
    /// What is stored and shown of it, the passphrase left out.
    pub(crate) meta: Map<String, Value>,
}

/// What there is to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// So many random bits.
    Key { bits: u32 },
    /// A key pair.
    Pair(KeyPairKind),
}

/// Why an order cannot be carried out; it is kept and shown in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// As a status of HTTP.
    pub(crate) code: u16,
    pub(crate) reason: String,
}

/// `meta`, as it is to be shown: with name and expiration in any case.
fn shown(meta: &Object) -> Map<String, Value> {
    let mut shown: Map<String, Value> =
        meta.rest().iter().map(|(name, value)| (name.clone(), value.shown())).collect();
    for name in ["name", "expiration"] {
        shown.entry(name).or_insert(Value::Null);
    }
    shown
}

/// The passphrase, which leaves the order under either of its names: `pass_phrase` is what python-barbicanclient says.
/// Where both are there, the API's own counts.
fn passphrase(meta: &mut Object) -> Result<Option<KeyMaterial>, BarbicanError> {
    let mut found = None;
    for name in ["pass_phrase", "passphrase"] {
        match meta.take(name) {
            None | Some(Json::Null) => {}
            Some(Json::Text(text)) if text.is_empty() => {}
            Some(Json::Text(text)) if text.len() <= MAXIMUM_PASSPHRASE => {
                found = Some(KeyMaterial::copy_from(text.as_bytes()));
            }
            Some(_) => {
                let reason = format!("it must be a string of at most {MAXIMUM_PASSPHRASE} bytes");
                return Err(meta.wrong(name, reason));
            }
        }
    }
    Ok(found)
}

impl NewOrder {
    /// Checks the body of `POST /v1/orders`. A bad algorithm or length is no error here: see [`NewOrder::plan`].
    ///
    /// # Errors
    /// 400 naming what is wrong. Unknown keys are left alone, and those of `meta` are kept.
    pub(crate) fn read(mut object: Object, now: Timestamp) -> Result<Self, BarbicanError> {
        let kind = object.required("type", MAX_TEXT)?;
        let kind = match kind.as_str() {
            "key" => OrderKind::Key,
            "asymmetric" => OrderKind::Asymmetric,
            _ => return Err(object.wrong("type", "key and asymmetric are allowed")),
        };
        let meta = object.take("meta").ok_or_else(|| object.missing("meta"))?;
        let mut meta = Object::of(META_SCHEMA, Some("meta"), meta)?;
        let passphrase = passphrase(&mut meta)?;
        if meta.has("payload") {
            return Err(meta.wrong("payload", "it is not allowed here: the server makes the key"));
        }
        for name in ["algorithm", "bit_length"] {
            if is_nothing(meta.rest().get(name)) {
                return Err(if meta.has(name) {
                    meta.wrong(name, "it is empty")
                } else {
                    meta.missing(name)
                });
            }
        }
        let mut shown = shown(&meta);
        let said = Described::take(&mut meta, now)?;
        let algorithm = said.algorithm.ok_or_else(|| meta.missing("algorithm"))?;
        let bit_length = said.bit_length.ok_or_else(|| meta.missing("bit_length"))?;
        // P-521 is the one length that is no number of bytes.
        let curve = kind == OrderKind::Asymmetric && KeyPairKind::find(&algorithm, bit_length).is_ok();
        if !bit_length.is_multiple_of(8) && !curve {
            return Err(meta.wrong("bit_length", "it must be a multiple of 8"));
        }
        shown.insert("bit_length".to_owned(), bit_length.into());
        shown.insert("expiration".to_owned(), said.expiration.map(time::with_fraction).into());
        Ok(Self {
            kind,
            name: said.name,
            algorithm,
            bit_length,
            mode: said.mode,
            expiration: said.expiration,
            payload_content_type: said.payload_content_type,
            passphrase,
            meta: shown,
        })
    }

    /// What there is to make.
    ///
    /// # Errors
    /// An algorithm or a length that is not made. The order is taken all the same, and ends so.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        match self.kind {
            OrderKind::Key => self.key(),
            OrderKind::Asymmetric => KeyPairKind::find(&self.algorithm, self.bit_length)
                .map(Plan::Pair)
                .map_err(|error| Failure { code: 400, reason: error.to_string() }),
        }
    }

    fn key(&self) -> Result<Plan, Failure> {
        let bits = self.bit_length;
        let refused = |reason: String| Err(Failure { code: 400, reason });
        if !ALGORITHMS.iter().any(|known| known.eq_ignore_ascii_case(&self.algorithm)) {
            let algorithm = shortened(&self.algorithm);
            return refused(format!(
                "no keys are made for the algorithm '{algorithm}'; allowed: {}",
                ALGORITHMS.join(", ")
            ));
        }
        let xts = self.mode.as_deref().is_some_and(|mode| mode.eq_ignore_ascii_case("xts"));
        let keys = if xts { 2 } else { 1 };
        let lengths = LENGTHS.map(|length| length.saturating_mul(keys));
        if lengths.contains(&bits) {
            return Ok(Plan::Key { bits });
        }
        let allowed = lengths.map(|length| length.to_string()).join(", ");
        refused(format!("keys of {bits} bits are not made; allowed: {allowed}"))
    }
}

/// The kind of container that a key pair becomes.
pub(crate) fn container_kind(pair: KeyPairKind) -> ContainerKind {
    if pair.algorithm() == "rsa" { ContainerKind::Rsa } else { ContainerKind::Generic }
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A secret, by its full address.
    Secret(String),
    /// A container, by its full address.
    Container(String),
    /// Nothing.
    Failed(Failure),
}

/// What is known of an order, to be shown.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    /// The full address.
    pub(crate) order_ref: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) kind: &'a str,
    pub(crate) meta: &'a Map<String, Value>,
    pub(crate) creator_id: &'a str,
    pub(crate) outcome: Outcome,
}

/// How an order is shown, alone and in lists. Clients refuse keys they do not know.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanOrder)]
pub(crate) struct OrderDocument<'a> {
    #[schema(value_type = Moment)]
    created: String,
    #[schema(value_type = Moment)]
    updated: String,
    /// `ACTIVE`, or `ERROR` for what is not made.
    status: &'static str,
    /// `key` or `asymmetric`.
    #[serde(rename = "type")]
    kind: &'a str,
    /// As it was ordered, a passphrase left out.
    #[schema(value_type = Object)]
    meta: &'a Map<String, Value>,
    /// The user that ordered it.
    creator_id: &'a str,
    /// The order's address; its id is the last part.
    order_ref: String,
    /// The key that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret_ref: Option<String>,
    /// The container of the key pair that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    container_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sub_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sub_status_message: Option<&'static str>,
    /// Why nothing was made, as a status of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_status_code: Option<String>,
    /// Why nothing was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_reason: Option<String>,
}

impl<'a> From<Shown<'a>> for OrderDocument<'a> {
    fn from(of: Shown<'a>) -> Self {
        let mut document = Self {
            created: time::written(of.created),
            updated: time::written(of.updated),
            status: ACTIVE,
            kind: of.kind,
            meta: of.meta,
            creator_id: of.creator_id,
            order_ref: of.order_ref,
            secret_ref: None,
            container_ref: None,
            sub_status: None,
            sub_status_message: None,
            error_status_code: None,
            error_reason: None,
        };
        match of.outcome {
            Outcome::Secret(href) => document.secret_ref = Some(href),
            Outcome::Container(href) => document.container_ref = Some(href),
            Outcome::Failed(failure) => {
                document.status = "ERROR";
                document.error_status_code = Some(failure.code.to_string());
                document.error_reason = Some(failure.reason.chars().take(MAX_REASON).collect());
            }
        }
        if document.status == ACTIVE {
            (document.sub_status, document.sub_status_message) = (Some("Unknown"), Some("Unknown"));
        }
        document
    }
}

#[cfg(test)]
mod tests;

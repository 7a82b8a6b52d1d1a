//! Orders: keys and key pairs that the server makes, at once.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chatelaine_core::Error;
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock as _, SystemClock};
use chatelaine_core::document::Document;
use chatelaine_core::id::SecretId;
use chatelaine_core::manager::{Access, DocumentFilter, NewDocument, NewSecret};
use chatelaine_core::secret::SecretType;
use chatelaine_crypto::{KeyMaterial, KeyPairKind, keypair};
use http::{HeaderMap, StatusCode};

use super::super::filter::OrderFilter;
use super::super::wire::order::{self, Failure, NewOrder, OrderDocument, Outcome, Plan, Shown};
use super::super::wire::{Reference, container};
use super::{
    Answer, Asker, Asking, BarbicanError, accept, allow, carry_out, containers, made, object, private, quotas,
};
use crate::barbican::content::{ContainerContent, ORDER, OrderContent, OrderOutcome, SecretRef};
use crate::http::App;

type Order = Document<OrderContent>;

const ORDER_IT: Access = Access { rule: "orders:post", action: Action::Create };
const READ: Access = Access { rule: "order:get", action: Action::GetMetadata };
const REMOVE: Access = Access { rule: "order:delete", action: Action::Delete };

fn document<'a>(asker: &Asker, of: &'a Order) -> OrderDocument<'a> {
    let outcome = match &of.content.outcome {
        OrderOutcome::Secret(id) => Outcome::Secret(asker.href("secrets", id)),
        OrderOutcome::Container(id) => Outcome::Container(asker.href("containers", id)),
        OrderOutcome::Failed { code, reason } => {
            Outcome::Failed(Failure { code: *code, reason: reason.clone() })
        }
    };
    OrderDocument::from(Shown {
        order_ref: asker.href("orders", &of.id),
        created: of.created,
        updated: of.updated,
        kind: of.class.as_deref().unwrap_or_default(),
        meta: &of.content.meta,
        creator_id: &of.owner,
        outcome,
    })
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
) -> Answer {
    accept::json(&headers)?;
    let filter = OrderFilter::read(&asker.query);
    let page = asker.page(&app);
    let matches = |of: &Order| filter.matches(&of.content.meta);
    let wanted = DocumentFilter {
        class: None,
        matches: if asker.query.filled("meta").is_some() { Some(&matches) } else { None },
        everywhere: false,
        offset: page.skip(),
        limit: page.limit,
    };
    let (found, total) = app.manager.list_documents(&asker.caller, ORDER, "orders:get", &wanted).await?;
    let entries: Vec<OrderDocument<'_>> = found.iter().map(|order| document(&asker, order)).collect();
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    Ok(asker.listing(("orders", "orders"), page, false, (entries, total)))
}

/// Orders cannot be changed; whoever may not change them learns that first.
pub(super) async fn refuse_put(State(app): State<Arc<App>>, Extension(asker): Asking) -> Answer {
    allow(&app, &asker, Access { rule: "orders:put", action: Action::Update }).await?;
    Ok(super::wrong_method("GET, POST"))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    accept::json(&headers)?;
    let found: Order = app.manager.document(&asker.caller, ORDER, known(&id)?, READ).await?;
    Ok(private(Json(document(&asker, &found))))
}

/// Any text names an order; one that is too long names none.
fn known(id: &str) -> Result<&str, BarbicanError> {
    if SecretId::parse(id).is_ok() {
        Ok(id)
    } else {
        Err(BarbicanError::not_found("Not Found. There is no such order."))
    }
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
) -> Answer {
    known(&id)?;
    carry_out(async move {
        app.manager.remove_document(&asker.caller, ORDER, &id, REMOVE).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// What an order makes, ready to be stored.
#[derive(Default)]
struct Product {
    secrets: Vec<(SecretId, NewSecret)>,
    container: Option<NewDocument>,
    /// The secret that the order goes with.
    parent: Option<String>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    accept::json(&headers)?;
    allow(&app, &asker, ORDER_IT).await?;
    let object = object(&app, &headers, body, order::SCHEMA).await?;
    let new = NewOrder::read(object, SystemClock.now())?;
    carry_out(async move { carry_out_order(&app, &asker, new).await }).await
}

async fn carry_out_order(app: &App, asker: &Asker, new: NewOrder) -> Result<Response, BarbicanError> {
    let _turn = quotas::room(app, asker.project(), quotas::Counted::Orders).await?;
    let (outcome, product) = match new.plan() {
        Err(Failure { code, reason }) => (OrderOutcome::Failed { code, reason }, Product::default()),
        Ok(Plan::Key { bits }) => key(&new, bits)?,
        Ok(Plan::Pair(kind)) => pair(app, &new, kind).await?,
    };
    let id = SecretId::random();
    let content = OrderContent { meta: new.meta, outcome };
    let mut documents = vec![NewDocument {
        kind: ORDER,
        id: id.to_string(),
        name: None,
        class: Some(new.kind.as_str().to_owned()),
        parent: product.parent,
        reference: None,
        content: serde_json::to_value(content).map_err(|error| Error::Internal(error.to_string()))?,
    }];
    documents.extend(product.container);
    app.manager.create_objects(&asker.caller, ORDER_IT, product.secrets, documents).await?;
    let href = asker.href("orders", &id);
    Ok(made(StatusCode::ACCEPTED, Reference::Order(href.clone()), &href))
}

fn described(
    new: &NewOrder,
    secret_type: SecretType,
    payload: KeyMaterial,
    content_type: String,
) -> NewSecret {
    NewSecret {
        payload: Some(payload),
        content_type: Some(content_type),
        name: new.name.clone(),
        secret_type: Some(secret_type),
        algorithm: Some(new.algorithm.clone()),
        mode: new.mode.clone(),
        bit_length: Some(new.bit_length),
        expires_at: new.expiration,
    }
}

fn internal(error: &chatelaine_crypto::CryptoError) -> BarbicanError {
    Error::Internal(error.to_string()).into()
}

fn key(new: &NewOrder, bits: u32) -> Result<(OrderOutcome, Product), BarbicanError> {
    let material =
        KeyMaterial::random(usize::try_from(bits).unwrap_or_default()).map_err(|error| internal(&error))?;
    let id = SecretId::random();
    let content_type =
        new.payload_content_type.clone().unwrap_or_else(|| super::secrets::DEFAULT_TYPE.to_owned());
    let secret = described(new, SecretType::Symmetric, material, content_type);
    let product = Product { secrets: vec![(id, secret)], container: None, parent: Some(id.to_string()) };
    Ok((OrderOutcome::Secret(id), product))
}

async fn pair(
    app: &App,
    new: &NewOrder,
    kind: KeyPairKind,
) -> Result<(OrderOutcome, Product), BarbicanError> {
    let passphrase = new.passphrase.as_ref().map(|text| KeyMaterial::copy_from(text.expose()));
    // Large RSA keys take seconds: few at a time, and not on a thread that others' requests wait for.
    let _place = app.pairs.acquire().await.map_err(|error| Error::Internal(error.to_string()))?;
    let (pair, passphrase) = tokio::task::spawn_blocking(move || {
        let pair = keypair::key_pair(kind, passphrase.as_ref());
        pair.map(|pair| (pair, passphrase))
    })
    .await
    .map_err(|error| Error::Internal(error.to_string()))?
    .map_err(|error| internal(&error))?;
    let media = || super::secrets::DEFAULT_TYPE.to_owned();
    let public = KeyMaterial::copy_from(pair.public.as_bytes());
    let mut parts = vec![
        (container::PRIVATE_KEY, described(new, SecretType::Private, pair.private, media())),
        (container::PUBLIC_KEY, described(new, SecretType::Public, public, media())),
    ];
    if let Some(passphrase) = passphrase {
        parts.push((container::PASSPHRASE, described(new, SecretType::Passphrase, passphrase, media())));
    }
    let mut product = Product::default();
    let mut content = ContainerContent::default();
    for (name, secret) in parts {
        let id = SecretId::random();
        content.secret_refs.push(SecretRef { name: Some(name.to_owned()), secret: id });
        // The order goes when the private key does.
        product.parent.get_or_insert_with(|| id.to_string());
        product.secrets.push((id, secret));
    }
    let id = SecretId::random();
    let container_kind = order::container_kind(kind).as_str();
    product.container = Some(containers::new_document(id, new.name.clone(), container_kind, &content)?);
    Ok((OrderOutcome::Container(id), product))
}

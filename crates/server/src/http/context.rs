//! What surrounds every request: its id, its time limit, its line in the log, its place in the metrics.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use chatelaine_core::id::RequestId;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ipnet::IpNet;

use super::App;
use super::barbican;
use super::error::ApiError;
use super::unread::Unread;
use crate::telemetry::metrics::method_name;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme the client used. Behind this layer it is there only when a trusted proxy wrote it.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Longest time an answer at the control socket takes.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// Headers of an answer that stay when its error is rendered.
const KEPT: [HeaderName; 3] = [header::ALLOW, header::VARY, barbican::version::HEADER];

/// The other end of the connection; none for the control socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What is known of a request before anybody looks at it.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) request_id: RequestId,
    /// The client's address: the peer's, or what a trusted proxy says.
    pub(crate) address: Option<IpAddr>,
}

/// The layer around all routes.
pub(crate) async fn surround(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.options.request_timeout;
    within(limit, app, request, next).await
}

/// The same for work that takes as long as it takes, asked for by those who may.
pub(crate) async fn surround_long(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    within(LONG, app, request, next).await
}

async fn within(limit: Duration, app: Arc<App>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let request_id = RequestId::random();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let address = peer.map(|peer| client_address(peer, request.headers(), &app.options.trusted_proxies));
    forget_scheme(peer, request.headers_mut(), &app.options.trusted_proxies);
    request.extensions_mut().insert(Context { request_id: request_id.clone(), address });
    let method = request.method().clone();
    // Where the request goes decides how a refusal looks, whichever layer refuses.
    let render = if barbican::path::is_barbican(request.uri().path()) {
        barbican::error::render
    } else {
        ApiError::render
    };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let unread = Unread::watch(&mut request);
    let in_flight = app.metrics.begin();
    let mut response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => axum::response::IntoResponse::into_response(ApiError::unavailable(
            "the request took too long; try again",
            5,
            format!("no answer within {} s", limit.as_secs()),
        )),
    };
    drop(in_flight);
    let error = response.extensions_mut().remove::<ApiError>();
    if let Some(error) = &error {
        // Which methods a route has is for the router to say, which microversion was served for Barbican's routes.
        let said = KEPT.map(|name| (response.headers_mut().remove(&name), name));
        response = render(error, request_id.as_str());
        for (value, name) in said {
            response.headers_mut().extend(value.map(|value| (name, value)));
        }
    }
    unread.announce(&mut response);
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let route = route.as_ref().map(MatchedPath::as_str).filter(|route| *route != barbican::routes::NOWHERE);
    let route = route.unwrap_or("unknown");
    let elapsed = began.elapsed();
    app.metrics.request(&method, route, response.status(), elapsed);
    write_line(
        app.options.log_requests,
        &request_id,
        &method,
        route,
        response.status(),
        error.as_ref(),
        elapsed,
    );
    response
}

/// One line a request at most: failures of ours as errors, refusals as they are logged once, the rest if asked for.
pub(super) fn write_line(
    log_requests: bool,
    request_id: &RequestId,
    method: &http::Method,
    route: &str,
    status: StatusCode,
    error: Option<&ApiError>,
    elapsed: Duration,
) {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let status_code = status.as_u16();
    let method = method_name(method);
    match error {
        Some(error) if status.is_server_error() => {
            let detail = error.detail.as_deref().unwrap_or(&error.message);
            tracing::error!(%request_id, method, route, status = status_code, micros, detail, "request failed");
        }
        // The message is for the client alone; the field's name is one of ours or a plain word (`ApiError::chosen_field`).
        Some(error) => {
            let field = error.field.as_deref();
            let detail = error.detail.as_deref();
            tracing::info!(%request_id, method, route, status = status_code, micros, field, detail, "request refused");
        }
        None if log_requests => {
            tracing::info!(%request_id, method, route, status = status_code, micros, "request");
        }
        None => tracing::debug!(%request_id, method, route, status = status_code, micros, "request"),
    }
}

fn trusted(address: &IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(address))
}

/// Removes what a client says of the scheme itself.
fn forget_scheme(peer: Option<IpAddr>, headers: &mut HeaderMap, proxies: &[IpNet]) {
    if !peer.is_some_and(|peer| trusted(&peer, proxies)) {
        headers.remove(FORWARDED_PROTO);
    }
}

/// The address nearest to the client that is not one of our proxies.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    if !trusted(&peer, proxies) {
        return peer;
    }
    let mut nearest = peer;
    let hops: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in hops.iter().rev().take(32) {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { return nearest };
        nearest = address.to_canonical();
        if !trusted(&nearest, proxies) {
            return nearest;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &["10.0.0.0/8".parse().unwrap()]).to_string()
    }

    /// T-ADDRESS-FORGED: only what a trusted proxy wrote is believed.
    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(seen("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.2.3.4"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_scheme_is_told_by_trusted_proxies_only() {
        for (peer, kept) in [(Some("192.0.2.1"), false), (Some("10.0.0.1"), true), (None, false)] {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
            let peer = peer.map(|peer| peer.parse().unwrap());
            forget_scheme(peer, &mut headers, &["10.0.0.0/8".parse().unwrap()]);
            assert_eq!(headers.contains_key(FORWARDED_PROTO), kept, "{peer:?}");
        }
    }
}

//! What stands between connections and routes: a sealed server answers with other routes than an unsealed one, on the
//! same connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use http::Request;
use hyper::body::Incoming;
use tower::{Layer as _, Service};

use super::barbican::path::{NormalisePath, Normalised};

/// Routes that can be exchanged while connections are open. Clones share them.
#[derive(Clone)]
pub struct Gate(Arc<ArcSwap<Normalised<Router>>>);

impl Gate {
    /// A gate to these routes.
    #[must_use]
    pub fn new(routes: Router) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(NormalisePath.layer(routes))))
    }

    /// Leads to other routes from now on. Requests that run are finished where they are.
    pub fn lead_to(&self, routes: Router) {
        self.0.store(Arc::new(NormalisePath.layer(routes)));
    }
}

impl Service<Request<Body>> for Gate {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut routes = Normalised::clone(&self.0.load());
        routes.call(request)
    }
}

/// The same for requests as they come from a connection.
#[derive(Clone)]
pub(super) struct FromWire(pub(super) Gate);

impl Service<Request<Incoming>> for FromWire {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        self.0.call(request.map(Body::new))
    }
}

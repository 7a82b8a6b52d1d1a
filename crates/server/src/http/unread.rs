//! Bodies that were not read to their end before the answer, as with a refused token.
//!
//! Owns noticing that. With HTTP/1 such a connection cannot be used again and is closed: the client must be told in the
//! answer (RFC 9112, section 9.6), or else its next request, such as the same one with a new token, fails.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Version, header};
use hyper::body::{Frame, SizeHint};

/// Whether a body was read to its end; none where there is no need to know.
pub(super) struct Unread(Option<Arc<AtomicBool>>);

impl Unread {
    /// Watches the body of a request.
    pub(super) fn watch(request: &mut Request) -> Self {
        if hyper::body::Body::is_end_stream(request.body()) || request.version() > Version::HTTP_11 {
            return Self(None);
        }
        let ended = Arc::new(AtomicBool::new(false));
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = Body::new(Watched { body, ended: Arc::clone(&ended) });
        Self(Some(ended))
    }

    /// Tells the client in `response` that the connection ends, if it does.
    pub(super) fn announce(&self, response: &mut Response) {
        if self.0.as_ref().is_some_and(|ended| !ended.load(Ordering::Relaxed)) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

struct Watched {
    body: Body,
    ended: Arc<AtomicBool>,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            self.ended.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

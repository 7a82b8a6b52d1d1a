//! What all changes share, on whatever route: they run to their end, and tell when somebody was faster.

use std::future::Future;

use chatelaine_core::Error;
use http::StatusCode;

use super::error::ApiError;
use super::limits::Slot;

/// Runs a change to its end, whether or not the client waits for it; the caller's place is taken as long.
pub(crate) async fn to_the_end<T, F>(slot: Slot, change: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    carry_out(async move {
        let result = change.await;
        drop(slot);
        result
    })
    .await
}

/// The same for a change that holds its caller's place itself, with the errors of any interface.
pub(crate) async fn carry_out<T, E, F>(change: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<ApiError> + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    tokio::spawn(change)
        .await
        .unwrap_or_else(|error| Err(ApiError::failed(format!("the task of a change ended: {error}")).into()))
}

/// Somebody was faster, and the caller had not asked for a version: a conflict, not a failed precondition.
pub(crate) fn raced(noun: &str, error: Error) -> ApiError {
    match error {
        Error::VersionMismatch { .. } => ApiError::new(
            StatusCode::CONFLICT,
            format!("the {noun} was changed at the same moment; repeat the request"),
        ),
        other => other.into(),
    }
}

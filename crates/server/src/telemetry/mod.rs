//! What the server says about itself while it runs: the log and the metrics.

pub mod logging;
pub mod metrics;

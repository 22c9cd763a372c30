//! `switchboard serve`: the gateway.

use std::path::Path;
use std::process::ExitCode;

use super::{BAD_CONFIGURATION, block_on, fail, load};
use crate::app::{App, Listeners, RunError};
use crate::config::Config;
use crate::lifecycle;
use crate::telemetry;

pub(super) fn run(path: &Path) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let telemetry = match telemetry::init(&config.log.options()) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(1, &error),
    };
    telemetry::log_panics();
    let app = match App::new(&config, telemetry.metrics()) {
        Ok(app) => app.with_log_level(telemetry.log_level()),
        // Files that it names turned out to be unusable.
        Err(error) => return fail(BAD_CONFIGURATION, &error),
    };
    let ended = block_on(serve(&config, app));
    telemetry.shutdown();
    match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(1, &error),
        Err(error) => fail(1, &error),
    }
}

async fn serve(config: &Config, app: App) -> Result<(), RunError> {
    // First, so that a signal during the start is not lost.
    let signals = lifecycle::signals()?;
    let listeners = Listeners::bind(config.server.listen, config.server.admin_listen).await?;
    // Not as configured: where the port is 0 nobody else tells which one it is.
    let (listen, admin_listen) = (listeners.grpc.local_addr()?, listeners.admin.local_addr()?);
    if config.server.takes_tokens_in_clear() {
        tracing::warn!(
            %listen,
            "callers' tokens come in clear: set server.tls, unless something in front encrypts"
        );
    }
    tracing::info!(
        %listen,
        %admin_listen,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    app.run(listeners, signals).await
}

//! `switchboard serve`: the gateway.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures_util::{Stream, StreamExt as _};

use super::{BAD_CONFIGURATION, block_on, fail, load};
use crate::app::{App, Listeners, RunError};
use crate::config::Config;
use crate::lifecycle;
use crate::telemetry::{self, Telemetry};

pub(super) fn run(path: &Path) -> ExitCode {
    match block_on(start_and_serve(path.to_owned())) {
        Ok(Ok((telemetry, ended))) => {
            telemetry.shutdown();
            ended.map_or_else(last_words, |()| ExitCode::SUCCESS)
        }
        Ok(Err(code)) => code,
        Err(error) => fail(1, &error),
    }
}

/// Whoever has stopped reading stderr does not keep the process from its end.
fn last_words(error: RunError) -> ExitCode {
    telemetry::briefly(move || fail(1, &error)).unwrap_or(ExitCode::FAILURE)
}

/// How the gateway ended; or the exit code when none was started.
async fn start_and_serve(path: PathBuf) -> Result<(Telemetry, Result<(), RunError>), ExitCode> {
    // First, so that a signal during the start is not lost: the kernel keeps those from the first
    // process of a container that it does not listen for.
    let mut signals = lifecycle::signals().map_err(|error| fail(1, &error))?;
    // Apart, since files may be slow.
    let started = tokio::task::spawn_blocking(move || start(&path));
    let (config, telemetry, app) = tokio::select! {
        started = started => started.unwrap_or_else(|it| resume_unwind(it.into_panic()))?,
        // Nobody is served yet, so there is nothing to drain.
        _ = signals.next() => return Err(ExitCode::SUCCESS),
    };
    let ended = serve(&config, app, signals).await;
    Ok((telemetry, ended))
}

fn start(path: &Path) -> Result<(Config, Telemetry, App), ExitCode> {
    let config = load(path)?;
    let telemetry = telemetry::init(&config.log.options()).map_err(|error| fail(1, &error))?;
    telemetry::log_panics();
    let app = App::new(&config, telemetry.metrics())
        // Files that it names turned out to be unusable.
        .map_err(|error| fail(BAD_CONFIGURATION, &error))?
        .with_log_level(telemetry.log_level());
    Ok((config, telemetry, app))
}

async fn serve(config: &Config, app: App, signals: impl Stream<Item = ()>) -> Result<(), RunError> {
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

//! Streams of notifications that are open all the time; whatever ends one, it is opened again.

use std::sync::Arc;
use std::time::Duration;

use switchboard::pb::WatchSessionsRequest;
use switchboard::pb::watch_sessions_response::Event;
use tokio::time::sleep;
use tonic::Status;

use crate::World;
use crate::ask::{Heard, Wire, end_of_stream};
use crate::sessions::{ACCOUNTS, account};

const RPC: &str = "WatchSessions";

/// Goes on until it is dropped.
pub async fn watch(world: Arc<World>, number: usize) {
    let slot = number % world.fleet.size();
    loop {
        let life = world.fleet.current(slot);
        let Ok(wire) = Wire::open(life).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Err(status) = follow(&world, &wire, number % ACCOUNTS).await else {
            let story = format!("a stream of gateway {} ended without an error", life.number);
            world.ledger.violation(&story);
            continue;
        };
        match end_of_stream(&status) {
            Heard::No(_, pair) => world.ledger.hear(RPC, &pair),
            Heard::Lost(cause) => world.ledger.lost(life.number, cause),
            Heard::Unsent => world.ledger.unsent(),
            Heard::Odd(story) => world
                .ledger
                .violation(&format!("no row of the contract: {story}")),
            Heard::Reply(_) => {}
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn follow(world: &World, wire: &Wire, number: usize) -> Result<(), Status> {
    let request = WatchSessionsRequest {
        account: account(number),
        ..Default::default()
    };
    let mut stream = wire.sms().watch_sessions(request).await?.into_inner();
    let mut first = true;
    while let Some(message) = stream.message().await? {
        let is_snapshot = matches!(message.event, Some(Event::Snapshot(_)));
        if first && !is_snapshot {
            let story = "a stream that does not begin with a snapshot".to_owned();
            world.ledger.violation(&story);
        }
        first = false;
        world.ledger.hear(
            RPC,
            if is_snapshot {
                "(snapshot)"
            } else {
                "(notification)"
            },
        );
    }
    Ok(())
}

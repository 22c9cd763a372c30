//! Addresses of names, as the system knows them; some at a time.
//!
//! A look-up blocks a thread, and nothing ends it: where no server of names answers it goes on for
//! a minute after its call has given up. All threads that the runtime has for what blocks would be
//! taken by the calls to one vendor, and nobody could connect to the other.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::vec::IntoIter;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

/// Of one client, of which a vendor has two; the runtime has 512 threads for what blocks.
const AT_ONCE: usize = 64;

type Found = io::Result<IntoIter<SocketAddr>>;

pub(super) struct Names {
    look_up: Arc<dyn Fn(&str) -> Found + Send + Sync>,
    places: Arc<Semaphore>,
}

impl Names {
    pub(super) fn of_the_system() -> Self {
        // The port is the client's to say.
        Self::by(|name| (name, 0).to_socket_addrs())
    }

    fn by(look_up: impl Fn(&str) -> Found + Send + Sync + 'static) -> Self {
        Names {
            look_up: Arc::new(look_up),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Resolve for Names {
    /// Who waits for a place does so no longer than connecting may take.
    fn resolve(&self, name: Name) -> Resolving {
        let (look_up, places) = (Arc::clone(&self.look_up), Arc::clone(&self.places));
        Box::pin(async move {
            let place = places.acquire_owned().await?;
            let look_up = spawn_blocking(move || {
                // Until it ends, and not until nobody waits for it any more.
                let _place = place;
                look_up(name.as_str())
            });
            let addresses = AbortOnDropHandle::new(look_up).await??;
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, mpsc};

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    fn name() -> Name {
        "vendor.example".parse().unwrap()
    }

    #[tokio::test]
    async fn look_ups_that_hang_take_so_many_threads_and_no_more() {
        let (answer, answered) = mpsc::channel::<()>();
        let (answered, begun) = (Mutex::new(answered), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&begun);
        let names = Names::by(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            // Until there will be none.
            let _ = answered.lock().unwrap().recv();
            Ok(vec![([192, 0, 2, 1], 0).into()].into_iter())
        });
        let mut calls: JoinSet<_> = (0..2 * AT_ONCE).map(|_| names.resolve(name())).collect();
        while begun.load(Ordering::Relaxed) < AT_ONCE {
            yield_now().await;
        }
        for _ in 0..1000 {
            yield_now().await;
        }
        calls.shutdown().await;
        // Those that gave up have left their threads taken.
        assert_eq!(names.places.available_permits(), 0);
        drop(answer);
        let mut found = names.resolve(name()).await.unwrap();
        assert_eq!(found.next().unwrap().to_string(), "192.0.2.1:0");
        assert_eq!(begun.load(Ordering::Relaxed), AT_ONCE + 1);
    }

    #[tokio::test]
    async fn names_are_those_of_the_system() {
        let names = Names::of_the_system();
        let mut found = names.resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(found.all(|address| address.ip().is_loopback()));
    }
}

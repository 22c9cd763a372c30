//! The files of a vendor's TLS, and its connections that follow them while they change.

use std::sync::{Arc, Mutex, PoisonError};

use reqwest::{Certificate, ClientBuilder, Identity};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::sleep;

use super::{Connections, TransportError};
use crate::upstream::files::{self, Complaint, LOOK_AGAIN, Print, Settling};
use crate::upstream::observer::Observer;
use crate::upstream::pem::{self, PemError};
use crate::upstream::secret::Secret;
use crate::upstream::settings::{Settings, Tls};

/// The files, read at one time and not yet looked into.
pub struct Files {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<SecretString>,
}

impl Files {
    pub fn read(tls: &Tls) -> Result<Self, TransportError> {
        let read = |path: &Option<_>| path.as_deref().map(files::read).transpose();
        let key = tls.client_key_file.clone();
        Ok(Files {
            ca: read(&tls.ca_file)?,
            cert: read(&tls.client_cert_file)?,
            key: key
                .map(|path| Secret::file(path).read_lines())
                .transpose()?,
        })
    }

    fn print(&self) -> Print {
        let key = self.key.as_ref().map(|key| key.expose_secret().as_bytes());
        Print::of([self.ca.as_deref(), self.cert.as_deref(), key])
    }

    pub(super) fn put_into(
        &self,
        mut builder: ClientBuilder,
        tls: &Tls,
    ) -> Result<ClientBuilder, TransportError> {
        self.look_into(tls)?;
        if let Some(ca) = &self.ca {
            let bundle = Certificate::from_pem_bundle(ca).map_err(TransportError::Client)?;
            builder = builder.tls_certs_merge(bundle);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let key = key.expose_secret().as_bytes();
            let both = Zeroizing::new([cert, &b"\n"[..], key].concat());
            builder = builder.identity(Identity::from_pem(&both).map_err(TransportError::Client)?);
        }
        Ok(builder)
    }

    /// The HTTP client does not say which file it is that it does not like.
    fn look_into(&self, tls: &Tls) -> Result<(), PemError> {
        let authorities = match (&self.ca, &tls.ca_file) {
            (Some(ca), Some(file)) => pem::authorities(ca, file).map(drop),
            _ => Ok(()),
        };
        let cert = self.cert.as_deref().zip(tls.client_cert_file.as_deref());
        let key = self.key.as_ref().zip(tls.client_key_file.as_deref());
        let own = match (cert, key) {
            (Some(cert), Some(key)) => pem::pair(cert, key).map(drop),
            _ => Ok(()),
        };
        pem::both(authorities, own).map(drop)
    }
}

/// Makes all connections to a vendor anew when its files change. Requests under way end as they
/// began; those that come go over new connections.
pub struct Renewal {
    vendor: &'static str,
    settings: Settings,
    connections: [Connections; 2],
    seen: Mutex<Seen>,
    observer: Arc<dyn Observer>,
}

struct Seen {
    in_use: Print,
    settling: Settling,
    /// What could not be used when it was last tried, and why: clients are costly to make.
    refused: Option<(Print, String)>,
    complaint: Complaint,
}

impl Renewal {
    /// `files` are those that the connections were made with.
    pub fn new(
        vendor: &'static str,
        settings: &Settings,
        files: &Files,
        connections: [Connections; 2],
        observer: Arc<dyn Observer>,
    ) -> Self {
        // A series that is there from the start can be alerted on.
        observer.tls_failures(vendor, 0);
        Renewal {
            vendor,
            settings: settings.clone(),
            connections,
            seen: Mutex::new(Seen {
                in_use: files.print(),
                settling: Settling::default(),
                refused: None,
                complaint: Complaint::default(),
            }),
            observer,
        }
    }

    /// Looks at the files again and again, for as long as it is polled.
    pub async fn keep(self: Arc<Self>) {
        if self.settings.tls == Tls::default() {
            return;
        }
        loop {
            sleep(LOOK_AGAIN).await;
            let renewal = Arc::clone(&self);
            // Apart, since a new client reads all of the system's authorities, too.
            let looked = tokio::task::spawn_blocking(move || renewal.look());
            if looked.await.is_err() {
                let vendor = self.vendor;
                tracing::error!(vendor, "a look at the vendor's TLS files failed");
            }
        }
    }

    /// Files that cannot be used leave those from before in use: each look counts it, and the
    /// first one says it.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match self.renew(&mut seen) {
            Ok(renewed) => {
                seen.complaint.is_over();
                if renewed {
                    let vendor = self.vendor;
                    tracing::info!(vendor, "the vendor's TLS files have changed: in use now");
                }
            }
            Err(error) => {
                self.observer.tls_failures(self.vendor, 1);
                if seen.complaint.is_new(&error) {
                    let vendor = self.vendor;
                    tracing::warn!(vendor, error, "tls: the files from before stay in use");
                }
            }
        }
    }

    /// Whether there was something new to be used.
    fn renew(&self, seen: &mut Seen) -> Result<bool, String> {
        let files = Files::read(&self.settings.tls).map_err(|error| error.to_string())?;
        let print = files.print();
        if !seen.settling.is_settled(&print) || print == seen.in_use {
            return Ok(false);
        }
        if let Some((refused, why)) = &seen.refused
            && *refused == print
        {
            return Err(why.clone());
        }
        match self.clients(&files) {
            Ok(clients) => {
                for (connections, client) in self.connections.iter().zip(clients) {
                    connections.client.store(Arc::new(client));
                }
                seen.in_use = print;
                seen.refused = None;
                Ok(true)
            }
            Err(error) => {
                let why = error.to_string();
                seen.refused = Some((print, why.clone()));
                Err(why)
            }
        }
    }

    /// In the order of the connections: all of them, or none.
    fn clients(&self, files: &Files) -> Result<Vec<reqwest::Client>, TransportError> {
        let client = |it: &Connections| super::client(&self.settings, it.protocol, files);
        self.connections.iter().map(client).collect()
    }
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;

//! A simulator of what a scale set's VM sees of Azure, for tests and for anyone without a subscription: instance
//! metadata, identity tokens, scheduled events, the scale set's VMs in Resource Manager, Monitor's ingestion of custom
//! metrics, Key Vault's secrets, and what the wire server says to a VM that is being provisioned. It refuses what Azure refuses, keeps what it received, and plays faults.
//!
//! All services have one address; the path tells them apart. It speaks HTTP and HTTPS on the same port.

pub mod access;
pub mod compute;
pub mod control;
pub mod fault;
pub mod message;
pub mod metadata;
pub mod monitor;
pub mod pool;
pub mod server;
pub mod template;
pub mod vault;
pub mod wire;
pub mod world;

use fault::Fault;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use server::Shared;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use world::World;

/// How long tests wait for what must come: long, since machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running simulator. It goes on until the process ends.
#[derive(Debug)]
pub struct Azure {
    shared: Arc<Shared>,
    address: SocketAddr,
    certificate: String,
}

impl Azure {
    /// Starts one for this world at `address`; port 0 takes any.
    ///
    /// # Errors
    /// As of bind(2), or when no certificate can be made.
    pub fn at(world: World, address: SocketAddr) -> io::Result<Self> {
        Self::on(world, TcpListener::bind(address)?)
    }

    /// Starts one for this world that listens there.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn on(world: World, listener: TcpListener) -> io::Result<Self> {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|c| c.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
            .map_err(io::Error::other)?;
        let shared = Arc::new(Shared::new(world, Arc::new(tls)));
        let address = listener.local_addr()?;
        server::serve(listener, 0, shared.clone());
        Ok(Self { shared, address, certificate: made.cert.pem() })
    }

    /// Starts one at a free port of this machine.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start(world: World) -> Self {
        Self::at(world, SocketAddr::from(([127, 0, 0, 1], 0))).expect("a simulator starts")
    }

    /// The address of the first VM's metadata, and of all other services.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same by TLS, with [`Azure::certificate`].
    pub fn https(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate that it shows, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Another address, at which another VM is the one that asks.
    ///
    /// # Errors
    /// As of bind(2).
    pub fn also(&self, vm: usize) -> io::Result<String> {
        let listener = TcpListener::bind((self.address.ip(), 0))?;
        let address = listener.local_addr()?;
        server::serve(listener, vm, self.shared.clone());
        Ok(format!("http://{address}"))
    }

    /// Another address of the first VM's services.
    ///
    /// # Errors
    /// As of bind(2).
    pub fn also_at(&self, address: SocketAddr) -> io::Result<()> {
        server::serve(TcpListener::bind(address)?, 0, self.shared.clone());
        Ok(())
    }

    /// The world; all services wait while it is held.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// From now on these faults.
    pub fn play(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world().faults = faults.into_iter().collect();
    }

    /// Waits until `what` gives something; it is asked after every request.
    ///
    /// # Panics
    /// It never comes.
    pub fn until<T>(&self, name: &str, what: impl FnMut(&mut World) -> Option<T>) -> T {
        self.shared.wait(PATIENCE, what).unwrap_or_else(|| panic!("{name}: not within {} s", PATIENCE.as_secs()))
    }
}

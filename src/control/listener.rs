//! From a listening socket to a request: who may connect, for whom a load balancer does, TLS.

use super::answer::answer;
use super::places::{CONNECTIONS_MAX, Place, Places, SHARE_MAX};
use super::stall::Stalling;
use super::{HttpListener, Site};
use crate::transport::settings::{CertificateName, ListenerSettings};
use crate::transport::tls::HelloReader;
use crate::transport::{Gate, HEADER_BYTES_MAX, Header, Peer, Seat, read_proxy_header};
use crate::types::any_contains;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::{IpAddr, TcpListener as Listener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tracing::{debug, error};

/// How long the head of a request may take, and how long a connection may stay without one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a request's head at most; hyper takes no less than this.
const HEAD_BYTES_MAX: usize = 8_192;
/// How long accepting rests when the process is out of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Who is at the other end of a request, and its place.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) peer: Peer,
    /// Taken by the request that becomes a WebSocket.
    pub(super) seat: Arc<Seat>,
    pub(super) user: Option<Box<str>>,
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error("its address is not in allow of its listener, or it is in deny")]
    Denied,
    #[error("more connections on its listener than connections_max")]
    Full,
    #[error(
        "{SHARE_MAX} other connections of its address have not become WebSockets; trusted_proxies of its listener have no such bound"
    )]
    Share,
    #[error("{0}")]
    Header(#[from] crate::transport::BadHeader),
    #[error("not done in time: {0}")]
    Slow(&'static str),
    #[error("TLS: {0}")]
    Tls(io::Error),
}

/// Accepts connections until the thread ends.
pub(super) async fn serve(listener: HttpListener, site: Rc<Site>) {
    let HttpListener { socket, gate } = listener;
    let socket = match TcpListener::from_std(Listener::from(socket)) {
        Ok(socket) => socket,
        Err(cause) => return error!(%cause, "cannot serve HTTP"),
    };
    let (room, places) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Places::default());
    let handshakes_max = gate.settings().tls.as_ref().map_or(1, |tls| tls.handshakes_max);
    let handshakes = Arc::new(Semaphore::new(handshakes_max as usize));
    loop {
        // Neither is ever closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(cause) => {
                site.refused(Peer::Unknown, &format_args!("cannot accept connections: {cause}"));
                sleep(BACK_OFF).await;
                continue;
            }
        };
        let (gate, site, handshakes) = (Arc::clone(&gate), Rc::clone(&site), Arc::clone(&handshakes));
        let places = places.clone();
        spawn_local(async move {
            let client = Peer::Net(peer);
            let mut connection = Connection { client, site: &site, places: &places, handshakes: &handshakes };
            if let Err(why) = connection.run(stream, peer.ip(), &gate).await {
                site.refused(connection.client, &why);
            }
            drop(place);
        });
    }
}

struct Connection<'a> {
    /// Who is at the other end, behind a load balancer if there is one.
    client: Peer,
    site: &'a Rc<Site>,
    places: &'a Places,
    handshakes: &'a Semaphore,
}

impl Connection<'_> {
    async fn run(&mut self, mut stream: TcpStream, from: IpAddr, gate: &Arc<Gate>) -> Result<(), Turned> {
        let ListenerSettings { proxies, username_from_cert, tls, .. } = gate.settings();
        let mut user = None;
        if any_contains(proxies, from) {
            let header = timeout(HEAD_TIMEOUT, header(&mut stream)).await;
            let header = header.map_err(|_| Turned::Slow("PROXY protocol header"))??;
            self.client = header.client.map_or(self.client, Peer::Net);
            if *username_from_cert == Some(CertificateName::CommonName) {
                user = header.common_name;
            }
        }
        if !gate.admits(self.client.ip()) {
            return Err(Turned::Denied);
        }
        let _place = self.share(gate)?;
        let seat = Arc::new(gate.enter().ok_or(Turned::Full)?);
        let client = Client { peer: self.client, seat, user };
        let (Some(tls), Some(acceptor)) = (tls, gate.tls()) else {
            self.http(stream, client).await;
            return Ok(());
        };
        let limit = Duration::from_millis(tls.handshake_timeout.0);
        let stream = timeout(limit, async {
            // Never closed.
            let _turn = self.handshakes.acquire().await;
            let hello = LazyConfigAcceptor::new(HelloReader::default(), stream).await?;
            let config = acceptor.config(&hello.client_hello());
            hello.into_stream(config).await
        });
        let stream = stream.await.map_err(|_| Turned::Slow("TLS handshake"))?.map_err(Turned::Tls)?;
        self.http(stream, client).await;
        Ok(())
    }

    /// Takes a place out of the share of a client's address. Who is trusted to connect for others has all places.
    fn share(&self, gate: &Gate) -> Result<Option<Place>, Turned> {
        let Some(address) = self.client.ip() else { return Ok(None) };
        if any_contains(&gate.settings().web.trusted_proxies, address) {
            return Ok(None);
        }
        self.places.take(address).map(Some).ok_or(Turned::Share)
    }

    /// Answers requests, one after the other.
    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, client: Client) {
        let site = Rc::clone(self.site);
        let service = service_fn(move |request| {
            let (site, client) = (Rc::clone(&site), client.clone());
            async move { Ok::<_, std::convert::Infallible>(answer(&site, client, request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Stalling::new(stream)), service)
            .with_upgrades();
        if let Err(why) = served.await {
            debug!(peer = %self.client, "HTTP: {why}");
        }
    }
}

/// Takes a load balancer's header off a connection, and no byte more.
async fn header(stream: &mut TcpStream) -> Result<Header, crate::transport::BadHeader> {
    use crate::transport::BadHeader::Missing;
    let (mut bytes, mut before) = (vec![0; HEADER_BYTES_MAX], 0);
    loop {
        let count = stream.peek(&mut bytes).await.map_err(|_| Missing)?;
        if let Some(header) = read_proxy_header(&bytes[..count])? {
            stream.read_exact(&mut bytes[..header.len]).await.map_err(|_| Missing)?;
            return Ok(header);
        }
        if count == before {
            // Looking does not wait for more than there was.
            sleep(Duration::from_millis(10)).await;
        }
        if count == 0 {
            return Err(Missing);
        }
        before = count;
    }
}

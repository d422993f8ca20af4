//! Serving by go-plugin's contract: the cookie, the handshake line, mutual TLS, and an end in good order.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router};
use tonic::{Request, Response, Status};

use crate::calls::Ending;
use crate::contract::agenthost::plugin::v1::{
    call_service_server::CallServiceServer, plugin_service_server::PluginServiceServer,
};
use crate::contract::flyteidl::service::{
    agent_metadata_service_server::AgentMetadataServiceServer, async_agent_service_server::AsyncAgentServiceServer,
    sync_agent_service_server::SyncAgentServiceServer,
};
use crate::contract::plugin::{
    Empty, StdioData,
    grpc_controller_server::{GrpcController, GrpcControllerServer},
    grpc_stdio_server::{GrpcStdio, GrpcStdioServer},
};
use crate::hostlog;
use crate::plugin::Plugin;
use crate::service::Services;
use crate::tls::Identity;

const COOKIE: (&str, &str) = ("AGENTHOST_PLUGIN", "flyte-agent-plugin");
const PROTOCOL_VERSION: &str = "1";
/// How long calls under way may take to end when the plugin is told to stop. The host has drained it before, mostly.
const DRAIN: Duration = Duration::from_secs(4);
/// How long agents may take to close after that, at least.
const CLOSE: Duration = Duration::from_secs(1);
/// How long the last answers may take to leave, once no call is under way.
const FLUSH: Duration = Duration::from_millis(500);
/// The longest path that a socket's address holds, in bytes.
const MAX_PATH: usize = 107;
/// How long a peer may take for its side of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

impl Plugin {
    /// Serves the plugin until the host stops it, and ends the process. Log with `tracing`: level and fields arrive in the host's
    /// log. What is printed arrives there, too.
    pub fn serve(self) -> ! {
        if env::var(COOKIE.0).as_deref() != Ok(COOKIE.1) {
            eprintln!("{}", hint(&self));
            std::process::exit(1);
        }
        let outcome = start(self);
        if let Err(error) = &outcome {
            eprintln!("[ERROR] {error}");
        }
        std::process::exit(outcome.is_err().into())
    }
}

fn start(plugin: Plugin) -> Result<(), String> {
    if plugin.registry.agents().is_empty() {
        return Err(format!("plugin {} has no agent", plugin.name));
    }
    if !plugin.mistakes.is_empty() {
        return Err(format!("plugin {}: {}", plugin.name, plugin.mistakes.join("; ")));
    }
    let versions = env::var("PLUGIN_PROTOCOL_VERSIONS").unwrap_or_default();
    if !versions.split(',').any(|version| version.trim() == PROTOCOL_VERSION) {
        return Err(format!(
            "the host speaks versions {versions:?} of the plugin contract, and this plugin speaks {PROTOCOL_VERSION}"
        ));
    }
    let handshake = divert_stdout().map_err(|e| format!("cannot divert stdout: {e}"))?;
    hostlog::init();
    // It runs nothing that an author wrote, and so needs few threads.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("serving").enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(serve(plugin, handshake))
}

/// Keeps stdout for the handshake line: what the program or its libraries print goes to stderr, from where the host logs it.
fn divert_stdout() -> io::Result<File> {
    // Safety: dup and dup2 take and give plain descriptors, and the new one is owned by the File alone.
    unsafe {
        let kept = libc::dup(1);
        if kept < 0 || libc::dup2(2, 1) < 0 || libc::fcntl(kept, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(kept))
    }
}

async fn serve(plugin: Plugin, mut handshake: File) -> Result<(), String> {
    let socket = Socket::new(&plugin.name).map_err(|e| format!("cannot make a place for the socket: {e}"))?;
    if socket.path.as_os_str().len() > MAX_PATH {
        return Err(format!(
            "the path of the socket has more than {MAX_PATH} bytes: {}; give the host a shorter run_dir",
            socket.path.display()
        ));
    }
    let listener =
        UnixListener::bind(&socket.path).map_err(|e| format!("cannot listen on {}: {e}", socket.path.display()))?;
    let (tls, certificate) = match env::var("PLUGIN_CLIENT_CERT") {
        Ok(pem) if !pem.is_empty() => {
            let identity = Identity::new().map_err(|e| format!("cannot make a certificate: {e}"))?;
            (Some(TlsAcceptor::from(Arc::new(identity.server(&pem)?))), identity.handshake_field())
        }
        _ => (None, String::new()),
    };
    let services = Services::new(plugin);
    let (stop, mut stopping) = mpsc::channel(1);
    let (over, ended) = watch::channel(false);
    let control = Control { stop, ended: ended.clone() };
    let router = router(&services)
        .await
        .add_service(GrpcControllerServer::new(control.clone()))
        .add_service(GrpcStdioServer::new(control));
    let mut over_soon = ended.clone();
    let serving = tokio::spawn(router.serve_with_incoming_shutdown(incoming(listener, tls), async move {
        let _ = over_soon.wait_for(|over| *over).await;
    }));
    // Nobody else asks for SIGINT: a Ctrl-C at the host reaches the whole process group, and is the host's to act on.
    let (mut interrupt, mut terminate) = signals().map_err(|e| format!("cannot handle signals: {e}"))?;
    let line = format!("1|{PROTOCOL_VERSION}|unix|{}|grpc|{certificate}\n", socket.path.display());
    handshake
        .write_all(line.as_bytes())
        .and_then(|()| handshake.flush())
        .map_err(|e| format!("cannot tell the host where I serve: {e}"))?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => continue,
            _ = terminate.recv() => break,
            _ = stopping.recv() => break,
        }
    }
    services.0.replaced.send_replace(true);
    let end = Instant::now() + DRAIN + CLOSE;
    let drained = tokio::time::timeout(DRAIN, services.0.calls.drain()).await.is_ok();
    if drained {
        services.0.ending.send_replace(Ending::Drained);
    } else {
        tracing::warn!("stopping with calls under way that have not ended within {DRAIN:?}");
    }
    services.close(end.saturating_duration_since(Instant::now())).await;
    if !drained {
        services.0.ending.send_replace(Ending::CutOff);
    }
    let _ = over.send(true);
    let _ = tokio::time::timeout(FLUSH, serving).await; // what it is late with is not waited for
    drop(socket);
    Ok(())
}

fn signals() -> io::Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)> {
    Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
}

/// The services of a plugin but go-plugin's own.
pub(crate) async fn router(services: &Services) -> Router {
    let (health, serving) = tonic_health::server::health_reporter();
    health.set_service_status("plugin", tonic_health::ServingStatus::Serving).await;
    Server::builder()
        .add_service(serving)
        .add_service(AsyncAgentServiceServer::new(services.clone()).max_decoding_message_size(usize::MAX))
        .add_service(SyncAgentServiceServer::new(services.clone()).max_decoding_message_size(usize::MAX))
        .add_service(CallServiceServer::new(services.clone()).max_decoding_message_size(usize::MAX))
        .add_service(AgentMetadataServiceServer::new(services.clone()))
        .add_service(PluginServiceServer::new(services.clone()).max_decoding_message_size(usize::MAX))
}

/// The path of the socket, removed in the end.
struct Socket {
    path: PathBuf,
    _own: Option<tempfile::TempDir>,
}

impl Socket {
    fn new(name: &str) -> io::Result<Self> {
        let own = match env::var_os("PLUGIN_UNIX_SOCKET_DIR") {
            Some(dir) if !dir.is_empty() => {
                return Ok(Socket { path: Path::new(&dir).join(Self::file(name)), _own: None });
            }
            _ => tempfile::Builder::new().prefix("plugin-").tempdir()?, // mode 0700
        };
        Ok(Socket { path: own.path().join(Self::file(name)), _own: Some(own) })
    }

    /// Short: the whole path has to fit into 107 bytes.
    fn file(name: &str) -> String {
        let short: String = name.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        format!("{short}-{}.sock", std::process::id())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Connections that have passed their TLS handshake. Each has its handshake in a task of its own, so that a peer that says
/// nothing keeps nobody else waiting.
fn incoming(listener: UnixListener, tls: Option<TlsAcceptor>) -> impl Stream<Item = io::Result<Conn>> {
    let (accepted, connections) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await; // out of descriptors, mostly
                    continue;
                }
            };
            let (tls, accepted) = (tls.clone(), accepted.clone());
            tokio::spawn(async move {
                match secure(stream, tls).await {
                    Ok(conn) => drop(accepted.send(Ok(conn)).await),
                    Err(error) => tracing::debug!("refused a connection: {error}"),
                }
            });
        }
    });
    ReceiverStream::new(connections).boxed()
}

async fn secure(stream: UnixStream, tls: Option<TlsAcceptor>) -> io::Result<Conn> {
    let Some(acceptor) = tls else {
        return Ok(Conn::Plain(stream));
    };
    Ok(Conn::Tls(Box::new(tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??)))
}

/// A connection from the host.
enum Conn {
    Plain(UnixStream),
    Tls(Box<TlsStream<UnixStream>>),
}

impl Connected for Conn {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut task::Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Conn::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut task::Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Conn::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Conn::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Conn::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Conn::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// go-plugin's own services.
#[derive(Clone)]
struct Control {
    stop: mpsc::Sender<()>,
    ended: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl GrpcController for Control {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        let _ = self.stop.try_send(()); // full: it was told before
        Ok(Response::new(Empty {}))
    }
}

#[tonic::async_trait]
impl GrpcStdio for Control {
    type StreamStdioStream = Pin<Box<dyn Stream<Item = Result<StdioData, Status>> + Send>>;

    /// Held open and empty: what the process prints goes to its stderr, which the host reads.
    async fn stream_stdio(&self, _: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        let mut ended = self.ended.clone();
        let end = async move {
            let _ = ended.wait_for(|over| *over).await;
            None
        };
        Ok(Response::new(Box::pin(futures_util::stream::once(end).filter_map(std::future::ready))))
    }
}

/// For a person who started the program by hand.
fn hint(plugin: &Plugin) -> String {
    let program = env::args().next().unwrap_or_default();
    let stem = Path::new(&program).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut serves = String::new();
    for agent in plugin.registry.listed() {
        let mode = if agent.is_sync { "sync" } else { "async" };
        for category in agent.supported_task_categories {
            serves += &format!("  task type {}, version {} ({mode})\n", category.name, category.version);
        }
    }
    format!(
        "{} {} is a Flyte agent plugin: it is started by agenthost, not by hand. It serves\n\n{serves}\nGive it to the host in its configuration file:\n\n  plugins:\n    {stem}:\n      command: [{program}]\n\nThen \"agenthost check --start\" starts it once and shows what it serves, \"agenthost task run\" runs a single task with it,\nand \"agenthost serve\" serves it to Flyte.",
        plugin.name, plugin.version
    )
}

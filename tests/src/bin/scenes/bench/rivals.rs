//! The process that has the same services, written with tokio.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::server::{Answer, Ask, Service, answer_all, cpu_time};
use super::traffic::{Told, Wanted};

/// As large as the driver's buffers are.
const BUFFER: usize = 64 << 10;

/// The process.
pub fn serve() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    answer_all(|ask| match ask {
        Ask::Start(service) => Ok(Answer::Address(runtime.block_on(start(service))?)),
        Ask::Traffic(wanted) => Ok(Answer::Traffic(runtime.block_on(traffic(wanted))?)),
        Ask::Cpu => Ok(cpu_time()),
        other => bail!("this server cannot {other:?}"),
    })
}

async fn start(service: Service) -> Result<SocketAddr> {
    if matches!(service, Service::UdpEcho) {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        tokio::spawn(echo_datagrams(socket));
        return Ok(address);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    match service {
        Service::Echo => tokio::spawn(accept_all(listener, |stream| tokio::spawn(echo(stream)))),
        Service::Forward(target) => tokio::spawn(accept_all(listener, move |stream| tokio::spawn(forward(stream, target)))),
        other => bail!("this server has no {other:?}"),
    };
    Ok(address)
}

async fn accept_all<T>(listener: TcpListener, serve: impl Fn(TcpStream) -> T) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        serve(stream);
    }
}

/// As the driver does it: receive into one buffer, send that buffer, and so on.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

/// As the driver does it: one task, one datagram at a time.
async fn echo_datagrams(socket: UdpSocket) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..length], from).await?;
    }
}

async fn forward(mut stream: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut onward = TcpStream::connect(target).await?;
    onward.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut stream, &mut onward, BUFFER, BUFFER).await.map(drop)
}

/// The client: on each connection a message goes, and the next when it is back.
async fn traffic(wanted: Wanted) -> Result<Told> {
    let (together, mut tasks) = (Arc::new(Barrier::new(wanted.connections + 1)), JoinSet::new());
    for _ in 0..wanted.connections {
        let stream = TcpStream::connect(wanted.target).await?;
        stream.set_nodelay(true)?;
        tasks.spawn(ping_pong(stream, wanted, Arc::clone(&together)));
    }
    together.wait().await;
    let (began, mut times) = (Instant::now(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        times.append(&mut done??);
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    let p99 = *times.get(times.len() * 99 / 100).context("no message came back")?;
    Ok(Told { rate, p99 })
}

async fn ping_pong(mut stream: TcpStream, wanted: Wanted, together: Arc<Barrier>) -> std::io::Result<Vec<Duration>> {
    let (mut message, mut times) = (vec![0x5a; wanted.message], Vec::new());
    together.wait().await;
    let began = Instant::now();
    while began.elapsed() < wanted.time {
        let sent = Instant::now();
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
        times.push(sent.elapsed());
    }
    Ok(times)
}

//! The process that has the same services, written with tokio.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::server::{Answer, Ask, Service, answer_all, cpu_time};

/// As large as the driver's buffers are.
const BUFFER: usize = 64 << 10;

/// The process.
pub fn serve() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    answer_all(|ask| match ask {
        Ask::Start(service) => Ok(Answer::Address(runtime.block_on(start(service))?)),
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

//! The host's own TCP/IP, by non-blocking sockets and a reactor thread per processor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketFlags,
    SocketType, sockopt,
};

use super::names::{self, Answer, Question, Unresolved};
use super::reactor::{Key, Reactor};
use super::{Ancillary, Connecting, Endpoint, Family, Job, Ready, Received, Setting, Slot, Transport};

mod datagram;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
/// The host cuts it to its own limit.
const BACKLOG: i32 = 65_535;

struct Reactors {
    all: Vec<Arc<Reactor>>,
    next: AtomicUsize,
}

impl Reactors {
    /// Connections are spread evenly.
    fn pick(&self) -> Arc<Reactor> {
        Arc::clone(&self.all[self.next.fetch_add(1, Ordering::Relaxed) % self.all.len()])
    }
}

/// The host's network.
pub struct Host {
    reactors: Arc<Reactors>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Host {
    /// Starts `count` reactor threads; each calls `on_start` with its number first.
    ///
    /// # Errors
    /// The host's, for threads and what they wait with.
    pub fn start(count: u32, on_start: impl Fn(u32) + Send + Sync + 'static) -> io::Result<Self> {
        allow_many_files();
        let on_start = Arc::new(on_start);
        let mut all = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count.max(1) {
            let reactor = Arc::new(Reactor::new()?);
            let (begin, thread) = (Arc::clone(&on_start), Arc::clone(&reactor));
            let body = move || {
                begin(number);
                thread.run();
            };
            threads.push(std::thread::Builder::new().name(format!("net{number}")).spawn(body)?);
            all.push(reactor);
        }
        let reactors = Arc::new(Reactors { all, next: AtomicUsize::new(0) });
        Ok(Self { reactors, threads: Mutex::new(threads) })
    }
}

/// A server holds a file per connection, and so does a client of its in the same process.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

impl Transport for Host {
    fn stream(&self, family: Family) -> io::Result<Box<dyn Endpoint>> {
        let domain = if family == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = rustix::net::socket_with(domain, SocketType::STREAM, FLAGS, None)?;
        if family == Family::V6 {
            sockopt::set_ipv6_v6only(&fd, true)?;
        }
        Ok(HostEndpoint::boxed(fd, &self.reactors))
    }

    fn datagrams(&self, family: Family) -> io::Result<Box<dyn Endpoint>> {
        let domain = if family == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = rustix::net::socket_with(domain, SocketType::DGRAM, FLAGS, None)?;
        if family == Family::V6 {
            sockopt::set_ipv6_v6only(&fd, true)?;
        }
        datagram::say_where_to(fd.as_fd(), family)?;
        Ok(HostEndpoint::boxed(fd, &self.reactors))
    }

    fn later(&self, delay: Duration, job: Job) {
        self.reactors.pick().later(delay, job);
    }

    fn addresses(&self, family: Family) -> io::Result<Vec<SocketAddr>> {
        let all = if_addrs::get_if_addrs()?.into_iter().map(|one| SocketAddr::new(one.ip(), 0));
        Ok(all.filter(|one| one.is_ipv4() == (family == Family::V4)).collect())
    }

    fn resolve(&self, question: &Question) -> Result<Answer, Unresolved> {
        names::ask(question)
    }

    fn names(&self, address: &SocketAddr, flags: u32) -> Result<(String, String), Unresolved> {
        names::tell(address, flags)
    }

    fn aside(&self, job: Job) {
        let job = Arc::new(Mutex::new(Some(job)));
        let run = |job: &Mutex<Option<Job>>| {
            let job = job.lock().unwrap().take();
            job.into_iter().for_each(|job| job());
        };
        let theirs = Arc::clone(&job);
        let thread = std::thread::Builder::new().name(String::from("aside")).spawn(move || run(&theirs));
        if thread.is_err() {
            // On a thread that the network waits for: late is better than never.
            self.later(Duration::ZERO, Box::new(move || run(&job)));
        }
    }

    fn stop(&self) {
        self.reactors.all.iter().for_each(|reactor| reactor.stop());
        for thread in self.threads.lock().unwrap().drain(..) {
            let _ = thread.join();
        }
    }
}

struct HostEndpoint {
    fd: OwnedFd,
    reactors: Arc<Reactors>,
    watched: Mutex<Option<(Arc<Reactor>, Key)>>,
}

impl HostEndpoint {
    fn boxed(fd: OwnedFd, reactors: &Arc<Reactors>) -> Box<dyn Endpoint> {
        Box::new(Self { fd, reactors: Arc::clone(reactors), watched: Mutex::new(None) })
    }
}

impl Endpoint for HostEndpoint {
    fn bind(&self, address: SocketAddr) -> io::Result<()> {
        Ok(rustix::net::bind(&self.fd, &address)?)
    }

    fn listen(&self) -> io::Result<()> {
        Ok(rustix::net::listen(&self.fd, BACKLOG)?)
    }

    fn accept(&self) -> io::Result<(Box<dyn Endpoint>, SocketAddr)> {
        let (fd, peer) = rustix::net::acceptfrom_with(&self.fd, FLAGS)?;
        let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((Self::boxed(fd, &self.reactors), address(peer)?))
    }

    fn connect(&self, address: SocketAddr) -> io::Result<Connecting> {
        match rustix::net::connect(&self.fd, &address) {
            Ok(()) => Ok(Connecting::Done),
            Err(Errno::INPROGRESS) => Ok(Connecting::Begun),
            Err(error) => Err(error.into()),
        }
    }

    fn outcome(&self) -> io::Result<()> {
        match sockopt::socket_error(&self.fd)? {
            Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if let [one] = into {
            return Ok(rustix::net::recv(&self.fd, &mut **one, RecvFlags::empty())?.1);
        }
        let mut nothing = RecvAncillaryBuffer::default();
        Ok(rustix::net::recvmsg(&self.fd, into, &mut nothing, RecvFlags::empty())?.bytes)
    }

    fn at_end(&self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        matches!(rustix::net::recv(&self.fd, &mut byte[..], RecvFlags::PEEK), Ok((_, 0)))
    }

    fn send(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [one] = from {
            return Ok(rustix::net::send(&self.fd, one, SendFlags::NOSIGNAL)?);
        }
        let mut nothing = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(&self.fd, from, &mut nothing, SendFlags::NOSIGNAL)?)
    }

    fn receive_from(&self, into: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        datagram::receive(self.fd.as_fd(), into)
    }

    fn receive_many(&self, into: &mut [Slot]) -> io::Result<usize> {
        datagram::receive_many(self.fd.as_fd(), into)
    }

    fn send_many(&self, from: &[&[IoSlice<'_>]], to: SocketAddr, with: &Ancillary) -> io::Result<usize> {
        datagram::send_many(self.fd.as_fd(), from, to, with)
    }

    fn finish(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.fd, Shutdown::Write)?)
    }

    fn reset_on_drop(&self) {
        let _ = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO));
    }

    fn local(&self) -> io::Result<SocketAddr> {
        address(rustix::net::getsockname(&self.fd)?)
    }

    fn peer(&self) -> io::Result<SocketAddr> {
        address(rustix::net::getpeername(&self.fd)?.ok_or(io::ErrorKind::NotConnected)?)
    }

    fn set(&self, setting: Setting) -> io::Result<()> {
        let fd = self.fd.as_fd();
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        Ok(match setting {
            Setting::OnlyV6(on) => sockopt::set_ipv6_v6only(fd, on),
            Setting::ReuseAddress(on) => sockopt::set_socket_reuseaddr(fd, on),
            Setting::SharePort(on) => {
                sockopt::set_socket_reuseaddr(fd, true).and_then(|()| sockopt::set_socket_reuseport(fd, on))
            }
            Setting::KeepAlive(on) => sockopt::set_socket_keepalive(fd, on),
            Setting::KeepIdle(value) => sockopt::set_tcp_keepidle(fd, seconds(value)),
            Setting::KeepInterval(value) => sockopt::set_tcp_keepintvl(fd, seconds(value)),
            Setting::KeepCount(value) => sockopt::set_tcp_keepcnt(fd, value),
            Setting::NoDelay(on) => sockopt::set_tcp_nodelay(fd, on),
            Setting::SendBuffer(value) => sockopt::set_socket_send_buffer_size(fd, value as usize),
            Setting::ReceiveBuffer(value) => sockopt::set_socket_recv_buffer_size(fd, value as usize),
            other => return datagram::set(fd, other),
        }?)
    }

    fn waiting(&self) -> usize {
        rustix::io::ioctl_fionread(&self.fd).unwrap_or(0) as usize
    }

    fn watch(&self, sink: Arc<dyn Ready>) -> io::Result<()> {
        let reactor = self.reactors.pick();
        let key = reactor.add(self.fd.as_fd(), sink)?;
        *self.watched.lock().unwrap() = Some((reactor, key));
        Ok(())
    }

    fn unwatch(&self) {
        let watched = self.watched.lock().unwrap().take();
        if let Some((reactor, key)) = watched {
            reactor.remove(self.fd.as_fd(), key);
        }
    }
}

fn address(any: SocketAddrAny) -> io::Result<SocketAddr> {
    SocketAddr::try_from(any).map_err(io::Error::from)
}

//! [`ControlSocket`]: the devices of a bench, for tools in other processes.
//!
//! A connection is a handle: it opens a device by name, its requests go to the driver one after the other, and hanging up
//! closes it, as the end of a process closes its handles.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use bench_wire::frame::{Question, Reply};
use bench_wire::place;
use ntbench::{Bench, Handle, NtStatus};

/// A socket at which a bench's devices are served, until this is dropped.
pub struct ControlSocket {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the acceptor and the connections share.
struct Shared {
    bench: Arc<Bench>,
    ending: AtomicBool,
    next: AtomicU64,
    connections: Mutex<BTreeMap<u64, Connection>>,
}

struct Connection {
    stream: UnixStream,
    thread: JoinHandle<()>,
}

impl ControlSocket {
    /// Serves where tools look by themselves.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn serve(bench: Arc<Bench>) -> Result<Self> {
        Self::serve_at(bench, place::listen().context("could not make a socket for tools")?)
    }

    /// Serves at `<name>.sock` in this folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn serve_in(bench: Arc<Bench>, folder: &Path, name: &str) -> Result<Self> {
        Self::serve_at(bench, place::listen_in(folder, name).context("could not make a socket for tools")?)
    }

    fn serve_at(bench: Arc<Bench>, (listener, path): (UnixListener, PathBuf)) -> Result<Self> {
        let (ending, next, connections) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { bench, ending, next, connections });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new().name("tools".to_owned()).spawn(move || accepting.accept(&listener))?;
        Ok(Self { path, shared, acceptor: Some(acceptor) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    /// Takes no more tools, and waits for the requests that are under way: the driver can be unloaded afterwards.
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        // Wakes the acceptor, if it can be reached.
        let woken = UnixStream::connect(&self.path).is_ok();
        let _ = std::fs::remove_file(&self.path);
        if let Some(acceptor) = self.acceptor.take().filter(|_| woken) {
            let _ = acceptor.join();
        }
        let connections = std::mem::take(&mut *self.shared.connections());
        for Connection { stream, .. } in connections.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        connections.into_values().for_each(|connection| drop(connection.thread.join()));
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming() {
            if self.ending.load(Ordering::Acquire) {
                return;
            }
            if let Err(error) = stream.and_then(|stream| self.admit(stream)) {
                eprintln!("a tool could not be served: {error}");
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let (id, own, shared) = (self.next.fetch_add(1, Ordering::Relaxed), stream.try_clone()?, Arc::clone(self));
        // Held until the connection is in the list, from which its thread takes it.
        let mut connections = self.connections();
        let thread = std::thread::Builder::new().name(format!("tool {id}")).spawn(move || {
            // An error is the tool's: it is gone, or talks nonsense.
            let _ = serve(&shared.bench, own);
            shared.connections().remove(&id);
        })?;
        connections.insert(id, Connection { stream, thread });
        Ok(())
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers until the other end hangs up. The handle is closed before the connection is.
fn serve(bench: &Bench, mut stream: UnixStream) -> io::Result<()> {
    let mut handle = None;
    while let Some(question) = Question::read(&mut stream)? {
        answer(bench, &mut handle, question).write(&mut stream)?;
    }
    Ok(())
}

fn answer(bench: &Bench, handle: &mut Option<Handle>, question: Question) -> Reply {
    match (question, handle) {
        (Question::Open(name), handle @ None) => match bench.open(&name) {
            Ok(opened) => {
                *handle = Some(opened);
                reply(NtStatus::SUCCESS, 0, Vec::new())
            }
            Err(status) => reply(status, 0, Vec::new()),
        },
        (Question::Control { code, input, room }, Some(handle)) => match handle.ioctl(code, &input, room) {
            Ok(output) => reply(NtStatus::SUCCESS, output.len(), output),
            Err(error) => reply(error.status, error.information, Vec::new()),
        },
        (Question::Open(_), Some(_)) | (Question::Control { .. }, None) => reply(NtStatus::INVALID_HANDLE, 0, Vec::new()),
    }
}

fn reply(status: NtStatus, information: usize, output: Vec<u8>) -> Reply {
    Reply { status: status.0 as u32, information: information as u64, output }
}

//! [`Session`]: the driver installed in a prefix, and what each scene does with it.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wskclient_tests::SERVICE;
use wskclient_tests::wine::{Log, Mark, Prefix, Service, Story, story};

use super::Parts;

/// How long anything may take that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A prefix with the driver's file and the shim's in it.
pub struct Session {
    prefix: Prefix,
    /// Where what is looked at begins in the log: the start of the driver, or the step before this one.
    mark: Cell<Mark>,
}

impl Session {
    /// Opens the prefix and puts the two files there.
    pub fn open(parts: &Parts) -> Result<Self> {
        let prefix = Prefix::open(&parts.programs(), &parts.folder)?;
        prefix.install(&parts.shim, "wdfldr.sys")?;
        prefix.install(&parts.driver, "wskclient.sys")?;
        let session = Self { prefix, mark: Cell::new(Mark::BEGIN) };
        session.forget()?;
        Ok(session)
    }

    /// The prefix.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// The folder of `C:`.
    pub fn drive(&self) -> PathBuf {
        self.prefix.drive()
    }

    /// Fails unless the driver's file in the prefix is, byte for byte, this one.
    pub fn expect_same(&self, driver: &Path) -> Result<()> {
        let there = std::fs::read(self.drive().join("windows/system32/drivers/wskclient.sys"))?;
        ensure!(there == std::fs::read(driver)?, "the driver's file in the prefix is not the one that was built any more");
        Ok(())
    }

    /// What is printed in it.
    pub fn log(&self) -> &Log {
        self.prefix.log()
    }

    /// The driver's service.
    pub fn service(&self) -> Service<'_> {
        Service::new(&self.prefix, SERVICE)
    }

    /// The key of the driver's settings.
    pub fn parameters(&self) -> String {
        format!(r"{}\Parameters", self.service().key())
    }

    /// Takes the service away that an earlier session has left.
    pub fn forget(&self) -> Result<()> {
        if self.service().exists()? { self.service().delete() } else { Ok(()) }
    }

    /// Makes the service by hand, as on any Windows, with echo at this port.
    pub fn create(&self, port: u16) -> Result<()> {
        self.service().create(r"C:\windows\system32\drivers\wskclient.sys")?;
        self.prefix.reg_add(&self.parameters(), "EchoPort", "REG_DWORD", &port.to_string())
    }

    /// Ends Wine in this prefix.
    pub fn close(self) -> Result<()> {
        self.prefix.close()
    }

    /// From here on the log is looked at.
    pub fn mark(&self) -> Mark {
        self.mark.set(self.log().now());
        self.mark.get()
    }

    /// What matters of the log since the last mark.
    pub fn relevant(&self) -> String {
        self.log().relevant(self.mark.get())
    }

    /// The steps that the shim told since then.
    pub fn story(&self, mark: Mark) -> Story {
        Story::of(&self.log().since(mark))
    }

    /// Starts the driver: where it listens, and how long `sc start` took.
    pub fn start(&self) -> Result<(SocketAddr, Duration)> {
        let mark = self.mark();
        let took = self.start_service(mark)?;
        let address = self.listening(mark)?;
        self.story(mark).expect(story::STARTED)?;
        Ok((address, took))
    }

    /// `sc start`. Wine's service manager refuses it while the process of the stop before is still ending; as long as it has not
    /// even called the driver, that is asked for again.
    pub fn start_service(&self, mark: Mark) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let outcome = self.service().start();
            let called = || self.story(mark).count("LoadBegin") > 0;
            if outcome.is_ok() || called() || began.elapsed() > PATIENCE {
                return outcome;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Where echo says, after the mark, that it listens.
    pub fn listening(&self, mark: Mark) -> Result<SocketAddr> {
        let what = "the driver has not said that echo listens";
        self.log().wait_for(mark, PATIENCE, what, |line| {
            let place = line.text.strip_prefix("echo: listening at ").filter(|_| line.driver_says(""))?;
            place.parse().ok().filter(SocketAddr::is_ipv4)
        })
    }

    /// Has the shim's provider leave, or come back: what the driver does then is in the log.
    pub fn set_provider(&self, here: bool) -> Result<()> {
        let key = format!(r"{}\WineShim", self.service().key());
        self.prefix.reg_add(&key, "Provider", "REG_SZ", if here { "here" } else { "away" })
    }
}

/// A port that nobody has at the moment.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}

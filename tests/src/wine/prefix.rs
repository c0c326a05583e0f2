//! [`Prefix`]: the folder that Wine takes for a machine, for as long as a session lasts.
//!
//! Everything is below one folder of ours: the prefix, a home, the log. Nothing is shared with other prefixes of the user, and
//! nothing outside of it is ended: `wineserver -k` is told our prefix, and it ends what runs in that.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::log::{Log, Mark};
use super::program::{self, Ended};

/// How long a program of Wine's may take that takes less than a second.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long the making of a prefix may take, which takes ten seconds on an idle machine.
const MAKING: Duration = Duration::from_secs(300);
/// How often to look whether Wine is up.
const LOOK: Duration = Duration::from_millis(20);
/// What Wine writes on standard error: what drivers print (`debugstr`), its errors and what it lacks.
const CHANNELS: &str = "-all,err+all,fixme+all,-hid,+debugstr,+timestamp";

/// Wine's programs on this machine.
#[derive(Clone, Debug)]
pub struct Programs {
    /// What starts Windows programs.
    pub wine: PathBuf,
    /// Its server.
    pub server: PathBuf,
}

/// A prefix in which things can be run. Whatever runs in it is ended with this.
pub struct Prefix {
    programs: Programs,
    folder: PathBuf,
    log: Log,
    /// A program that waits for the end of its input. While it is there Wine goes on, and if we are killed, it ends.
    holder: Option<Child>,
    /// One session at a time.
    _lock: File,
}

/// A value in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The path of the key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// `REG_DWORD` and the like.
    pub kind: String,
    /// As `reg query` prints it.
    pub data: String,
}

impl Prefix {
    /// Makes the prefix below `folder`, if it is not there yet, and starts Wine in it. What an earlier session has left
    /// running in it is ended before.
    pub fn open(programs: &Programs, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let lock = lock(&folder)?;
        let log = Log::create(&folder.join("log.txt"))?;
        let mut prefix = Self { programs: programs.clone(), folder, log, holder: None, _lock: lock };
        prefix.end_all()?;
        prefix.make()?;
        prefix.hold()?;
        Ok(prefix)
    }

    /// What Wine and the drivers write.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Wine's version, as it says it.
    pub fn version(&self) -> Result<String> {
        let ended = program::run(self.command(&self.programs.wine).arg("--version"), PATIENCE)?;
        Ok(ended.succeeded("wine --version")?.output.trim().to_owned())
    }

    /// Runs a program of Windows to its end. What it says itself is enough; the log is for drivers.
    pub fn run(&self, name: &str, arguments: &[&str], limit: Duration) -> Result<Ended> {
        self.run_with(name, arguments, "-all", limit)
    }

    /// The same, and Wine says on the program's standard error what one of its channels takes for an error.
    pub fn run_strictly(&self, name: &str, arguments: &[&str], channel: &str, limit: Duration) -> Result<Ended> {
        self.run_with(name, arguments, &format!("-all,err+{channel}"), limit)
    }

    /// The same, and Wine traces one of its channels on the program's standard error, with the time.
    pub fn run_traced(&self, name: &str, arguments: &[&str], channel: &str, limit: Duration) -> Result<Ended> {
        self.run_with(name, arguments, &format!("-all,+{channel},+timestamp"), limit)
    }

    fn run_with(&self, name: &str, arguments: &[&str], channels: &str, limit: Duration) -> Result<Ended> {
        let mut command = self.command(&self.programs.wine);
        command.arg(name).args(arguments).env("WINEDEBUG", channels);
        program::run(&mut command, limit)
    }

    /// The folder of `C:`.
    pub fn drive(&self) -> PathBuf {
        self.folder.join("prefix/drive_c")
    }

    /// A folder in which things may be put for programs of the prefix.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How Windows programs call a file of this machine.
    pub fn windows_path(path: &Path) -> String {
        format!("Z:{}", path.display()).replace('/', r"\")
    }

    /// Puts a driver where Wine looks for them; how it is called there.
    pub fn install(&self, image: &Path, name: &str) -> Result<String> {
        let to = self.drive().join("windows/system32/drivers").join(name);
        fs::copy(image, &to).with_context(|| format!("could not copy {} to {}", image.display(), to.display()))?;
        Ok(format!(r"C:\windows\system32\drivers\{name}"))
    }

    /// Sets a value in the registry.
    pub fn reg_add(&self, key: &str, name: &str, kind: &str, data: &str) -> Result<()> {
        let ended = self.run("reg", &["add", key, "/v", name, "/t", kind, "/d", data, "/f"], PATIENCE)?;
        ended.succeeded("reg add").map(drop)
    }

    /// Takes a key away with all below it, if it is there.
    pub fn reg_delete(&self, key: &str) -> Result<()> {
        // It fails where there is no such key, and there is nothing else by which to tell.
        self.run("reg", &["delete", key, "/f"], PATIENCE).map(drop)
    }

    /// All values of a key and of those below it.
    pub fn reg_query(&self, key: &str) -> Result<Vec<Value>> {
        let ended = self.run("reg", &["query", key, "/s"], PATIENCE)?.succeeded("reg query")?;
        Ok(values(&ended.output))
    }

    /// Ends Wine, whatever runs in it, and says whether all is gone.
    pub fn close(mut self) -> Result<()> {
        self.end_all()
    }

    /// A command with an environment of its own: no display, no home of the user's, nothing of other prefixes.
    fn command(&self, program: &Path) -> Command {
        let home = self.folder.join("home");
        let mut command = Command::new(program);
        // A group of its own: Ctrl-C is for us, who stop the driver first.
        command.process_group(0).env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "TMPDIR"));
        command.env("HOME", &home).env("USER", "wskclient").env("LANG", "C.UTF-8").current_dir(&self.folder);
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
            command.env(name, &home);
        }
        command.env("WINEPREFIX", self.folder.join("prefix")).env("WINESERVER", &self.programs.server);
        command.env("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe=").env("WINEDEBUG", CHANNELS);
        command
    }

    /// Makes the prefix, unless a whole one of this Wine is there.
    fn make(&self) -> Result<()> {
        let (prefix, mark) = (self.folder.join("prefix"), self.folder.join("prefix.made"));
        let version = self.version()?;
        if prefix.is_dir() && fs::read_to_string(&mark).is_ok_and(|made| made == version) {
            return Ok(());
        }
        let _ = fs::remove_file(&mark);
        if prefix.exists() {
            fs::remove_dir_all(&prefix).with_context(|| format!("could not remove {}", prefix.display()))?;
        }
        fs::create_dir_all(self.folder.join("home"))?;
        let made = program::run(self.command(&self.programs.wine).args(["wineboot", "-i"]), MAKING)?;
        made.succeeded("making a prefix with wineboot")?;
        self.end_all_running()?;
        fs::write(&mark, version).with_context(|| format!("could not write {}", mark.display()))
    }

    /// Starts Wine: its first program starts the rest, which inherits the log as its standard error. No other program is started
    /// before that one says that it runs, for the rest might be started by the other then.
    fn hold(&mut self) -> Result<()> {
        let log = File::options().append(true).open(self.log.path())?;
        let said = tempfile::NamedTempFile::new()?;
        let mut command = self.command(&self.programs.wine);
        command.args(["cmd.exe", "/q"]).stdin(Stdio::piped()).stdout(said.reopen()?).stderr(log);
        let holder = command.spawn().with_context(|| format!("could not start {}", self.programs.wine.display()))?;
        let holder = self.holder.insert(holder);
        holder.stdin.as_mut().context("a pipe was asked for")?.write_all(b"echo up\r\n")?;
        let began = Instant::now();
        while !fs::read_to_string(said.path())?.contains("\nup") {
            let over = holder.try_wait()?.is_some() || began.elapsed() > MAKING;
            ensure!(!over, "Wine's first program does not run\n{}", self.log.relevant(Mark::BEGIN));
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn end_all(&mut self) -> Result<()> {
        if self.folder.join("prefix").is_dir() {
            self.end_all_running()?;
        }
        if let Some(mut holder) = self.holder.take() {
            drop(holder.stdin.take());
            program::within(&mut holder, PATIENCE)?;
        }
        Ok(())
    }

    /// Ends all that runs in the prefix, by force if it has to be.
    fn end_all_running(&self) -> Result<()> {
        for force in ["-k", "-k9"] {
            // It fails where there is no server, which is as good.
            program::run(self.command(&self.programs.server).arg(force), PATIENCE)?;
            if program::run(self.command(&self.programs.server).arg("-w"), PATIENCE).is_ok() {
                return Ok(());
            }
        }
        bail!("Wine's server of {} cannot be ended", self.folder.join("prefix").display())
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        if let Err(error) = self.end_all() {
            eprintln!("{error:#}");
        }
    }
}

/// One session at a time: another one would take the driver away from this one.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("could not create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another `cargo xtask wine` is using {}", folder.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("could not lock {}", path.display())),
    }
}

/// Reads what `reg query /s` prints: the path of a key on a line of its own, values below it with four blanks before them and
/// between their parts.
fn values(output: &str) -> Vec<Value> {
    let mut key = "";
    let mut values = Vec::new();
    for line in output.lines() {
        match line.strip_prefix("    ") {
            None => key = line.trim(),
            Some(rest) => {
                let mut parts = rest.splitn(3, "    ").map(str::to_owned);
                let (Some(name), Some(kind)) = (parts.next(), parts.next()) else { continue };
                values.push(Value {
                    key: key.to_owned(),
                    name,
                    kind,
                    data: parts.next().unwrap_or_default().trim_end().to_owned(),
                });
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_the_keys_that_they_are_in() {
        let printed = "\nHKEY_LOCAL_MACHINE\\A\n    Start    REG_DWORD    0x3\n\nHKEY_LOCAL_MACHINE\\A\\B C\n    Kind    REG_SZ    two words\n";
        let values = values(printed);
        assert_eq!(values.len(), 2);
        assert_eq!(
            (values[0].key.as_str(), values[0].name.as_str(), values[0].data.as_str()),
            (r"HKEY_LOCAL_MACHINE\A", "Start", "0x3")
        );
        assert_eq!(
            (values[1].key.as_str(), values[1].kind.as_str(), values[1].data.as_str()),
            (r"HKEY_LOCAL_MACHINE\A\B C", "REG_SZ", "two words")
        );
    }

    #[test]
    fn paths_are_told_as_windows_has_them() {
        assert_eq!(Prefix::windows_path(Path::new("/a/b c.inf")), r"Z:\a\b c.inf");
    }
}

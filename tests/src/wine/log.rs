//! What a session of Wine writes on its standard error, line by line: the driver's prints, the shim's, and Wine's own.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often to look whether something has come.
const LOOK: Duration = Duration::from_millis(3);
/// How many lines a failure shows at most.
const SHOWN: usize = 60;
/// What Wine says on every machine without a display and has nothing to do with drivers of the network; and that its functions
/// for those do nothing, which the driver tells.
const NOISE: &[&str] = &[
    "fixme:hid:",
    "fixme:ntdll:NtQuerySystemInformation",
    "fixme:netio:",
    "fixme:ntoskrnl:MmBuildMdlForNonPagedPool",
    "winemenubuilder",
    "err:explorer:",
    "syswow64",
];

/// The file that Wine's standard error goes to.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
}

/// A place in the log: what comes after it is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// Before everything.
    pub const BEGIN: Self = Self(0);
}

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// wskclient.sys.
    Driver,
    /// wdfldr.sys.
    Shim,
    /// Wine, or a program in it.
    Wine,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// On Wine's clock, to the millisecond.
    pub at: Duration,
    /// By whom.
    pub source: Source,
    /// What, without the name that stands before lines of the driver and of the shim.
    pub text: String,
}

impl Log {
    /// An empty one.
    pub fn create(path: &Path) -> Result<Self> {
        File::create(path).with_context(|| format!("could not create {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The end of it, as it is now.
    pub fn now(&self) -> Mark {
        Mark(self.path.metadata().map_or(0, |metadata| metadata.len()))
    }

    /// The whole lines since then.
    pub fn since(&self, mark: Mark) -> Vec<Line> {
        let text = self.text_since(mark).unwrap_or_default();
        text.rsplit_once('\n').map_or_else(Vec::new, |(whole, _)| whole.lines().filter_map(Line::parse).collect())
    }

    fn text_since(&self, mark: Mark) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until there is such a line after the mark.
    ///
    /// # Errors
    /// It has not come within `limit`; `what` says what was waited for.
    pub fn wait_for<T>(&self, mark: Mark, limit: Duration, what: &str, found: impl Fn(&Line) -> Option<T>) -> Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = self.since(mark).iter().find_map(&found) {
                return Ok(found);
            }
            if began.elapsed() >= limit {
                bail!("waited {limit:?} in vain: {what}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What matters of the lines since then, as a failure shows it: all that the driver and the shim said and Wine's errors, the
    /// last lines only, and none of the shim's or of Wine's twice.
    pub fn relevant(&self, mark: Mark) -> String {
        let mut seen = std::collections::HashSet::new();
        let lines = self.since(mark);
        let matters = |line: &&Line| match line.source {
            Source::Driver => true,
            Source::Shim => seen.insert(line.text.clone()),
            Source::Wine => !NOISE.iter().any(|noise| line.text.contains(noise)) && seen.insert(line.text.clone()),
        };
        let lines: Vec<_> = lines.iter().filter(matters).collect();
        let left_out = lines.len().saturating_sub(SHOWN);
        let earlier = if left_out == 0 { String::new() } else { format!("  ... {left_out} earlier lines\n") };
        let shown: String = lines.iter().skip(left_out).map(|line| format!("  {line}\n")).collect();
        format!("Wine's log since then ({}):\n{earlier}{shown}", self.path.display())
    }
}

impl Line {
    /// Reads `31984.243:0104:warn:debugstr:vDbgPrintExWithPrefix 00000000:00000001: text`; what a driver prints has the part
    /// from `warn` to the second colon after it. `None` if it is empty.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        let (at, rest) = line.split_once(':').and_then(|(at, rest)| Some((time(at)?, rest))).unwrap_or((Duration::ZERO, line));
        let printed = rest.split_once(":debugstr:").and_then(|(_, rest)| rest.split_once(' '));
        let Some((_, printed)) = printed else {
            let text = rest.split_once(':').filter(|(thread, _)| is_hex(thread)).map_or(rest, |(_, text)| text);
            return (!text.is_empty()).then(|| Self { at, source: Source::Wine, text: text.to_owned() });
        };
        let text = printed.splitn(3, ':').nth(2).map_or(printed, str::trim_start);
        let (source, text) = match text.split_once(": ") {
            Some(("wskclient", text)) => (Source::Driver, text),
            Some(("wdfldr", text)) => (Source::Shim, text),
            _ => (Source::Wine, text),
        };
        Some(Self { at, source, text: text.to_owned() })
    }

    /// Whether the driver said something with this in it.
    pub fn driver_says(&self, part: &str) -> bool {
        self.source == Source::Driver && self.text.contains(part)
    }

    /// Whether the shim said something that begins so.
    pub fn shim_says(&self, start: &str) -> bool {
        self.source == Source::Shim && self.text.starts_with(start)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let who = match self.source {
            Source::Driver => "wskclient: ",
            Source::Shim => "wdfldr: ",
            Source::Wine => "",
        };
        write!(f, "{:9.3} {who}{}", self.at.as_secs_f64(), self.text)
    }
}

fn time(text: &str) -> Option<Duration> {
    let (seconds, milliseconds) = text.split_once('.')?;
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_millis(milliseconds.parse().ok()?))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_by_who_wrote_them() {
        let driver =
            Line::parse("31984.243:0104:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000003: wskclient: loaded").unwrap();
        assert_eq!(
            (driver.source, driver.text.as_str(), driver.at),
            (Source::Driver, "loaded", Duration::from_millis(31_984_243))
        );
        let shim =
            Line::parse("1.000:0104:warn:debugstr:vDbgPrintExWithPrefix 00000000:00000001: wdfldr: verdict: clean").unwrap();
        assert_eq!((shim.source, shim.text.as_str()), (Source::Shim, "verdict: clean"));
        let wine = Line::parse("31982.168:0080:fixme:hid:handle_IRP_MN_QUERY_ID Unhandled type 00000005").unwrap();
        assert_eq!((wine.source, wine.text.as_str()), (Source::Wine, "fixme:hid:handle_IRP_MN_QUERY_ID Unhandled type 00000005"));
    }

    #[test]
    fn a_failure_shows_what_matters() {
        let path = std::env::temp_dir().join(format!("wskclient-log-{}", std::process::id()));
        let noise = "1.0:0080:fixme:hid:handle_IRP Unhandled\n".repeat(1000);
        let same = "1.0:0080:err:ntoskrnl:thing failed\n".repeat(1000);
        let ours = "2.0:0104:warn:debugstr:f 00000000:00000001: wskclient: not attached\n";
        let cut = "2.0:0104:warn:debugstr:f 00000000:00000001: wskclient: half a li";
        std::fs::write(&path, format!("{noise}{same}{ours}{cut}")).unwrap();
        let shown = Log { path: path.clone() }.relevant(Mark::BEGIN);
        std::fs::remove_file(path).unwrap();
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.contains("thing failed") && shown.contains("wskclient: not attached"), "{shown}");
    }
}

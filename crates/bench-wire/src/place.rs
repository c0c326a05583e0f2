//! Where benches listen: `<process id>.sock`, in `$XDG_RUNTIME_DIR/wskclient`, or in `wskclient-<user id>` in the folder for
//! temporary files where there is no such variable. The folder is its user's alone (mode 0700), and so is the socket (0600).
//!
//! Tools look in both folders, for the variable may be set where they run and not where the bench runs.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const ENDING: &str = "sock";

/// The folders in which benches of this user may listen, the usual one first.
pub fn folders() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("wskclient"));
    let user = rustix::process::getuid().as_raw();
    let temporary = std::env::temp_dir().join(format!("wskclient-{user}"));
    runtime.into_iter().filter(|folder| folder.is_absolute()).chain([temporary]).collect()
}

/// Listens where tools look, and removes what benches have left that did not end properly.
///
/// # Errors
/// Those of the last folder that was tried.
pub fn listen() -> io::Result<(UnixListener, PathBuf)> {
    let mut outcome = Err(ErrorKind::NotFound.into());
    for folder in folders() {
        outcome = listen_in(&folder, &std::process::id().to_string());
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Listens at `<name>.sock` in this folder, which is made if need be.
///
/// # Errors
/// `PermissionDenied` if the folder is not this user's alone, else those of the file system.
pub fn listen_in(folder: &Path, name: &str) -> io::Result<(UnixListener, PathBuf)> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if !is_private(folder) {
        let text = format!("{} is not a folder of this user alone (mode 0700)", folder.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    sockets_in(folder).iter().filter(|path| is_stale(path)).for_each(|path| drop(fs::remove_file(path)));
    let (path, unfinished) = (folder.join(name).with_extension(ENDING), folder.join(name).with_extension("new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // It gets its name when it listens, or it would be taken for one that is left.
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, &path)?;
    Ok((listener, path))
}

/// The sockets of the benches that run now and are this user's, the oldest first.
pub fn running() -> Vec<PathBuf> {
    running_in(&folders())
}

fn running_in(folders: &[PathBuf]) -> Vec<PathBuf> {
    let private = folders.iter().filter(|folder| is_private(folder));
    let mut found: Vec<_> = private.flat_map(|folder| sockets_in(folder)).filter(|path| !is_stale(path)).collect();
    found.sort_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
    found
}

/// Whether nobody but this user can have made what is in this folder.
fn is_private(folder: &Path) -> bool {
    let user = rustix::process::getuid().as_raw();
    fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == user && found.mode() & 0o077 == 0)
}

fn sockets_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == ENDING)).collect()
}

/// Whether nobody listens at this socket any more.
fn is_stale(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_that_run_are_found_and_those_that_died_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let benches = folder.path().join("wskclient");
        let (_alive, path) = listen_in(&benches, "1").expect("a socket");
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o600);
        let (dead, left) = listen_in(&benches, "2").expect("a second one");
        let both = running_in(std::slice::from_ref(&benches));
        assert_eq!((both.len(), both.contains(&path)), (2, true));
        drop(dead);
        assert!(left.exists());
        assert_eq!(running_in(std::slice::from_ref(&benches)), [path]);
        let (_third, _) = listen_in(&benches, "3").expect("a third one");
        assert!(!left.exists(), "the next bench has not tidied up");
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_neither_used_nor_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let benches = folder.path().join("wskclient");
        let (_alive, _) = listen_in(&benches, "1").expect("a socket");
        fs::set_permissions(&benches, fs::Permissions::from_mode(0o777)).expect("another mode");
        assert_eq!(running_in(std::slice::from_ref(&benches)), Vec::<PathBuf>::new());
        assert_eq!(listen_in(&benches, "2").expect_err("others' folder").kind(), ErrorKind::PermissionDenied);
    }
}

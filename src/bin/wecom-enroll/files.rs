//! What file systems do differently: symbolic links, locks, syncs, and the length of names.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Once,
};

use fs4::{FileExt, TryLockError};
#[cfg(unix)]
use rustix::io::Errno;
use tracing::warn;

/// The number of symbolic links that are followed, as on Linux.
const MAX_LINKS: usize = 40;
/// For a longer name, the temporary file is named after its hash. Some file systems allow no more than 143 bytes.
const MAX_EXTENDED: usize = 100;

/// Returns the path that `path` leads to through symbolic links, even if nothing exists there.
///
/// # Errors
///
/// Returns an error if the links form a loop.
pub(crate) fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Ok(path);
        }
        path = parent(&path).join(fs::read_link(&path)?);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Returns whether both paths lead to the same file, even if it does not exist yet.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    without_links(a).is_some_and(|a| Some(a) == without_links(b))
}

/// Returns the path without symbolic links, unless its directory is missing.
fn without_links(path: &Path) -> Option<PathBuf> {
    let in_parent = || {
        let path = follow_links(path).ok()?;
        Some(parent(&path).canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(in_parent)
}

/// Returns the directory of `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the name of the temporary file that replaces `path`, or `None` if `path` has no file name. It is always the
/// same, so that killed processes leave at most one file.
pub(crate) fn temporary_name(path: &Path) -> Option<OsString> {
    let name = path.file_name()?;
    let mut temporary = OsString::from(".");
    match name.as_encoded_bytes() {
        long if long.len() > MAX_EXTENDED => {
            temporary.push(format!("{:08x}", crc32fast::hash(long)));
        }
        _ => temporary.push(name),
    }
    temporary.push(".new");
    Some(temporary)
}

/// Locks the file at `path`, unless its file system has no locks. Returns false if another process has
/// locked it.
pub(crate) fn lock(file: &File, path: &Path) -> io::Result<bool> {
    match FileExt::try_lock(file) {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if is_unsupported(&e) => {
            warn!(
                "cannot lock {}, because its file system has no locks: {e}; do not use it twice at the same \
                 time",
                path.display()
            );
            Ok(true)
        }
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Writes the directory entry of `path` to disk. Only Unix can open a directory for that.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = parent(path);
        unless_refused(File::open(directory).and_then(|opened| opened.sync_all()), directory)
    } else {
        Ok(())
    }
}

/// Converts a sync that the file system at `path` refused to success, with one warning per process. A sync that was
/// tried and failed remains an error.
pub(crate) fn unless_refused(synced: io::Result<()>, path: &Path) -> io::Result<()> {
    static WARNED: Once = Once::new();
    match synced {
        Err(e) if is_unsupported(&e) || is_refused(&e) => {
            WARNED.call_once(|| {
                warn!(
                    "cannot sync {}: {e}; after a power failure, what was written last may be missing",
                    path.display()
                );
            });
            Ok(())
        }
        synced => synced,
    }
}

/// Returns whether the operation failed because the file system does not have it.
fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| UNSUPPORTED.contains(&code))
}

/// Returns whether a sync failed because it is not permitted, or not possible for a directory.
fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        || error.raw_os_error().is_some_and(|code| NOT_FOR_DIRECTORIES.contains(&code))
}

#[cfg(unix)]
const UNSUPPORTED: [i32; 5] = [
    Errno::NOSYS.raw_os_error(),
    Errno::OPNOTSUPP.raw_os_error(),
    Errno::NOTSUP.raw_os_error(),
    Errno::INVAL.raw_os_error(),
    Errno::NOLCK.raw_os_error(),
];
/// Some systems sync only what is open for writing, which a directory cannot be.
#[cfg(unix)]
const NOT_FOR_DIRECTORIES: [i32; 2] = [Errno::BADF.raw_os_error(), Errno::ISDIR.raw_os_error()];

/// `ERROR_INVALID_FUNCTION`, `ERROR_NOT_SUPPORTED` and `ERROR_CALL_NOT_IMPLEMENTED`.
#[cfg(windows)]
const UNSUPPORTED: [i32; 3] = [1, 50, 120];
#[cfg(windows)]
const NOT_FOR_DIRECTORIES: [i32; 0] = [];

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn error(code: Errno) -> io::Error {
        io::Error::from_raw_os_error(code.raw_os_error())
    }

    #[test]
    fn lock_is_missing_only_if_the_file_system_has_none() {
        for code in [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOLCK, Errno::INVAL] {
            assert!(is_unsupported(&error(code)), "{code}");
        }
        for code in [Errno::IO, Errno::ACCESS, Errno::PERM, Errno::INTR, Errno::BADF] {
            assert!(!is_unsupported(&error(code)), "{code}");
        }
        assert!(!is_unsupported(&io::Error::other("no code")));
    }

    #[test]
    fn refused_sync_is_ignored_and_failed_sync_is_not() {
        let synced = |code| unless_refused(Err(error(code)), Path::new("directory"));
        for code in [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::INVAL] {
            assert!(synced(code).is_ok(), "{code}");
        }
        for code in [Errno::ACCESS, Errno::PERM, Errno::BADF, Errno::ISDIR] {
            assert!(synced(code).is_ok(), "{code}");
        }
        for code in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::NOENT] {
            assert_eq!(synced(code).unwrap_err().raw_os_error(), Some(code.raw_os_error()));
        }
    }
}

//! Files of this user's own that processes share: read with distrust, replaced as a whole.
//!
//! A file is used only if this user owns it and nobody else may read or write it. It is written beside and renamed, so that a crash
//! leaves the old one, and processes that write at once leave one of theirs.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Why a file is not used.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Missing,
    /// It cannot be read.
    Unreadable,
    /// Another user owns it or may read or write it.
    Untrusted,
    /// Not ours, cut off, or changed.
    Damaged,
}

/// Reads a file of at most `bytes_max` bytes; a longer one is not ours.
///
/// # Errors
/// Why it is not used.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Refusal> {
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Refusal::Missing,
            _ => Refusal::Unreadable,
        })?;
    // Asked of the open file, so that nobody can exchange it in between.
    let about = file.metadata().map_err(|_| Refusal::Unreadable)?;
    let owner = std::fs::metadata("/proc/self").map_or(u32::MAX, |process| process.uid());
    if !about.is_file() || about.uid() != owner || about.mode() & 0o077 != 0 {
        return Err(Refusal::Untrusted);
    }
    if about.len() > bytes_max {
        return Err(Refusal::Damaged);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|_| Refusal::Unreadable)?;
    Ok(bytes)
}

/// Replaces a file by `parts`, one after the other; makes its folder if that is missing.
///
/// # Errors
/// What the system reports; the old file then stays.
pub fn write(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        std::fs::DirBuilder::new().mode(0o700).create(folder)?;
    }
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let outcome = write_file(&beside, parts).and_then(|()| std::fs::rename(&beside, path));
    if outcome.is_err() {
        // Nothing more can be done about a leftover than trying once.
        let _ = std::fs::remove_file(&beside);
    }
    outcome
}

fn write_file(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_data()
}

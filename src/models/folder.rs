//! The folder of models, and whether its files are those that were registered.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vectorgpu_core::{Error, ErrorKind, Result};
use vectorgpu_llm::format::{FileRecord, Files, Folder};

use crate::guc;
use crate::pg::interrupt::keep_waiting;

/// `vectorgpu.model_dir`.
///
/// # Errors
/// `InvalidArgument` when it is not set, or no folder.
pub(super) fn of_models() -> Result<Folder> {
    let setting = guc::MODEL_DIR.get();
    let path = setting.as_deref().map(|path| path.to_string_lossy().into_owned());
    let path = path.filter(|path| !path.is_empty()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, "vectorgpu.model_dir is not set")
            .with_hint("A superuser sets it to the folder in which model files are.")
    })?;
    if !Path::new(&path).is_absolute() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "vectorgpu.model_dir is not an absolute path",
        ));
    }
    Folder::open(Path::new(&path))
}

/// What is recorded of the files of a model as they are here. On another machine, a standby or one that a dump went to, files have
/// other numbers and times; they are the same files where their contents are, which is then found out by reading them all.
///
/// # Errors
/// `CorruptFile` when the files have other contents; what reading them reports; `Cancelled`.
pub(super) fn present_records(
    folder: &Folder,
    path: &str,
    recorded: &[FileRecord],
) -> Result<Vec<FileRecord>> {
    let is_as_recorded = |record: &FileRecord| folder.verified(record).is_ok();
    if recorded.iter().all(is_as_recorded) {
        return Ok(recorded.to_vec());
    }
    let present = Files::record(folder, path, &mut keep_waiting)?;
    let same = |(a, b): (&FileRecord, &FileRecord)| a.path == b.path && a.sha256 == b.sha256;
    if present.len() == recorded.len() && present.iter().zip(recorded).all(same) {
        return Ok(present);
    }
    Err(Error::new(
        ErrorKind::CorruptFile,
        format!("the files of \"{path}\" are not those that were registered"),
    )
    .with_hint("If the change was meant, unload the model and load it again."))
}

/// Whether nobody but root and the server's own account can write these files: a mapped file that is shortened ends the process.
pub(super) fn is_administrators(folder: &Folder, records: &[FileRecord]) -> bool {
    let is_private = |path: &Path| {
        path.metadata().is_ok_and(|metadata| {
            let others_write = metadata.mode() & 0o022 != 0;
            (metadata.uid() == 0 || metadata.uid() == crate::pg::setting::server_user()) && !others_write
        })
    };
    is_private(folder.path())
        && records
            .iter()
            .all(|record| is_private(&folder.path().join(&record.path)))
}

//! Which models there are: the table `vectorgpu.registered_models`, read as the caller.

use pgrx::spi::{self, SpiClient};
use pgrx::{JsonB, Spi};
use serde::{Deserialize, Serialize};
use vectorgpu_core::{Error, ErrorKind, Result};
use vectorgpu_llm::format::{FileRecord, Identity};

use super::Kind;

/// A registered model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) options: serde_json::Value,
    pub(crate) files: Vec<FileRecord>,
}

/// A file as the table has it.
#[derive(Serialize, Deserialize)]
struct StoredRecord {
    path: String,
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i64,
    sha256: String,
}

/// What was recorded of files, as the table has it.
pub(crate) fn stored(records: &[FileRecord]) -> serde_json::Value {
    let records = records.iter().map(|record| StoredRecord {
        path: record.path.clone(),
        device: record.identity.device,
        inode: record.identity.inode,
        bytes: record.identity.bytes,
        modified_ns: record.identity.modified_ns,
        sha256: record.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    serde_json::to_value(records.collect::<Vec<_>>()).unwrap_or_default()
}

/// The model of this name; without one, the only model of the kind.
///
/// # Errors
/// `InvalidArgument` when there is none, or no single one.
pub(crate) fn find(name: Option<&str>, kind: Kind) -> Result<Entry> {
    let found = Spi::connect(|client| match name {
        Some(name) => select(client, "WHERE name = $1", name),
        None => select(client, "WHERE kind = $1 ORDER BY name LIMIT 2", kind.name()),
    });
    let mut found = found.map_err(|error| broken(error.to_string()))?;
    match (name, found.len()) {
        (_, 1) => found.remove(0),
        (Some(name), _) => Err(Error::new(
            ErrorKind::UndefinedObject,
            format!("model \"{name}\" does not exist"),
        )
        .with_hint("The view vectorgpu.models lists those that vectorgpu.load_model has registered.")),
        (None, 0) => Err(Error::new(
            ErrorKind::UndefinedObject,
            format!("there is no {} model", kind.name()),
        )
        .with_hint("vectorgpu.load_model registers one.")),
        (None, _) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("there are several {} models", kind.name()),
        )
        .with_hint(format!("Name one, or set {}.", kind.setting_name()))),
    }
}

fn select(client: &SpiClient<'_>, which: &str, argument: &str) -> spi::SpiResult<Vec<Result<Entry>>> {
    let query = format!("SELECT name, path, options, files, kind FROM vectorgpu.registered_models {which}");
    let rows = client.select(&query, None, &[argument.into()])?;
    rows.map(|row| {
        let options = row
            .get::<JsonB>(3)?
            .map_or_else(Default::default, |options| options.0);
        let files = row
            .get::<JsonB>(4)?
            .map_or_else(Default::default, |files| files.0);
        let (name, path) = (row.get(1)?.unwrap_or_default(), row.get(2)?.unwrap_or_default());
        let kind = match row.get::<&str>(5)? {
            Some("embedding") => Kind::Embedding,
            _ => Kind::Text,
        };
        Ok(records(files).map(|files| Entry {
            name,
            kind,
            path,
            options,
            files,
        }))
    })
    .collect()
}

fn records(files: serde_json::Value) -> Result<Vec<FileRecord>> {
    let stored: Vec<StoredRecord> =
        serde_json::from_value(files).map_err(|error| broken(error.to_string()))?;
    stored.into_iter().map(record).collect()
}

fn record(stored: StoredRecord) -> Result<FileRecord> {
    let mut sha256 = [0; 32];
    let digits = stored.sha256.as_bytes().chunks(2);
    let bytes = digits.map(|pair| {
        std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    let bytes = bytes.filter(|bytes| bytes.len() == sha256.len());
    sha256.copy_from_slice(&bytes.ok_or_else(|| broken("a hash is not one".to_owned()))?);
    Ok(FileRecord {
        path: stored.path,
        identity: Identity {
            device: stored.device,
            inode: stored.inode,
            bytes: stored.bytes,
            modified_ns: stored.modified_ns,
        },
        sha256,
    })
}

fn broken(detail: String) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "vectorgpu.registered_models cannot be read",
    )
    .with_detail(detail)
    .with_hint("Unload the model and load it again.")
}

//! The driver's pipeline cache, kept in a file between processes.
//!
//! One file per adapter, driver and version of this program, below a folder that the host names. A file is used only
//! if it is this user's own (`private_file.rs`) and its checksum holds. A cache that cannot be read or written costs compile
//! time and nothing else.

use std::path::{Path, PathBuf};

use vectorgpu_core::Result;

use super::trusted;
use crate::context::Context;
use crate::private_file::{self, Refusal};

const MAGIC: [u8; 8] = *b"vgpucach";
const HEADER_BYTES: usize = 32;
/// A larger file is not ours.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The cache of one device and the file it is kept in.
pub(super) struct DiskCache {
    raw: wgpu::PipelineCache,
    path: PathBuf,
    key: u64,
    is_new: bool,
}

impl DiskCache {
    /// Makes the cache, from the file in `folder` if there is a good one.
    ///
    /// # Errors
    /// As [`Context::guarded`].
    pub(super) fn open(context: &Context, folder: &Path) -> Result<Self> {
        let report = context.report();
        let identity = format!(
            "{}|{}|{}|{}|{}|{}",
            env!("CARGO_PKG_VERSION"),
            report.vendor,
            report.name,
            report.driver,
            report.driver_info,
            report.pci_bus_id
        );
        let key = fnv1a(identity.as_bytes());
        let path = folder.join(format!("pipelines-{key:016x}.bin"));
        let data = match read(&path, key) {
            Ok(data) => Some(data),
            Err(Refusal::Missing) => None,
            Err(refusal) => {
                log::debug!(target: "vectorgpu::gpu", "the pipeline cache is not used: {refusal:?}");
                None
            }
        };
        context.counters.update(|counters| {
            counters.pipeline_cache_bytes_read += data.as_ref().map_or(0, |data| data.len() as u64);
        });
        let raw = context.guarded("making a pipeline cache", |gpu| {
            trusted::pipeline_cache(&gpu.device, data.as_deref())
        })?;
        Ok(Self {
            raw,
            path,
            key,
            is_new: data.is_none(),
        })
    }

    /// Whether no good file was there.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// For pipeline descriptors.
    pub(super) fn raw(&self) -> &wgpu::PipelineCache {
        &self.raw
    }

    /// Replaces the file. A failure is only logged.
    pub(super) fn save(&self, context: &Context) {
        let data = context.guarded("reading the pipeline cache", |_| self.raw.get_data());
        if let Ok(Some(data)) = data
            && let Err(error) = write(&self.path, self.key, &data)
        {
            log::debug!(target: "vectorgpu::gpu", "the pipeline cache was not saved: {error}");
        }
    }
}

/// Reads the data of a file that [`write`] made for `key`.
fn read(path: &Path, key: u64) -> Result<Vec<u8>, Refusal> {
    let bytes = private_file::read(path, FILE_BYTES_MAX)?;
    let (header, data) = bytes.split_at_checked(HEADER_BYTES).ok_or(Refusal::Damaged)?;
    if header != header_of(key, data) {
        return Err(Refusal::Damaged);
    }
    Ok(data.to_vec())
}

fn write(path: &Path, key: u64, data: &[u8]) -> std::io::Result<()> {
    private_file::write(path, &[&header_of(key, data), data])
}

/// Magic, key, length and checksum, 8 bytes each, little-endian.
fn header_of(key: u64, data: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&key.to_le_bytes());
    header[16..24].copy_from_slice(&(data.len() as u64).to_le_bytes());
    header[24..].copy_from_slice(&fnv1a(data).to_le_bytes());
    header
}

/// FNV-1a: finds damage, not malice; the file's owner and mode guard against that.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vectorgpu-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_file_comes_back_only_for_its_own_key() {
        let folder = folder("cache-key");
        let path = folder.join("pipelines.bin");
        assert_eq!(read(&path, 7), Err(Refusal::Missing));
        write(&path, 7, b"compiled").unwrap();
        assert_eq!(read(&path, 7), Ok(b"compiled".to_vec()));
        assert_eq!(read(&path, 8), Err(Refusal::Damaged));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no leftover");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let folder = folder("cache-damage");
        let path = folder.join("pipelines.bin");
        write(&path, 7, b"compiled").unwrap();
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(read(&path, 7), Err(Refusal::Damaged), "bit {bit}");
        }
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            assert_eq!(read(&path, 7), Err(Refusal::Damaged), "length {length}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_others_may_touch_and_a_link_are_refused() {
        let folder = folder("cache-mode");
        let path = folder.join("pipelines.bin");
        write(&path, 7, b"compiled").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(read(&path, 7), Err(Refusal::Untrusted));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let link = folder.join("link.bin");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 7), Err(Refusal::Unreadable));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

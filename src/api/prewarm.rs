//! `vectorgpu.prewarm`: copies of all lists of an index, before the first scan needs them.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::ivf::copy::{ListCopies, prewarm as copy_all};
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::{ErrorKind, Result};

use crate::am;
use crate::error::OrRaise;
use crate::gpu::{policy, residency};
use crate::pg::interrupt;
use crate::pg::relation::OpenIndex;

/// `vectorgpu.prewarm(regclass)`: what of the index is in GPU memory afterwards.
#[pg_extern(sql = false)]
fn prewarm(
    index: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(device, String),
        name!(lists, i64),
        name!(rows, i64),
        name!(bytes, i64),
    ),
> {
    let (device, usage) = prewarm_index(index).or_raise();
    let (lists, rows, bytes) = usage.unwrap_or_default();
    TableIterator::once((
        device,
        lists.cast_signed(),
        rows.cast_signed(),
        bytes.cast_signed(),
    ))
}

/// The device, and lists, rows and bytes in its memory.
fn prewarm_index(oid: pg_sys::Oid) -> Result<(String, Option<(u64, u64, u64)>)> {
    let open = OpenIndex::open(oid, am::NAME, pg_sys::AccessShareLock.cast_signed())?;
    let store = open.store();
    let meta = Meta::read(&store.share(0)?)?;
    let mut copies = policy::prewarm_copies(open.index(), &meta)?;
    copies.expect(residency::rows(open.index(), &meta))?;
    match copy_all(&store, &meta, &mut copies, &mut interrupt::keep_waiting) {
        Err(error) if error.kind() == ErrorKind::OutOfMemory => {
            let problem = format!("not all lists of index \"{}\" fit: {error}", open.name());
            pgrx::warning!("{problem}; raise vectorgpu.vram_limit");
        }
        done => done?,
    }
    copies.release();
    let usage = residency::usage().into_iter().find(|(index, ..)| *index == oid);
    let device = copies.label().to_owned();
    Ok((device, usage.map(|(_, lists, rows, bytes)| (lists, rows, bytes))))
}

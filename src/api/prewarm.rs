//! `vectorgpu.prewarm`: copies of all lists of an index, before the first scan needs them.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_compute::IndexUsage;
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
    TableIterator::once((
        device,
        usage.lists.cast_signed(),
        usage.rows.cast_signed(),
        usage.bytes.cast_signed(),
    ))
}

/// The device, and what of the index is in its memory.
fn prewarm_index(oid: pg_sys::Oid) -> Result<(String, IndexUsage)> {
    let open = OpenIndex::open(oid, &am::ACCESS_METHOD, pg_sys::AccessShareLock.cast_signed())?;
    let store = open.store();
    let meta = Meta::read(&store.share(0)?)?;
    let mut copies = policy::prewarm_copies(open.index(), &meta)?;
    copies.expect(residency::rows(open.index(), &meta))?;
    let summation = am::indexed_by(open.index())?.summation;
    match copy_all(
        &store,
        &meta,
        summation,
        &mut copies,
        &mut interrupt::keep_waiting,
    ) {
        Err(error) if error.kind() == ErrorKind::OutOfMemory => {
            let problem = format!("not all lists of index \"{}\" fit: {error}", open.name());
            pgrx::warning!("{problem}; raise vectorgpu.vram_limit");
        }
        done => done?,
    }
    copies.release();
    let mut residents = residency::residents().into_iter();
    let resident = residents.find(|resident| resident.index == oid);
    let usage = resident.map_or_else(IndexUsage::default, |resident| resident.usage);
    Ok((copies.label().to_owned(), usage))
}

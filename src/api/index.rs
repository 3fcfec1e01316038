//! `vectorgpu.verify` and `vectorgpu.index_info`.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::stats::index_stats;
use vectorgpu_core::ivf::store::PageStore;
use vectorgpu_core::ivf::verify::verify as verify_pages;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::am;
use crate::error::OrRaise;
use crate::pg::relation::OpenIndex;

/// `vectorgpu.verify(regclass) -> bigint`: checks every page, returns the number of rows. Keeps writers out meanwhile.
#[pg_extern(sql = false)]
fn verify(index: pg_sys::Oid) -> i64 {
    verify_index(index).or_raise()
}

/// `vectorgpu.index_info(regclass)`.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "a row type is spelled out where pgrx wants it"
)]
fn index_info(
    index: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(metric, String),
        name!(storage, String),
        name!(dims, i32),
        name!(lists, i32),
        name!(probes, i32),
        name!(rows, i64),
        name!(built_rows, i64),
        name!(empty_lists, i32),
        name!(longest_list, i64),
        name!(pages, i64),
        name!(free_pages, i64),
        name!(rows_per_group, i32),
        name!(pages_per_group, i32),
    ),
> {
    let info = info(index).or_raise();
    let (meta, shape) = (info.meta, info.meta.shape());
    TableIterator::once((
        meta.metric.name().to_owned(),
        meta.storage.name().to_owned(),
        meta.value_dims.cast_signed(),
        meta.lists.cast_signed(),
        info.probes.cast_signed(),
        info.rows.cast_signed(),
        meta.built_rows.cast_signed(),
        info.empty_lists.cast_signed(),
        info.longest_list.cast_signed(),
        i64::from(info.pages),
        i64::from(meta.free_groups) * i64::from(shape.group_blocks()),
        i32::try_from(shape.rows).unwrap_or(i32::MAX),
        i32::try_from(shape.pages).unwrap_or(i32::MAX),
    ))
}

fn verify_index(oid: pg_sys::Oid) -> Result<i64> {
    // SAFETY: reads a flag of the server.
    #[expect(unsafe_code, reason = "the server's state is behind C functions")]
    let recovering = unsafe { pg_sys::RecoveryInProgress() };
    // On a standby nobody writes but the replay, and no stronger lock can be had.
    let lock = if recovering {
        pg_sys::AccessShareLock
    } else {
        pg_sys::ShareLock
    };
    let index = OpenIndex::open(oid, &am::ACCESS_METHOD, lock.cast_signed())?;
    let verified = verify_pages(&index.store(), &mut |_| Ok(()))?;
    if verified.lost_pages > 0 {
        log::info!(target: "vectorgpu::verify", "{} pages are lost until the next REINDEX", verified.lost_pages);
    }
    i64::try_from(verified.rows).map_err(|_| Error::new(ErrorKind::Internal, "more rows than bigint holds"))
}

struct Info {
    meta: Meta,
    probes: u32,
    rows: u64,
    empty_lists: u32,
    longest_list: u64,
    pages: u32,
}

fn info(oid: pg_sys::Oid) -> Result<Info> {
    let index = OpenIndex::open(oid, &am::ACCESS_METHOD, pg_sys::AccessShareLock.cast_signed())?;
    let store = index.store();
    let meta = Meta::read(&store.share(0)?)?;
    let stats = index_stats(&store, &meta)?;
    Ok(Info {
        probes: am::ScanSettings::of(index.index(), &meta)?.probes,
        rows: stats.rows,
        empty_lists: stats.empty_lists,
        longest_list: stats.longest_list,
        pages: store.blocks()?,
        meta,
    })
}

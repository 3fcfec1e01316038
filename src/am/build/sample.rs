//! A uniform sample of the table's vectors: random blocks, then a reservoir over their rows.
//!
//! The reservoir holds datums as they lie in the table, usually 18-byte pointers to TOAST; only the rows that remain
//! in it are read in full, in the order in which they were stored, by workers where there are any. Source of the block sampling: ANALYZE.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::sample::Reservoir;
use vectorgpu_core::vector::check_expected_dims;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::assign::Source;
use super::phase::Phase;
use super::plan::Plan;
use super::readers::{self, ToastPointer};
use crate::pg::{interrupt, version};

/// Blocks to look at for one row that is wanted, as a factor: more blocks, less clustering of the sample.
const OVERSAMPLING: f64 = 4.0;
/// Rows from which on workers are started to read them: one process reads so many in the time that some workers take to start.
const PARALLEL_ROWS: usize = 4096;

/// Sampled vectors, one after the other.
pub(super) struct Sample {
    vectors: Vec<f32>,
    dims: usize,
}

struct Drawn {
    reservoir: Reservoir,
    datums: Vec<pg_sys::Datum>,
    /// Holds what `datums` point to; deleted with the last of them, because memory of single chunks that are freed
    /// stays with its context, and short vectors lie in the table in full.
    context: pg_sys::MemoryContext,
}

impl Sample {
    /// Draws a sample for `plan`, with up to `workers` workers; what is drawn does not depend on how many there are.
    ///
    /// # Errors
    /// `LimitExceeded` when memory does not allow one, `DataException` for a row of other dimensions.
    ///
    /// # Safety
    /// As `ambuild`'s caller.
    pub(super) unsafe fn draw(source: Source, plan: &Plan, workers: i32) -> Result<Self> {
        Phase::Sampling.report(0.0);
        let wanted = plan.sample_rows()?;
        let mut drawn = Drawn {
            reservoir: Reservoir::new(wanted, plan.seed),
            datums: Vec::new(),
            context: sample_context(),
        };
        let context = drawn.context;
        // SAFETY: as the caller's.
        unsafe { fill(source, plan, wanted, &mut drawn) };
        let mut vectors = Vec::new();
        let floats = drawn.datums.len() * plan.dims();
        vectors.try_reserve_exact(floats).map_err(|_| {
            Error::new(
                ErrorKind::OutOfMemory,
                format!("out of memory for {} sampled rows", drawn.datums.len()),
            )
        })?;
        // SAFETY: copies of vectors made by `offer`, of rows that a snapshot or the table's lock keeps.
        unsafe { read(drawn.datums, workers, &mut vectors, plan) }?;
        // SAFETY: made above; none of its datums is used any more.
        unsafe { pg_sys::MemoryContextDelete(context) };
        Ok(Self {
            vectors,
            dims: plan.dims(),
        })
    }

    /// `[rows, dims]` row-major.
    pub(super) fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// Number of sampled rows.
    pub(super) fn rows(&self) -> usize {
        self.vectors.len() / self.dims
    }
}

/// A child of the current context, which frees it when an error ends the build.
fn sample_context() -> pg_sys::MemoryContext {
    // SAFETY: the name is a constant that outlives the context; the sizes are the server's defaults.
    unsafe {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"vectorgpu sample".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

/// Reads the vectors in full.
///
/// # Safety
/// `datums` are vectors as they lie in the table, in chunks of memory of their own, which are freed.
unsafe fn read(
    mut datums: Vec<pg_sys::Datum>,
    workers: i32,
    vectors: &mut Vec<f32>,
    plan: &Plan,
) -> Result<()> {
    let total = datums.len();
    let mut push = |vector: &[f32]| {
        let done = vectors.len() / plan.dims();
        if done.is_multiple_of(256) {
            interrupt::check();
            Phase::Sampling.report(0.5 + 0.5 * done as f64 / total as f64);
        }
        check_expected_dims(plan.dims(), vector.len())?;
        vectors.extend_from_slice(vector);
        Ok(())
    };
    // SAFETY: as the caller's.
    let pointer = |datum: &pg_sys::Datum| unsafe { ToastPointer::of(*datum) };
    // A reservoir mixes rows; neighbours share pages of TOAST and of its index.
    datums.sort_by_key(|datum| pointer(datum).map(ToastPointer::value));
    if workers > 0 && total >= PARALLEL_ROWS {
        let pointers: Option<Vec<ToastPointer>> = datums.iter().map(pointer).collect();
        let by_workers = |pointers: Vec<ToastPointer>| {
            // SAFETY: as the caller's.
            unsafe { readers::read(&pointers, plan.elements, workers, &mut push) }
        };
        if pointers.map_or(Ok(false), by_workers)? {
            return Ok(());
        }
    }
    let mut decoded = Vec::new();
    for datum in datums {
        // SAFETY: as the caller's.
        unsafe {
            push(&plan.elements.read(datum, &mut decoded)?)?;
            pg_sys::pfree(datum.cast_mut_ptr());
        }
    }
    Ok(())
}

/// # Safety
/// As `ambuild`'s caller.
unsafe fn fill(source: Source, plan: &Plan, wanted: usize, drawn: &mut Drawn) {
    let Source {
        table,
        index,
        index_info,
    } = source;
    // SAFETY: as the caller's.
    let pages = unsafe { pg_sys::RelationGetNumberOfBlocksInFork(table, pg_sys::ForkNumber::MAIN_FORKNUM) };
    let rows_per_page = (plan.estimated_rows / f64::from(plan.table_pages.max(1))).max(0.1);
    let blocks = (wanted as f64 / rows_per_page * OVERSAMPLING).clamp(1.0, f64::from(i32::MAX / 2));
    #[expect(clippy::cast_possible_truncation, reason = "clamped to an int first")]
    let blocks = blocks as i32;
    let mut sampler = pg_sys::BlockSamplerData::default();
    let state: *mut c_void = std::ptr::from_mut(drawn).cast();
    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of the seed do")]
    let seed = version::sampler_seed(plan.seed as u32);
    // SAFETY: as the caller's; `drawn` outlives the scans, whose callback alone uses it.
    unsafe {
        let chosen = pg_sys::BlockSampler_Init(&mut sampler, pages, blocks, seed);
        let mut done = 0;
        while pg_sys::BlockSampler_HasMore(&mut sampler) {
            let block = pg_sys::BlockSampler_Next(&mut sampler);
            let (no_sync, any_visible, progress) = (false, true, false);
            pg_sys::table_index_build_range_scan(
                table,
                index,
                index_info,
                no_sync,
                any_visible,
                progress,
                block,
                1,
                Some(offer),
                state,
                std::ptr::null_mut(),
            );
            done += 1;
            Phase::Sampling.report(0.5 * f64::from(done) / f64::from(chosen.max(1)));
            interrupt::check();
        }
    }
}

/// Offers one row to the reservoir.
#[pg_guard]
unsafe extern "C-unwind" fn offer(
    _index: pg_sys::Relation,
    _tid: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    is_null: *mut bool,
    _alive: bool,
    state: *mut c_void,
) {
    // SAFETY: the server passes one value and its null flag; `state` is what `fill` passed.
    let (value, is_null, drawn) = unsafe { (*values, *is_null, &mut *state.cast::<Drawn>()) };
    if is_null {
        return;
    }
    let Some(place) = drawn.reservoir.offer() else {
        return;
    };
    // SAFETY: a varlena that is valid during this call; the context lives as long as the reservoir.
    let copy = unsafe { copied(value, drawn.context) };
    if place == drawn.datums.len() {
        drawn.datums.push(copy);
        return;
    }
    let replaced = std::mem::replace(&mut drawn.datums[place], copy);
    // SAFETY: the copy that a former row left here, freed once.
    unsafe { pg_sys::pfree(replaced.cast_mut_ptr()) };
}

/// Copies a varlena as it lies in the table, TOAST pointer or not, into `context`.
///
/// # Safety
/// `value` is a vector and `context` lives.
unsafe fn copied(value: pg_sys::Datum, context: pg_sys::MemoryContext) -> pg_sys::Datum {
    // SAFETY: as the caller's; the allocation has as many bytes as asked for, or raises an error.
    unsafe {
        let from = value.cast_mut_ptr::<pg_sys::varlena>();
        let bytes = pgrx::varlena::varsize_any(from);
        let to = pg_sys::MemoryContextAlloc(context, bytes).cast::<u8>();
        to.copy_from_nonoverlapping(from.cast::<u8>(), bytes);
        pg_sys::Datum::from(to)
    }
}

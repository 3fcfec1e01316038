//! What is to be built: metric, storage, dimensions, lists, and the memory to do it in.

use pgrx::pg_sys;
use vectorgpu_core::backend::NearestBy;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::kmeans::{self, KmeansTask};
use vectorgpu_core::limits::MAX_LISTS;
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::am::{IndexedBy, indexed_by};
use crate::pg::options;
use crate::pg::version;
use crate::types::elements::ElementType;

/// Builds are repeatable; a different sample would be as good.
const SEED: u64 = 0x7665_6374_6f72;
/// Rows from which on lists grow as four times the root of the rows.
const MANY_ROWS: f64 = 1e6;

/// The build's parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) metric: Metric,
    pub(super) elements: ElementType,
    pub(super) storage: Storage,
    /// Of the numbers by which rows are clustered.
    pub(super) dims: u32,
    /// Of the column's values.
    pub(super) value_dims: u32,
    pub(super) lists: u32,
    pub(super) seed: u64,
    pub(super) estimated_rows: f64,
    pub(super) table_pages: u32,
    pub(super) memory_kb: i32,
}

impl Plan {
    /// # Errors
    /// `InvalidArgument` for a column without dimensions.
    ///
    /// # Safety
    /// `table` and `index` are open.
    pub(super) unsafe fn new(table: pg_sys::Relation, index: pg_sys::Relation) -> Result<Self> {
        let (mut pages, mut rows, mut all_visible) = (0, 0.0, 0.0);
        // SAFETY: as the caller's; NULL widths are allowed.
        unsafe {
            pg_sys::estimate_rel_size(
                table,
                std::ptr::null_mut(),
                &mut pages,
                &mut rows,
                &mut all_visible,
            );
        }
        // SAFETY: as the caller's.
        let plan = unsafe { Self::for_empty(index) }?;
        let options = options::of_index(index);
        let lists = options.lists.unwrap_or_else(|| lists_for(rows));
        let suited = || suited(plan.metric, plan.elements, plan.dims(), rows);
        Ok(Self {
            lists,
            storage: options.storage.unwrap_or_else(suited),
            estimated_rows: rows,
            table_pages: pages,
            ..plan
        })
    }

    /// The plan for a table without rows.
    ///
    /// # Errors
    /// As [`Plan::new`].
    ///
    /// # Safety
    /// `index` is open.
    pub(super) unsafe fn for_empty(index: pg_sys::Relation) -> Result<Self> {
        let options = options::of_index(index);
        let IndexedBy { metric, elements, .. } = indexed_by(index)?;
        // SAFETY: as the caller's; an ivf index has exactly one column.
        let typmod = unsafe { version::attribute((*index).rd_att, 0) }.atttypmod;
        let value_dims = usize::try_from(typmod).ok().filter(|dims| *dims > 0);
        let Some(value_dims) = value_dims else {
            return Err(
                Error::new(ErrorKind::InvalidArgument, "column does not have dimensions").with_hint(
                    "Declare the column as vector(n), halfvec(n) or sparsevec(n), or index an expression like (column::vector(n)).",
                ),
            );
        };
        let dims = elements.read_dims(value_dims);
        let storage = options
            .storage
            .unwrap_or_else(|| suited(metric, elements, dims, 0.0));
        if !(metric.allows(storage) && elements.allows(storage)) {
            return Err(unsuited(metric, elements, storage));
        }
        if dims > storage.dims_max() {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "column cannot have more than {} dimensions for ivf index",
                    storage.dims_max()
                ),
            ));
        }
        Ok(Self {
            metric,
            elements,
            storage,
            dims: u32::try_from(dims).expect("at most 64,000"),
            value_dims: u32::try_from(value_dims).expect("a type modifier is an int4"),
            lists: options.lists.unwrap_or_else(|| lists_for(0.0)),
            seed: SEED,
            estimated_rows: 0.0,
            table_pages: 0,
            // SAFETY: a setting of this process.
            memory_kb: unsafe { pg_sys::maintenance_work_mem },
        })
    }

    /// Dimensions of every row.
    pub(super) fn dims(&self) -> usize {
        self.dims as usize
    }

    /// How rows find their list.
    pub(super) fn nearest_by(&self) -> NearestBy {
        self.metric.into()
    }

    /// The clustering of `samples`.
    pub(super) fn kmeans<'a>(&self, samples: &'a [f32]) -> KmeansTask<'a> {
        KmeansTask {
            samples,
            dims: self.dims(),
            lists: self.lists as usize,
            by: self.nearest_by(),
            seed: self.seed,
            max_iterations: kmeans::ITERATIONS,
        }
    }

    /// The metapage for an index of `rows` rows.
    pub(super) fn meta(&self, rows: u64) -> Meta {
        let meta = Meta::plan(self.metric, self.storage, self.dims, self.lists, rows, self.seed);
        match self.storage {
            Storage::Sketch => meta.of_projections(self.value_dims),
            _ => meta,
        }
    }

    /// Rows to sample: as many as k-means wants and memory allows.
    ///
    /// # Errors
    /// `LimitExceeded` when not even a few rows for each list fit into `maintenance_work_mem`.
    pub(super) fn sample_rows(&self) -> Result<usize> {
        let allowed = usize::try_from(self.memory_kb).unwrap_or(0).saturating_mul(1024);
        let lists = self.lists as usize;
        let needed =
            |rows: usize| kmeans::kmeans_memory_bytes(rows, self.dims(), lists).unwrap_or(usize::MAX);
        let rows = kmeans::sample_rows(self.dims(), lists, allowed);
        if needed(rows) > allowed && (self.estimated_rows >= 1.0 || needed(lists) > allowed) {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "memory required is {} MB, maintenance_work_mem is {} MB",
                    needed(rows).div_ceil(1 << 20),
                    allowed >> 20
                ),
            )
            .with_hint("Raise maintenance_work_mem or use fewer lists."));
        }
        Ok(rows)
    }
}

/// The storage that suits `rows` rows.
fn suited(metric: Metric, elements: ElementType, dims: usize, rows: f64) -> Storage {
    match elements {
        ElementType::Sparse => Storage::Sketch,
        _ => Storage::suited(metric, dims, rows),
    }
}

/// The error for a storage that does not suit.
fn unsuited(metric: Metric, elements: ElementType, storage: Storage) -> Error {
    let others: Vec<&str> = Storage::ALL
        .into_iter()
        .filter(|storage| metric.allows(*storage) && elements.allows(*storage))
        .map(Storage::name)
        .collect();
    Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "storage \"{}\" of {} cannot be ordered by {}",
            storage.name(),
            elements.type_name(),
            metric.words()
        ),
    )
    .with_hint(format!(
        "Use {}, or leave the choice to auto.",
        others.join(" or ")
    ))
}

/// The square root of the rows up to a million, four times that beyond, and in between where the rule changes.
fn lists_for(rows: f64) -> u32 {
    let root = rows.max(1.0).sqrt();
    let factor = (rows / MANY_ROWS).clamp(1.0, 4.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped first"
    )]
    let lists = (root * factor).clamp(1.0, f64::from(MAX_LISTS)) as u32;
    lists
}

//! `vectorgpu.knn_join`: the nearest rows of every row of a table, through an index.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::exact::Neighbour;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::limits::{MAX_LISTS, MAX_RESULTS};
use vectorgpu_core::vector::check_equal_dims;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::row_progress::RowProgress;
use super::searcher::{self, Searcher};
use super::vector_column::VectorColumn;
use super::within;
use crate::am::AT_ONCE;
use crate::error::OrRaise;
use crate::pg::relation::{OpenIndex, relation_name};
use crate::pg::result_rows::{Column, ResultRows};
use crate::pg::setting::work_mem_bytes;

/// `vectorgpu.knn_join(regclass, text, regclass, int4, int4, boolean)`: for each row of `relation` that has a vector the `k`
/// nearest rows of the index's table, as `vectorgpu.search` finds them, under one snapshot. With `exclude_self` a row is not
/// among its own neighbours. Reads the rows in blocks that fit into `work_mem`; rows without a vector give none.
#[pg_extern(sql = false)]
fn knn_join(
    relation: pg_sys::Oid,
    column_name: &str,
    index: pg_sys::Oid,
    k: i32,
    probes: i32,
    exclude_self: bool,
    mut rows: ResultRows,
) {
    join(relation, column_name, index, k, probes, exclude_self, &mut rows).or_raise();
}

fn join(
    relation: pg_sys::Oid,
    column_name: &str,
    index: pg_sys::Oid,
    k: i32,
    probes: i32,
    exclude_self: bool,
    rows: &mut ResultRows,
) -> Result<()> {
    let k = within("k", k, 1, MAX_RESULTS)? as usize;
    let probes = within("probes", probes, 0, MAX_LISTS)?;
    let open = searcher::open_index(index)?;
    let column = VectorColumn::open_for(relation, column_name, &open)?;
    if exclude_self && relation != open.table_oid() {
        return Err(not_a_self_join(&open));
    }
    // Of a table that nobody counted, many.
    let expected = column.estimated_rows().map_or(AT_ONCE as f64, |rows| rows as f64);
    // A row that is to be left out is one of those found.
    let searcher = Searcher::begin(&open, k + usize::from(exclude_self), probes, expected)?;
    let mut join = Join {
        searcher,
        k,
        exclude_self,
        rows,
        progress: RowProgress::begin("knn_join", column.estimated_rows()),
    };
    let mut block: Option<Block> = None;
    column.for_each(&mut |tid, vector| {
        let block = match &mut block {
            Some(block) => block,
            None => block.insert(Block::of_dims(vector.len())?),
        };
        block.push(tid, vector)?;
        if block.is_full() {
            join.answer(block)?;
        }
        Ok(())
    })?;
    block.map_or(Ok(()), |mut block| join.answer(&mut block))
}

fn not_a_self_join(open: &OpenIndex) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "exclude_self needs the rows of table \"{}\", which index \"{}\" is on",
            relation_name(open.table()),
            open.name()
        ),
    )
    .with_hint("Rows of another table are not among the neighbours.")
}

/// What answers the rows of a table, block by block.
struct Join<'a> {
    searcher: Searcher<'a>,
    k: usize,
    exclude_self: bool,
    rows: &'a mut ResultRows,
    progress: RowProgress,
}

impl Join<'_> {
    /// Returns the neighbours of the rows of `block`, and empties it.
    fn answer(&mut self, block: &mut Block) -> Result<()> {
        let mut tids = block.tids.iter();
        let queries: Vec<&[f32]> = block.vectors.chunks_exact(block.dims).collect();
        self.searcher.nearest_of_each(&queries, &mut |found| {
            let tid = *tids.next().expect("an answer for each query");
            let left_out = self.exclude_self.then_some(tid.0);
            let neighbours = found.iter().filter(|row| Some(row.id) != left_out);
            return_neighbours(self.rows, tid, neighbours.take(self.k));
            self.progress.count_row();
        })?;
        block.clear();
        Ok(())
    }
}

/// Returns the neighbours of the row `of`: (tid, rank, neighbour_tid, distance).
fn return_neighbours<'a>(rows: &mut ResultRows, of: Tid, neighbours: impl Iterator<Item = &'a Neighbour>) {
    for (rank, row) in (1..).zip(neighbours) {
        let neighbour = Tid(row.id);
        rows.push([
            Column::Tid((of.block(), of.offset())),
            Column::Int4(rank),
            Column::Tid((neighbour.block(), neighbour.offset())),
            Column::Float8(row.distance),
        ]);
    }
}

/// Rows that are searched for together.
struct Block {
    tids: Vec<Tid>,
    /// `[n, dims]` row-major.
    vectors: Vec<f32>,
    dims: usize,
    /// Rows that it takes, at least one.
    room: usize,
}

impl Block {
    /// An empty block, of as many rows of `dims` dimensions as fit into `work_mem` and are searched at once.
    fn of_dims(dims: usize) -> Result<Self> {
        let row_bytes = dims * size_of::<f32>() + size_of::<&[f32]>() + size_of::<Tid>();
        let room = (work_mem_bytes() / row_bytes).clamp(1, AT_ONCE);
        let mut vectors = Vec::new();
        vectors.try_reserve_exact(room * dims).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for a block of rows").with_detail(error.to_string())
        })?;
        Ok(Self {
            tids: Vec::with_capacity(room),
            vectors,
            dims,
            room,
        })
    }

    /// Adds a row, for which there is room.
    ///
    /// # Errors
    /// `DataException` for a vector of other dimensions.
    fn push(&mut self, tid: Tid, vector: &[f32]) -> Result<()> {
        check_equal_dims(self.dims, vector.len())?;
        self.tids.push(tid);
        self.vectors.extend_from_slice(vector);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.tids.len() == self.room
    }

    fn clear(&mut self) {
        self.tids.clear();
        self.vectors.clear();
    }
}

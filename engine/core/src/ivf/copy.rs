//! Reads a list for a copy of it on a device, and what was appended to it since.
//!
//! A copy is valid for one version of its list, a prefix of it for one epoch. The version is read before the rows, so a copy
//! may hold a few rows more than its version says; whoever finds a later version reads on from where the copy ends.
//! Nothing is locked while the device takes rows.

use std::any::Any;
use std::rc::Rc;

use crate::backend::KeepWaiting;
use crate::error::{Error, ErrorKind, Result};
use crate::metric::Storage;
use crate::quantize::Summation;
use crate::quantize::list_row::{ListQuery, ListRows, RowCode};

use super::group;
use super::layout::{self, ListHead, Meta, Shape};
use super::page::NO_BLOCK;
use super::search::list_head_block;
use super::store::PageStore;

/// Bytes of rows that are handed on at a time.
const BATCH_BYTES: usize = 4 << 20;
/// Groups to read before interrupts are let through.
const GROUPS_BETWEEN_PAUSES: u32 = 64;

/// Which rows of a list a copy holds; the default, none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyMark {
    /// The list's version that it holds all rows of.
    pub version: u64,
    /// The list's epoch.
    pub epoch: u64,
    /// First page of the last group that was read.
    block: u32,
    /// Slots of that group that were read.
    slots: usize,
}

/// A row that a device found near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CopyHit {
    /// Its heap row.
    pub tid: u64,
    /// A lower bound of the operator's value; NaN for the cosine of a zero row.
    pub key: f32,
    /// The score of its vector and its `|x|^2`, both bit for bit those of the CPU's kernels, where the device has them.
    pub exact: Option<(f32, f32)>,
}

/// What a device's search came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CopiesSearched {
    /// Rows of the lists.
    pub rows: u64,
    /// No row that was left out has a smaller key; `None` when none was left out.
    pub cut: Option<f32>,
}

/// What a device found for many queries.
#[derive(Debug, Clone, Default)]
pub struct ManyHits {
    /// The hits of one query after the other.
    pub hits: Vec<CopyHit>,
    /// Where each query's hits end, and [`CopiesSearched`] for it.
    pub queries: Vec<(usize, CopiesSearched)>,
}

impl ManyHits {
    /// The hits of the query with this number, and what was searched for it.
    ///
    /// # Panics
    /// When there is no such query.
    pub fn of(&self, query: usize) -> (&[CopyHit], CopiesSearched) {
        let (end, searched) = self.queries[query];
        let start = query.checked_sub(1).map_or(0, |before| self.queries[before].0);
        (&self.hits[start..end], searched)
    }
}

/// What a device has of some queries, if anything: whatever it is, it goes when this is dropped.
#[derive(Debug, Clone, Default)]
pub struct SentQueries(pub Option<Rc<dyn Any>>);

/// Which lists are searched for which of many queries.
#[derive(Debug, Clone, Copy)]
pub enum Probed<'a> {
    /// The lists of each query, in the queries' order.
    Each(&'a [Vec<u32>]),
    /// The same lists for every query.
    Same(&'a [u32]),
}

impl<'a> Probed<'a> {
    /// The lists of the query with this number.
    ///
    /// # Panics
    /// When there is no such query.
    pub fn of(self, query: usize) -> &'a [u32] {
        match self {
            Self::Each(lists) => &lists[query],
            Self::Same(lists) => lists,
        }
    }
}

/// Most rows of each query that any copies find for many queries at once; see [`ListCopies::at_once_max`].
pub const AT_ONCE_MAX: usize = 64;

/// Copies of the lists of one index, in a device's memory.
///
/// Implementors: the GPU's, and one in memory for tests. A copy that was begun and not finished is never searched.
pub trait ListCopies {
    /// What searches, for the user.
    fn label(&self) -> &str;

    /// Whether hits come with what makes them [`CopyHit::exact`]: all of them do, or none.
    fn is_exact(&self) -> bool;

    /// Most rows of each query that these copies find for many queries at once, at least [`AT_ONCE_MAX`].
    fn at_once_max(&self) -> usize {
        AT_ONCE_MAX
    }

    /// Which rows the copy of `list` holds, if there is one.
    fn mark(&self, list: u32) -> Option<CopyMark>;

    /// Asks for the memory in which [`Self::mark`] will look for `list`. Does nothing where that is no use.
    fn ask_ahead(&self, _list: u32) {}

    /// Begins a new copy of `list`, which has about `rows` rows, in place of the one there is.
    ///
    /// # Errors
    /// `OutOfMemory` when it does not fit beside what is in use, `Cancelled`, `DeviceLost`.
    fn begin(&mut self, list: u32, rows: u64, keep_waiting: &mut KeepWaiting<'_>) -> Result<()>;

    /// Adds rows to the copy of `list`.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn append(&mut self, list: u32, rows: &ListRows, keep_waiting: &mut KeepWaiting<'_>) -> Result<()>;

    /// Notes that the copy of `list` holds the rows of `mark`.
    fn finish(&mut self, list: u32, mark: CopyMark);

    /// Drops the copy of `list`.
    fn discard(&mut self, list: u32);

    /// Puts the `wanted` rows of `lists` with the smallest keys into `hits`, or all of them; in no order.
    ///
    /// Rows up to `after`, by key and then TID, are left out, or come with infinite keys and count among the wanted. Ties at
    /// the cut are broken in any way.
    ///
    /// # Errors
    /// `Internal` when a list has no finished copy; `OutOfMemory`, `Cancelled`, `DeviceLost`.
    fn nearest(
        &mut self,
        query: &ListQuery<'_>,
        lists: &[u32],
        wanted: usize,
        after: Option<(f32, u64)>,
        hits: &mut Vec<CopyHit>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<CopiesSearched>;

    /// As [`Self::nearest`] for each of `queries`, of the lists that belong to it. Nothing is left out. Up to [`Self::at_once_max`]
    /// rows of each are found for all queries at once, more in turns.
    ///
    /// # Errors
    /// As [`Self::nearest`].
    fn nearest_of_many(
        &mut self,
        queries: &[ListQuery<'_>],
        lists: Probed<'_>,
        wanted: usize,
        found: &mut ManyHits,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        nearest_in_turns(self, queries, lists, wanted, found, keep_waiting)
    }

    /// Begins what [`Self::nearest_of_many`] does, so that the host can do something else meanwhile: copies may be changed,
    /// dropped and searched before it is finished. Without a device that works by itself it is done at once.
    ///
    /// What is sent to the device of the queries it leaves in `sent`, for other copies in the same device's memory that are
    /// searched for the same queries, under the same metric.
    ///
    /// # Errors
    /// As [`Self::nearest`].
    fn begin_many(
        &mut self,
        queries: &[ListQuery<'_>],
        lists: Probed<'_>,
        wanted: usize,
        _sent: &mut SentQueries,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn PendingMany>> {
        let mut found = ManyHits::default();
        self.nearest_of_many(queries, lists, wanted, &mut found, keep_waiting)?;
        Ok(Box::new(found))
    }

    /// Told that `error` ended a search; decides whether the pages are read instead.
    ///
    /// # Errors
    /// The error, when they are not.
    fn failed(&mut self, error: Error) -> Result<()>;
}

/// What [`ListCopies::nearest_of_many`] does, by a search for each query after the other.
///
/// # Errors
/// As [`ListCopies::nearest`].
pub fn nearest_in_turns<C: ListCopies + ?Sized>(
    copies: &mut C,
    queries: &[ListQuery<'_>],
    lists: Probed<'_>,
    wanted: usize,
    found: &mut ManyHits,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    for (number, query) in queries.iter().enumerate() {
        let of_query = lists.of(number);
        let searched = copies.nearest(query, of_query, wanted, None, &mut found.hits, keep_waiting)?;
        found.queries.push((found.hits.len(), searched));
    }
    Ok(())
}

/// A search for many queries that was begun. Dropping it gives it up.
///
/// Implementors: the GPU's, which owns what it needs and borrows nothing, and hits that are there already. So an interrupt may
/// be processed while one is pending.
pub trait PendingMany {
    /// Waits for what is found.
    ///
    /// # Errors
    /// As [`ListCopies::nearest`].
    fn finish(self: Box<Self>, keep_waiting: &mut KeepWaiting<'_>) -> Result<ManyHits>;
}

impl PendingMany for ManyHits {
    fn finish(self: Box<Self>, _keep_waiting: &mut KeepWaiting<'_>) -> Result<ManyHits> {
        Ok(*self)
    }
}

/// What collects the rows of a list as they are read.
pub trait RowSink {
    /// Forgets all rows.
    fn clear(&mut self);

    /// Appends a row; `norm_sq` is its own `|x|^2` where the metric needs it.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn push(&mut self, tid: u64, code: RowCode<'_>, norm_sq: f32) -> Result<()>;

    /// Bytes that the rows take: when they are many, they are handed on.
    fn bytes(&self) -> usize;
}

impl RowSink for ListRows {
    fn clear(&mut self) {
        self.clear();
    }

    fn push(&mut self, tid: u64, code: RowCode<'_>, norm_sq: f32) -> Result<()> {
        self.push(tid, code, norm_sq);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }
}

/// Tries to read a list that VACUUM keeps changing before the pages are read instead.
const TRIES: usize = 4;

/// What became of a list's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// It holds what the list holds, as it did.
    Unchanged,
    /// Rows were copied, and it does now.
    Copied,
    /// There is none: VACUUM kept changing the list, or it never had a row.
    NoCopy,
}

/// Brings the copy of `list`, whose first group is at `head`, to what the list holds now.
///
/// # Errors
/// `CorruptIndex`; what `copies` reports.
#[expect(clippy::too_many_arguments, reason = "the index, the list, and where to")]
pub fn refresh<S: PageStore>(
    store: &S,
    meta: &Meta,
    shape: &Shape,
    list: u32,
    head: u32,
    copies: &mut dyn ListCopies,
    rows: &mut ListRows,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Refreshed> {
    for _ in 0..TRIES {
        let mark = copies.mark(list);
        let from = match standing(store, meta, shape, list, head, mark.as_ref())? {
            Standing::Current => return Ok(Refreshed::Unchanged),
            Standing::Empty => return Ok(Refreshed::NoCopy),
            Standing::Behind { appended: true, .. } => mark,
            Standing::Behind {
                appended: false,
                rows,
            } => {
                check_rows(store, shape, list, rows)?;
                copies.begin(list, rows, keep_waiting)?;
                None
            }
        };
        let take = &mut |rows: &ListRows| copies.append(list, rows, keep_waiting);
        match read_rows(store, meta, shape, list, head, from.as_ref(), rows, take) {
            Ok(Some(mark)) => {
                copies.finish(list, mark);
                return Ok(Refreshed::Copied);
            }
            Ok(None) => copies.discard(list),
            Err(error) => {
                // It holds more than its mark says, or less.
                copies.discard(list);
                return Err(error);
            }
        }
    }
    Ok(Refreshed::NoCopy)
}

/// Checks what a list says of its rows before a device makes room for them.
fn check_rows<S: PageStore>(store: &S, shape: &Shape, list: u32, rows: u64) -> Result<()> {
    let groups = u64::from(store.blocks()? / shape.group_blocks().max(1));
    let most = groups * shape.rows as u64;
    if rows <= most {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "list {list} of the index says that it has {rows} rows, where the index has room for {most}"
    ))
    .with_hint("REINDEX the index."))
}

/// Makes copies of all lists of an index, whose operator sums as `summation` says, or brings them up to date.
///
/// # Errors
/// `CorruptIndex`; what `copies` reports. The copies made so far stay.
pub fn prewarm<S: PageStore>(
    store: &S,
    meta: &Meta,
    summation: Summation,
    copies: &mut dyn ListCopies,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    let shape = meta.shape();
    let rows = ListRows::new(meta.metric, meta.storage, meta.dims as usize);
    let mut rows = rows.for_operator(summation);
    for list in 0..meta.lists {
        store.pause()?;
        let head = list_head_block(store, meta, list)?;
        refresh(store, meta, &shape, list, head, copies, &mut rows, keep_waiting)?;
    }
    Ok(())
}

/// How a list stands to a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The copy holds what the list holds.
    Current,
    /// Rows were appended, or rows were removed or moved; without a copy, all of them.
    Behind {
        /// Whether the copy can be added to.
        appended: bool,
        /// Rows of the list.
        rows: u64,
    },
    /// The list never had a row.
    Empty,
}

/// How the list whose first group is at `head` stands to a copy with `mark`.
///
/// # Errors
/// `CorruptIndex`.
pub fn standing<S: PageStore>(
    store: &S,
    meta: &Meta,
    shape: &Shape,
    list: u32,
    head: u32,
    mark: Option<&CopyMark>,
) -> Result<Standing> {
    if head == NO_BLOCK {
        return Ok(Standing::Empty);
    }
    meta.check_group_block(head, NO_BLOCK)?;
    let page = store.share(head)?;
    layout::check_group(&page, head, list, shape)?;
    let now = ListHead::read(&page);
    Ok(match mark {
        Some(mark) if mark.version == now.version => Standing::Current,
        mark => Standing::Behind {
            appended: mark.is_some_and(|mark| mark.epoch == now.epoch),
            rows: now.rows,
        },
    })
}

/// Reads the rows of a list behind `from`, or all of them, and gives them to `take` in batches.
///
/// Returns the mark of the copy that has taken them all; `None` when rows were removed or moved meanwhile, and what was
/// taken has to be forgotten, `from` included.
///
/// # Errors
/// `CorruptIndex`; what `take` reports.
#[expect(clippy::too_many_arguments, reason = "the index, the list, and where to")]
pub fn read_rows<S: PageStore, R: RowSink>(
    store: &S,
    meta: &Meta,
    shape: &Shape,
    list: u32,
    head_block: u32,
    from: Option<&CopyMark>,
    rows: &mut R,
    take: &mut dyn FnMut(&R) -> Result<()>,
) -> Result<Option<CopyMark>> {
    let mut reader = Reader {
        store,
        meta,
        shape,
        list,
        head_block,
        code: Vec::new(),
    };
    reader.run(from, rows, take)
}

struct Reader<'a, S> {
    store: &'a S,
    meta: &'a Meta,
    shape: &'a Shape,
    list: u32,
    head_block: u32,
    /// Scratch memory for a row.
    code: Vec<u8>,
}

impl<S: PageStore> Reader<'_, S> {
    fn run<R: RowSink>(
        &mut self,
        from: Option<&CopyMark>,
        rows: &mut R,
        take: &mut dyn FnMut(&R) -> Result<()>,
    ) -> Result<Option<CopyMark>> {
        rows.clear();
        let head = self.head()?;
        if from.is_some_and(|from| from.epoch != head.epoch) {
            return Ok(None);
        }
        let mut mark = CopyMark {
            version: head.version,
            epoch: head.epoch,
            block: from.map_or(self.head_block, |from| from.block),
            slots: from.map_or(0, |from| from.slots),
        };
        // The groups of a list are fewer than the pages of the index.
        let mut steps_left = self.store.blocks()?;
        loop {
            let Some(mut page) = self.group_of_epoch(mark.block, mark.epoch)? else {
                return Ok(None);
            };
            for step in 1.. {
                self.rows(&page, &mut mark, rows)?;
                let next = layout::next(&page);
                if next == NO_BLOCK {
                    drop(page);
                    if self.head()?.epoch != mark.epoch {
                        return Ok(None);
                    }
                    take(rows)?;
                    rows.clear();
                    return Ok(Some(mark));
                }
                self.meta.check_group_block(next, NO_BLOCK)?;
                let full = rows.bytes() >= BATCH_BYTES;
                if full || step % GROUPS_BETWEEN_PAUSES == 0 {
                    drop(page);
                    if full {
                        take(rows)?;
                        rows.clear();
                    }
                    self.store.pause()?;
                    // Goes on from this group, which may have got rows meanwhile, but only if it was the last one.
                    break;
                }
                steps_left = steps_left.checked_sub(1).ok_or_else(|| {
                    Error::corrupt(format!("the groups of list {} form a circle", self.list))
                })?;
                page = self.store.share(next)?;
                layout::check_group(&page, next, self.list, self.shape)?;
                (mark.block, mark.slots) = (next, 0);
            }
        }
    }

    /// What the list's head says now.
    fn head(&self) -> Result<ListHead> {
        let page = self.store.share(self.head_block)?;
        layout::check_group(&page, self.head_block, self.list, self.shape)?;
        Ok(ListHead::read(&page))
    }

    /// The first page of the group at `block`, locked, if the list is still in `epoch` and so still has the group.
    fn group_of_epoch(&self, block: u32, epoch: u64) -> Result<Option<S::Shared>> {
        let head = self.store.share(self.head_block)?;
        layout::check_group(&head, self.head_block, self.list, self.shape)?;
        if ListHead::read(&head).epoch != epoch {
            return Ok(None);
        }
        if block == self.head_block {
            return Ok(Some(head));
        }
        // Locked before the head is released.
        let page = self.store.share(block)?;
        layout::check_group(&page, block, self.list, self.shape)?;
        Ok(Some(page))
    }

    /// Adds the rows of a group, whose first page is locked, from slot `mark.slots` on.
    fn rows<R: RowSink>(&mut self, page: &[u8], mark: &mut CopyMark, rows: &mut R) -> Result<()> {
        let count = layout::count(page);
        for slot in mark.slots..count {
            let tid = layout::tid(page, slot);
            if tid.is_tombstone() {
                continue;
            }
            self.code.clear();
            let vector_at = self.shape.fine_bytes..self.shape.code_bytes;
            let pieces = self.shape.pieces_in(slot, vector_at);
            group::append(self.store, page, mark.block, pieces, &mut self.code)?;
            let factors = self.factors(page, mark.block, slot)?;
            let code = match self.shape.storage {
                Storage::F32 | Storage::Rabitq => RowCode::F32(&self.code),
                Storage::F16 => RowCode::F16(&self.code, factors.residual),
                Storage::Int8 => RowCode::Int8(&self.code, factors.scale, factors.residual),
                Storage::Bits | Storage::Sketch => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "no device keeps copies of rows stored as {}",
                            self.shape.storage.name()
                        ),
                    ));
                }
            };
            rows.push(tid.0, code, factors.norm_sq)?;
        }
        mark.slots = count.max(mark.slots);
        Ok(())
    }

    fn factors(&self, page: &[u8], block: u32, slot: usize) -> Result<RowFactors> {
        let runs = self.shape.factors;
        let mut run = 0;
        let mut read = |there: bool| {
            if !there {
                return 0.0;
            }
            run += 1;
            layout::factor(page, self.shape, run - 1, slot)
        };
        let factors = RowFactors {
            norm_sq: read(runs.norm_sq),
            residual: read(runs.residual),
            scale: read(runs.scale),
        };
        // No encoder wrote a negative one; NaN fails the comparison, too.
        if factors.norm_sq >= 0.0 && factors.residual >= 0.0 && factors.scale >= 0.0 {
            return Ok(factors);
        }
        Err(Error::corrupt(format!(
            "block {block} of the index holds a factor that is negative or no number"
        ))
        .with_hint("REINDEX the index."))
    }
}

/// What a row brings along, 0 where its storage has none.
struct RowFactors {
    norm_sq: f32,
    residual: f32,
    scale: f32,
}

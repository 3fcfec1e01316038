//! Reads the rows of a list into the window.
//!
//! Rows are scored where they lie, or gathered first for a backend that wants large batches; such a backend waits on
//! a device, so nothing is locked while it works.

use std::ops::ControlFlow;

use crate::backend::{Backend, KeepWaiting, RowBlock};
use crate::cpu::{Ahead, CACHE_LINE};
use crate::error::{Error, Result};
use crate::quantize::rabitq::Place;

use super::super::centroids;
use super::super::group;
use super::super::layout::{self, ListHead, Meta, Shape};
use super::super::page::{CONTENT_AT, NO_BLOCK};
use super::super::run::Run;
use super::super::store::PageStore;
use super::super::window::{Entry, Source, Window};
use super::bits::BitRows;
use super::coming::Coming;
use super::int8::Int8Rows;
use super::rabitq::RabitqRows;
use super::sketch::SketchRows;
use super::{Overtaken, Query, SearchCounts};

/// Groups to read before interrupts are let through.
const GROUPS_BETWEEN_PAUSES: u32 = 256;

/// Pages of a list that are asked for at once when they lie on the disk.
const PAGES_AHEAD: usize = 64;

/// Lines of what comes next that are asked for before anything else is done with a group: what a core can have under way.
const LINES_AT_ONCE: usize = 10;

/// Groups of a list to read before their number is compared with that of the index's pages, which has to be asked for.
const STEPS_UNCHECKED: u32 = 64;

/// Everything that stays the same while a batch of lists is read.
pub(super) struct Pass<'a, 'k, S> {
    pub(super) store: &'a S,
    pub(super) meta: &'a Meta,
    pub(super) shape: &'a Shape,
    pub(super) query: Option<&'a Query>,
    pub(super) backend: &'a mut dyn Backend,
    pub(super) keep_waiting: &'a mut KeepWaiting<'k>,
    pub(super) window: &'a mut Window,
    pub(super) counts: &'a mut SearchCounts,
    /// Whether every row that may be near is compared exactly at once, rather than when its turn comes.
    pub(super) settle_now: bool,
}

impl<S> Pass<'_, '_, S> {
    /// Whether rows are gathered for the backend; integer codes are scored where they lie, on every device.
    fn gathers(&self) -> bool {
        self.backend.batch_bytes() > 0 && self.shape.storage.element().is_some()
    }
}

/// Scratch memory of a scan.
#[derive(Debug, Default)]
pub(super) struct Collector {
    straddling: Vec<u8>,
    scores: Vec<f32>,
    codes: Vec<u8>,
    rows: Vec<GatheredRow>,
    bits: BitRows,
    int8: Int8Rows,
    rabitq: RabitqRows,
    sketch: SketchRows,
    coming: Coming,
}

#[derive(Debug, Clone, Copy)]
struct GatheredRow {
    tid: u64,
    norm_sq: f32,
    residual: f32,
}

impl Collector {
    /// Forgets gathered rows.
    pub(super) fn clear(&mut self) {
        self.codes.clear();
        self.rows.clear();
    }

    /// Forgets the last query.
    pub(super) fn restart(&mut self) {
        self.rabitq.clear();
    }

    /// Notes where the query lies to the centroid of `list`.
    pub(super) fn know(&mut self, meta: &Meta, list: u32, place: Place) {
        self.rabitq.know(meta, list, place);
    }

    /// What is known of the lists read, and memory for a part of a row.
    pub(super) fn rabitq_and_scratch(&mut self) -> (&mut RabitqRows, &mut Vec<u8>) {
        (&mut self.rabitq, &mut self.straddling)
    }

    /// Reads one list, whose first group is at `head_block`; `after` is the one that is read next, with its first group.
    /// `Break`: VACUUM moved rows meanwhile.
    pub(super) fn list<S: PageStore>(
        &mut self,
        pass: &mut Pass<'_, '_, S>,
        list: u32,
        head_block: u32,
        after: Option<(u32, u32)>,
    ) -> Result<Overtaken> {
        let store = pass.store;
        pass.counts.lists += 1;
        if head_block == NO_BLOCK {
            return Ok(ControlFlow::Continue(()));
        }
        // The store itself refuses a block that the index does not have.
        pass.meta.check_group_block(head_block, NO_BLOCK)?;
        let mut steps_max = STEPS_UNCHECKED;
        let mut page = store.share(head_block)?;
        layout::check_group(&page, head_block, list, pass.shape)?;
        let epoch = ListHead::read(&page).epoch;
        if let Some(query) = pass.query.and_then(|query| query.rabitq.as_ref()) {
            self.rabitq.enter(store, pass.meta, query, list)?;
        }
        let mut block = head_block;
        for step in 1u32.. {
            let next = layout::next(&page);
            if next != NO_BLOCK {
                pass.meta.check_group_block(next, NO_BLOCK)?;
            }
            if step > steps_max {
                let blocks = store.blocks()?;
                if step > blocks {
                    return Err(Error::corrupt(format!("the groups of list {list} form a circle")));
                }
                steps_max = blocks.min(2 * step);
            }
            let pauses = pass.gathers() || step % GROUPS_BETWEEN_PAUSES == 0;
            // Locked before this one is released.
            let ahead = if pauses || next == NO_BLOCK {
                None
            } else {
                Some(store.share(next)?)
            };
            let further = ahead.as_ref().map_or(NO_BLOCK, |page| layout::next(page));
            self.ask_ahead(pass, block == head_block, next, further, after);
            self.coming.take(LINES_AT_ONCE).ask_all();
            self.group(pass, &page, block)?;
            self.coming.ask_all();
            if next == NO_BLOCK {
                break;
            }
            page = match ahead {
                Some(ahead) => ahead,
                None if self.wants_flush(pass) || step % GROUPS_BETWEEN_PAUSES == 0 => {
                    drop(page);
                    self.flush_if_wanted(pass)?;
                    store.pause()?;
                    let head = store.share(head_block)?;
                    layout::check_group(&head, head_block, list, pass.shape)?;
                    if ListHead::read(&head).epoch != epoch {
                        return Ok(ControlFlow::Break(()));
                    }
                    store.share(next)?
                }
                None => store.share(next)?,
            };
            block = next;
            layout::check_group(&page, block, list, pass.shape)?;
        }
        drop(page);
        if block == head_block {
            return Ok(ControlFlow::Continue(()));
        }
        let head = store.share(head_block)?;
        layout::check_group(&head, head_block, list, pass.shape)?;
        let same = ListHead::read(&head).epoch == epoch;
        Ok(if same {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    }

    /// Notes what comes after a group, to be asked for while its rows are scored: the group behind the next one, or, at the
    /// end of a list, what the next list begins with. `alone`: the group is the first of its list.
    fn ask_ahead<S: PageStore>(
        &mut self,
        pass: &Pass<'_, '_, S>,
        alone: bool,
        next: u32,
        further: u32,
        after: Option<(u32, u32)>,
    ) {
        let (store, read) = (pass.store, pass.shape.scanned_bytes());
        self.coming.clear();
        let page = |block: u32| store.prefetch(block, 0..read).ahead();
        if further != NO_BLOCK {
            self.coming.push(page(further));
            return;
        }
        let Some((list, head)) = after else { return };
        if next == NO_BLOCK {
            if alone {
                self.coming.push(page(head));
            }
            if pass.shape.filter_bytes > 0 && self.rabitq.place(list).is_none() {
                centroids::ahead_of_one(store, pass.meta, list).for_each(|part| self.coming.push(part));
            }
            // Where it lies if the list was written at once.
            if let Some(second) = head.checked_add(pass.meta.group_pages) {
                self.coming.push(page(second));
            }
        } else {
            self.coming.push(page(head));
        }
    }

    /// Scores all gathered rows.
    pub(super) fn flush<S: PageStore>(&mut self, pass: &mut Pass<'_, '_, S>) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.scores.clear();
        if let Some((query, element)) = pass.query.zip(pass.shape.storage.element()) {
            let block = RowBlock {
                codes: &self.codes,
                element,
                dims: pass.shape.dims,
            };
            let score = pass.meta.metric.score();
            pass.backend
                .score(score, &query.values, block, &mut self.scores, pass.keep_waiting)?;
        }
        let exact = pass.backend.is_exact();
        for (index, row) in self.rows.iter().enumerate() {
            let key = pass.query.map_or(0.0, |query| {
                let score = self.scores[index];
                query.bounds.key(
                    pass.meta.metric,
                    exact && !pass.shape.factors.residual,
                    score,
                    row.norm_sq,
                    row.residual,
                )
            });
            pass.window.push(Entry::new(key, row.tid, Source::Settled));
        }
        self.clear();
        Ok(())
    }

    fn wants_flush<S: PageStore>(&self, pass: &Pass<'_, '_, S>) -> bool {
        !self.rows.is_empty() && self.codes.len() >= pass.backend.batch_bytes()
    }

    fn flush_if_wanted<S: PageStore>(&mut self, pass: &mut Pass<'_, '_, S>) -> Result<()> {
        if self.wants_flush(pass) {
            self.flush(pass)
        } else {
            Ok(())
        }
    }

    /// Reads one group, whose first page is locked.
    fn group<S: PageStore>(&mut self, pass: &mut Pass<'_, '_, S>, page: &[u8], block: u32) -> Result<()> {
        let rows = layout::count(page);
        if rows == 0 {
            return Ok(());
        }
        pass.counts.rows += rows as u64;
        if let Some(query) = pass.query {
            if let Some(query) = &query.int8 {
                return self.int8.group(
                    pass,
                    query,
                    Codes { page, block, rows },
                    &mut self.straddling,
                    &mut self.coming,
                );
            }
            if let Some(query) = &query.bits {
                return self.bits.group(
                    pass,
                    query,
                    Codes { page, block, rows },
                    &mut self.straddling,
                    &mut self.coming,
                );
            }
            if let Some(query) = &query.sketch {
                return self.sketch.group(
                    pass,
                    query,
                    Codes { page, block, rows },
                    &mut self.straddling,
                    &mut self.coming,
                );
            }
            if let Some(codes) = &query.rabitq {
                return self.rabitq.group(
                    pass,
                    query,
                    codes,
                    page,
                    block,
                    rows,
                    &mut self.straddling,
                    &mut self.coming,
                );
            }
            if !pass.gathers() {
                return self.score_group(pass, page, block, rows);
            }
            self.gather_codes(pass, page, block, rows)?;
        }
        let shape = pass.shape;
        for slot in 0..rows {
            let tid = layout::tid(page, slot);
            if pass.query.is_none() && tid.is_tombstone() {
                continue;
            }
            let (norm_sq, residual) = factors_of(page, shape, slot, block)?;
            self.rows.push(GatheredRow {
                tid: tid.0,
                norm_sq,
                residual,
            });
        }
        Ok(())
    }

    fn score_group<S: PageStore>(
        &mut self,
        pass: &mut Pass<'_, '_, S>,
        page: &[u8],
        block: u32,
        rows: usize,
    ) -> Result<()> {
        let shape = pass.shape;
        let Some((query, element)) = pass.query.zip(shape.storage.element()) else {
            return Ok(());
        };
        self.scores.clear();
        let (scores, backend, keep_waiting) = (&mut self.scores, &mut *pass.backend, &mut *pass.keep_waiting);
        let score = pass.meta.metric.score();
        read_codes(
            pass.store,
            shape,
            Codes { page, block, rows },
            &mut self.straddling,
            &mut self.coming,
            &mut |codes| {
                let block = RowBlock {
                    codes,
                    element,
                    dims: shape.dims,
                };
                backend.score(score, &query.values, block, scores, keep_waiting)
            },
        )?;
        let exact = pass.backend.is_exact();
        for slot in 0..rows {
            let tid = layout::tid(page, slot);
            if tid.is_tombstone() {
                continue;
            }
            let (norm_sq, residual) = factors_of(page, shape, slot, block)?;
            let key = query.bounds.key(
                pass.meta.metric,
                exact && !shape.factors.residual,
                self.scores[slot],
                norm_sq,
                residual,
            );
            pass.window.push(Entry::new(key, tid.0, Source::Settled));
        }
        Ok(())
    }

    fn gather_codes<S: PageStore>(
        &mut self,
        pass: &Pass<'_, '_, S>,
        page: &[u8],
        block: u32,
        rows: usize,
    ) -> Result<()> {
        let codes = &mut self.codes;
        read_codes(
            pass.store,
            pass.shape,
            Codes { page, block, rows },
            &mut self.straddling,
            &mut self.coming,
            &mut |run| {
                codes.extend_from_slice(run);
                Ok(())
            },
        )
    }
}

/// Asks for the pages of a list that a scan of it reads, should they lie on the disk, as they lie in a list that was
/// written at once.
pub(super) fn read_ahead<S: PageStore>(store: &S, shape: &Shape, head_block: u32, groups: u32) {
    let pages = shape.group_blocks();
    let step = if shape.filter_bytes > 0 { pages } else { 1 };
    let end = head_block.saturating_add(groups.saturating_mul(pages));
    for block in (head_block..end).step_by(step as usize).skip(1).take(PAGES_AHEAD) {
        store.prefetch(block, 0..0);
    }
}

/// Bytes of codes that are handed on at a time, and for which as many of the next page are asked for: about what a core can
/// have under way at once.
const BITE_BYTES: usize = 1536;
/// A multiple of so many rows: kernels take several at a time.
const BITE_ROWS: usize = 4;

/// Where the codes of a group lie.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    /// The group's first page, which is locked.
    pub(super) page: &'a [u8],
    /// Its block.
    pub(super) block: u32,
    /// The slots in use.
    pub(super) rows: usize,
}

/// Hands on the codes of a group, some whole rows at a time, and asks meanwhile for its further pages and for what is
/// coming after them.
pub(super) fn read_codes<S: PageStore>(
    store: &S,
    shape: &Shape,
    codes: Codes<'_>,
    scratch: &mut Vec<u8>,
    coming: &mut Coming,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let pages = shape.pages_for(codes.rows);
    let further = |index: usize| -> Result<Option<S::Shared>> {
        if index >= pages {
            return Ok(None);
        }
        group::further(store, codes.block, index).map(Some)
    };
    let bite = shape.code_bytes
        * (BITE_BYTES / shape.code_bytes)
            .next_multiple_of(BITE_ROWS)
            .max(BITE_ROWS);
    let mut feed = |run: &mut Run<'_>, bytes: &[u8], next: Option<&[u8]>| -> Result<()> {
        let mut next = next.map_or(Ahead::NONE, |page| Ahead::new(page.as_ptr(), page.len()));
        run.feed(bytes, &mut |run| {
            for bite in run.chunks(bite) {
                let ahead = next.split(Ahead::new(bite.as_ptr(), bite.len()).lines());
                ahead.ask_all();
                if next.lines() == 0 {
                    coming.take(bite.len() / CACHE_LINE).ask_all();
                }
                sink(bite)?;
            }
            Ok(())
        })?;
        next.ask_all();
        Ok(())
    };
    let mut run = Run::new(shape.code_bytes, codes.rows, scratch);
    let mut ahead = further(1)?;
    feed(&mut run, &codes.page[shape.codes_at..], ahead.as_deref())?;
    let mut index = 1;
    while let Some(current) = ahead {
        index += 1;
        ahead = further(index)?;
        feed(&mut run, &current[CONTENT_AT..], ahead.as_deref())?;
    }
    Ok(())
}

fn factors_of(page: &[u8], shape: &Shape, slot: usize, block: u32) -> Result<(f32, f32)> {
    let runs = shape.factors;
    let norm_sq = if runs.norm_sq {
        layout::factor(page, shape, 0, slot)
    } else {
        0.0
    };
    let residual = if runs.residual {
        layout::factor(page, shape, usize::from(runs.norm_sq), slot)
    } else {
        0.0
    };
    // A negative or missing bound would let a row pass for nearer than it is; NaN fails the comparison, too.
    if norm_sq >= 0.0 && residual >= 0.0 {
        return Ok((norm_sq, residual));
    }
    Err(bad_factors(block))
}

/// The error for a page whose factors no encoder wrote.
pub(super) fn bad_factors(block: u32) -> Error {
    Error::corrupt(format!(
        "block {block} of the index holds a factor that is negative or no number"
    ))
    .with_hint("REINDEX the index.")
}

//! Searches copies of the lists that a device keeps, instead of their pages.
//!
//! Every list's head is looked at first, under the scan's snapshot, and the copy brought up to date: so a row that VACUUM
//! removed, and whose place another row has taken, is never returned. The device returns the rows nearest by a lower bound;
//! how many is guessed from what scans took so far, and asked anew, for more, when that was too few.
//!
//! The bounds of the pages are others, so a scan does not go over to the pages but where it must (the device is lost, VACUUM
//! keeps changing a list); it then leaves out, one by one, the rows it has returned. Exact distances are the same in both.

use std::collections::HashSet;
use std::time::Instant;

use crate::backend::KeepWaiting;
use crate::error::{Error, Result};
use crate::metric::{Metric, Score};
use crate::quantize::Summation;
use crate::quantize::list_row::key::{bound_of, key_of};
use crate::quantize::list_row::{ListQuery, ListQueryBounds, ListRows};

use super::super::copy::{self, CopyHit, ListCopies, Refreshed};
use super::super::layout::{Meta, Shape, TIDS_AT};
use super::super::page::NO_BLOCK;
use super::super::store::PageStore;
use super::super::window::{Entry, Source, Window};
use super::many::rows_to_ask;
use super::{Query, SearchCounts, SearchOptions, distance};

/// Fewest rows to ask a device for; one more costs next to nothing.
const WANTED_MIN: usize = 16;
/// Rows to ask for at first beyond those that the scan is expected to return: bounds are not quite in the order of the
/// distances.
const SPARE: usize = 8;
/// How many times as many are asked for when they were too few.
const GROWTH: usize = 8;

/// How many lists ahead of the one whose head is looked at the heads of others are asked for: looking at one takes a few cache
/// misses and little else.
const HEADS_AHEAD: usize = 6;

/// The index that is searched.
pub(super) struct Index<'a> {
    pub(super) meta: &'a Meta,
    pub(super) shape: &'a Shape,
}

/// Copies of an index's lists and what a scan of them needs.
pub(super) struct CopyScan {
    copies: Box<dyn ListCopies>,
    rows: ListRows,
    /// `None` where no bound can be given.
    bounds: Option<ListQueryBounds>,
    wanted_first: usize,
    wanted: usize,
    wanted_max: usize,
    /// Rows that had been returned when more were wanted last.
    returned_before: usize,
    /// Rows returned by bounds, and the last one's key and TID.
    returned: HashSet<u64>,
    last: Option<(f32, u64)>,
    summation: Summation,
    given_up: bool,
    lists: Vec<u32>,
    hits: Vec<CopyHit>,
}

impl CopyScan {
    pub(super) fn new(copies: Box<dyn ListCopies>, meta: &Meta, options: &SearchOptions) -> Self {
        let returned = options.expected.returned;
        let wanted_max = options.window_rows.saturating_sub(1).max(1);
        let wanted = if copies.is_exact() {
            returned + returned / 4 + SPARE
        } else {
            rows_to_ask(returned, false)
        };
        let wanted = wanted.clamp(WANTED_MIN, 4096);
        let wanted_first = wanted.min(wanted_max);
        Self {
            copies,
            rows: ListRows::new(meta.metric, meta.storage, meta.dims as usize)
                .for_operator(options.summation),
            bounds: None,
            wanted_first,
            wanted: wanted_first,
            wanted_max,
            returned_before: 0,
            returned: HashSet::new(),
            last: None,
            summation: options.summation,
            given_up: false,
            lists: Vec::new(),
            hits: Vec::new(),
        }
    }

    /// What searches, unless the pages are read.
    pub(super) fn label(&self) -> Option<&str> {
        (!self.given_up).then(|| self.copies.label())
    }

    /// Starts over with a query.
    pub(super) fn start(&mut self, metric: Metric, query: Option<&[f32]>) {
        self.bounds = query.and_then(|query| ListQueryBounds::for_operator(metric, query, self.summation));
        self.wanted = self.wanted_first;
        self.returned_before = 0;
        self.returned.clear();
        self.last = None;
        self.given_up = false;
    }

    /// Notes a row that is returned.
    pub(super) fn returned(&mut self, row: Entry) {
        if row.source() == Source::Bound {
            self.returned.insert(row.tid);
            self.last = Some((key_of(row.key()), row.tid));
        }
    }

    /// Asks for more rows from now on: there were too few, `returned` of them so far.
    pub(super) fn want_more(&mut self, returned: usize) {
        let stuck = returned == self.returned_before;
        self.returned_before = returned;
        let more = self.wanted.saturating_mul(GROWTH);
        // Where more rows tie than memory allows there is no other way.
        self.wanted = if self.copies.is_exact() || stuck {
            more
        } else {
            more.min(self.wanted_max)
        };
    }

    /// Whether the pages may be read after `error`.
    pub(super) fn failed(&mut self, error: Error) -> Result<()> {
        self.copies.failed(error)
    }

    /// Lets the pages be read until the next start; the rows that were returned by bounds, and a bound of all others.
    pub(super) fn give_up(&mut self) -> Option<(HashSet<u64>, f64)> {
        if std::mem::replace(&mut self.given_up, true) {
            return None;
        }
        let (key, _) = self.last?;
        Some((std::mem::take(&mut self.returned), bound_of(key)))
    }

    /// Fills the window with the nearest rows of `heads`, lists and their first groups. `false` when the pages have to be
    /// read: the bounds say nothing, more rows are needed than memory allows, or VACUUM kept changing a list.
    #[expect(clippy::too_many_arguments, reason = "the index, the batch, and where to")]
    pub(super) fn read<S: PageStore>(
        &mut self,
        store: &S,
        index: &Index<'_>,
        query: &Query,
        heads: &[(u32, u32)],
        window: &mut Window,
        counts: &mut SearchCounts,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<bool> {
        let Some(bounds) = self.bounds else {
            return Ok(false);
        };
        let list_query = ListQuery {
            values: &query.values,
            bounds,
        };
        if self.given_up || (self.copies.is_exact() && self.wanted > self.wanted_max) {
            return Ok(false);
        }
        self.lists.clear();
        let started = Instant::now();
        let ask_ahead = |copies: &dyn ListCopies, place: usize| {
            if let Some(&(list, head)) = heads.get(place)
                && head != NO_BLOCK
            {
                store.prefetch(head, 0..TIDS_AT).ahead().ask_all();
                copies.ask_ahead(list);
            }
        };
        (0..HEADS_AHEAD).for_each(|place| ask_ahead(&*self.copies, place));
        for (place, &(list, head)) in heads.iter().enumerate() {
            store.pause()?;
            ask_ahead(&*self.copies, place + HEADS_AHEAD);
            let (copies, rows) = (&mut *self.copies, &mut self.rows);
            let refreshed = copy::refresh(
                store,
                index.meta,
                index.shape,
                list,
                head,
                copies,
                rows,
                keep_waiting,
            )?;
            match refreshed {
                Refreshed::NoCopy if head == NO_BLOCK => continue,
                Refreshed::NoCopy => return Ok(false),
                Refreshed::Copied => counts.copied += 1,
                Refreshed::Unchanged => {}
            }
            self.lists.push(list);
        }
        counts.times.check += started.elapsed();
        let started = Instant::now();
        self.hits.clear();
        // Exact distances are no less than the keys, so where they are returned the keys alone tell nothing.
        let floor = window.floor().filter(|_| !self.copies.is_exact());
        let after = floor.map(|floor| (key_of(floor.key()), floor.tid));
        let (wanted, hits) = (self.wanted, &mut self.hits);
        let searched = self
            .copies
            .nearest(&list_query, &self.lists, wanted, after, hits, keep_waiting)?;
        counts.lists += heads.len() as u64;
        counts.rows += searched.rows;
        window.make_room(self.hits.len());
        if let Some(cut) = searched.cut {
            window.leave_out_from(bound_of(cut));
        }
        for hit in self.hits.iter().filter(|hit| !hit.key.is_infinite()) {
            window.push(entry_in_order(index.meta.metric, query, hit));
        }
        window.seal();
        counts.times.scan += started.elapsed();
        Ok(true)
    }
}

/// What goes into the window of a scan: what the pages give for a row whose distance is known, or a bound.
fn entry_in_order(metric: Metric, query: &Query, hit: &CopyHit) -> Entry {
    match hit.exact {
        Some((score, norm_sq)) => {
            let key = query.bounds.key(metric, true, score, norm_sq, 0.0);
            Entry::new(key, hit.tid, Source::Exact)
        }
        None => entry_of(metric, query.norm_sq, hit),
    }
}

/// What a row found for one of many queries goes by: the operator's value, or a bound. `query_norm_sq` is the query's `|q|^2`
/// as the operator has it.
pub(super) fn entry_of(metric: Metric, query_norm_sq: f32, hit: &CopyHit) -> Entry {
    let Some((score, norm_sq)) = hit.exact else {
        return Entry::new(bound_of(hit.key), hit.tid, Source::Bound);
    };
    let value = match (metric.score(), metric) {
        (Score::SquaredL2, _) => distance::l2_from_squared(score),
        (Score::Dot, Metric::Cosine) => distance::cosine_from_parts(score, query_norm_sq, norm_sq),
        (Score::Dot, _) => -f64::from(score),
        (Score::L1, _) => f64::from(score),
    };
    Entry::new(value, hit.tid, Source::Exact)
}

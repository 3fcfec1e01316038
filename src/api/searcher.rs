//! The nearest rows of many queries through an index: at once where that pays, else by a scan for each.
//!
//! Must not know where queries come from, nor what becomes of the answers. Invariant: whichever way a query goes, its
//! answer is what ORDER BY with LIMIT finds under the active snapshot.

use pgrx::pg_sys;
use vectorgpu_core::Result;
use vectorgpu_core::exact::Neighbour;
use vectorgpu_core::ivf::search::many::FoundOfMany;

use crate::am::{self, ManySearch, OrderedScan};
use crate::pg::relation::OpenIndex;
use crate::pg::setting::SettingScope;
use crate::types::elements::ElementsBuilder;

/// Most rows of each that are found so; a scan of its own finds more.
const AT_ONCE_ROWS_MAX: usize = 56;

/// Opens an index of which the current user may see all rows.
///
/// # Errors
/// As [`OpenIndex::open`], and `Unsupported` where row-level security applies.
pub(super) fn open_index(oid: pg_sys::Oid) -> Result<OpenIndex> {
    let open = OpenIndex::open(oid, &am::ACCESS_METHOD, pg_sys::AccessShareLock.cast_signed())?;
    open.check_row_security()?;
    Ok(open)
}

/// Searches of one index for the same number of rows.
pub(super) struct Searcher<'a> {
    many: Option<ManySearch<'a>>,
    scans: Scans<'a>,
    /// Dropped last: the probes are as wanted as long as anything searches.
    _settings: SettingScope,
}

/// What looks rows up, and searches for each query by itself where that has to be.
struct Scans<'a> {
    scan: OrderedScan<'a>,
    k: usize,
    /// The query that the scan is at, which reads it as a datum.
    query: ElementsBuilder,
    found: Vec<Neighbour>,
}

impl<'a> Searcher<'a> {
    /// Prepares searches of `open` for the `k` nearest rows to each of about `queries` queries; `probes` of 0 leaves that to
    /// the session and the index.
    ///
    /// # Errors
    /// `Unsupported` when the index is not (yet) complete for the active snapshot; `CorruptIndex`; under `gpu` or an
    /// adapter's name what opening the GPU reports.
    pub(super) fn begin(open: &'a OpenIndex, k: usize, probes: u32, queries: f64) -> Result<Self> {
        let settings = SettingScope::open();
        if probes > 0 {
            settings.set(c"vectorgpu.probes", probes.cast_signed());
        }
        // More rows of each come from scans of their own.
        let many = if k <= AT_ONCE_ROWS_MAX && queries > 1.0 {
            ManySearch::begin(open, queries)?
        } else {
            None
        };
        let scan = OrderedScan::begin(open)?;
        if many.is_some() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates"
            )]
            let queries = queries as usize;
            scan.expect(queries.saturating_mul(k))?;
        }
        Ok(Self {
            many,
            scans: Scans {
                scan,
                k,
                query: ElementsBuilder::new(am::indexed_by(open.index())?.elements)?,
                found: Vec::new(),
            },
            _settings: settings,
        })
    }

    /// Hands the rows nearest to each of `queries` to `take`, one query after the other in their order: at most `k`, nearest
    /// first, the TIDs of the versions that the snapshot sees as ids. Interrupts are processed between queries.
    ///
    /// # Errors
    /// `DataException` for a query of other dimensions than the index's; what a search reports.
    ///
    /// # Panics
    /// When a query's dimensions are none that a vector has.
    pub(super) fn nearest_of_each(
        &mut self,
        queries: &[&[f32]],
        take: &mut dyn FnMut(&[Neighbour]),
    ) -> Result<()> {
        let scans = &mut self.scans;
        let Some(many) = self.many.as_mut().filter(|_| queries.len() > 1) else {
            scans.answer(queries, &[], take);
            return Ok(());
        };
        let (mut answers, mut left) = (many.answers(queries, scans.k), queries);
        while let Some(found) = answers.next_part()? {
            let (part, later) = left.split_at(found.len());
            scans.answer(part, &found, take);
            left = later;
        }
        Ok(())
    }
}

impl Scans<'_> {
    /// Hands the rows nearest to each of `queries` to `take`: those among `found` where they suffice, else what a scan finds.
    fn answer(
        &mut self,
        queries: &[&[f32]],
        found: &[Option<FoundOfMany>],
        take: &mut dyn FnMut(&[Neighbour]),
    ) {
        let of_query = |place| found.get(place).and_then(Option::as_ref);
        for (place, elements) in queries.iter().enumerate() {
            let (scan, k, rows) = (&mut self.scan, self.k, &mut self.found);
            if let Some(next) = of_query(place + 1) {
                scan.ask_ahead(&next.rows, k);
            }
            let answered = of_query(place).is_some_and(|found| {
                // Where the index has the operator's values, nothing is computed from the query.
                let is_needed = found.rows.iter().any(|row| !row.exact);
                let query = is_needed.then(|| self.query.value(elements));
                scan.nearest_among(query.as_ref(), found, k, rows)
            });
            if !answered {
                scan.nearest(&self.query.value(elements), k, rows);
            }
            take(rows);
        }
    }
}

//! Exact search through copies of blocks: bit for bit what it finds without them, whatever the device leaves open.

mod ivf_index;

use ivf_index::Random;
use ivf_index::copies::MemoryCopies;
use proptest::prelude::*;
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::exact::{COPIES_K_MAX, ExactSearch, block_rows};
use vectorgpu_core::ivf::copy::{CopiesSearched, CopyHit, CopyMark, ListCopies};
use vectorgpu_core::metric::Metric;
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows};
use vectorgpu_core::{Error, ErrorKind, Result};

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

/// Ids and distances, bit by bit, of the rows of each query.
type Answers = Vec<Vec<(u64, u64)>>;

struct Case {
    metric: Metric,
    dims: usize,
    k: usize,
    queries: Vec<f32>,
    rows: Vec<f32>,
}

impl Case {
    /// What is found, through copies where there are some, in blocks of so many rows.
    fn answers(&self, copies: Option<(&mut dyn ListCopies, usize)>) -> Result<Answers> {
        let queries = self.queries.chunks_exact(self.dims);
        let mut search = ExactSearch::new(self.metric, self.dims, self.k, queries)?;
        if let Some((copies, block_rows)) = copies {
            search.use_copies(copies, block_rows);
        }
        // Ids that ascend in another order than rows come.
        for (row, id) in self.rows.chunks_exact(self.dims).zip(0..) {
            search.push(id ^ 5, row, &mut || true)?;
        }
        let found = search.finish(&mut || true)?.nearest;
        let bits = found.iter().map(|rows| {
            let bits = rows.iter().map(|row| (row.id, row.distance.to_bits()));
            bits.collect()
        });
        Ok(bits.collect())
    }

    /// Asserts that copies change nothing, and returns how many searches of blocks there were.
    fn check(&self, block_rows: usize) -> usize {
        let mut copies = MemoryCopies::new(self.metric, false);
        let expected = self.answers(None).unwrap();
        let found = self.answers(Some((&mut copies, block_rows))).unwrap();
        assert_eq!(found, expected, "{:?}", self.metric);
        assert!(copies.mark(0).is_none(), "the last block stays on the device");
        let device = copies.device.borrow();
        device.searches
    }

    fn random(metric: Metric, dims: usize, k: usize, rows: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        Self {
            metric,
            dims,
            k,
            queries: random.vector(dims * 6),
            rows: random.vector(dims * rows),
        }
    }
}

#[test]
fn answers_are_those_without_copies() {
    let rows = if cfg!(miri) { 40 } else { 500 };
    for metric in METRICS {
        for (dims, k, block) in [(3, 1, 100), (24, 10, 128), (100, COPIES_K_MAX, 1000), (7, 5, 1)] {
            let case = Case::random(metric, dims, k, rows, 7);
            assert!(case.check(block) > 0, "nothing was searched");
        }
    }
}

#[test]
fn more_rows_than_copies_find_are_found_without_them() {
    let case = Case::random(Metric::L2, 4, COPIES_K_MAX + 1, 200, 3);
    assert_eq!(case.check(50), 0);
}

#[test]
fn ties_and_rows_closer_than_their_bounds_tell_are_put_in_order() {
    for metric in METRICS {
        let mut case = Case::random(metric, 16, 10, 300, 11);
        // A hundred copies of one row, and as many within the error of its code.
        let near = case.queries[..16].to_vec();
        for (number, row) in case.rows.chunks_exact_mut(16).take(200).enumerate() {
            row.copy_from_slice(&near);
            if number % 2 == 0 {
                row[number % 16] *= 1.0 + number as f32 * 1e-7;
            }
        }
        case.check(64);
        case.check(300);
        case.rows
            .chunks_exact_mut(16)
            .for_each(|row| row.copy_from_slice(&near));
        case.check(128);
    }
}

#[test]
fn zero_rows_zero_queries_and_extremes_are_those_of_the_operators() {
    for metric in METRICS {
        let mut case = Case::random(metric, 8, 20, 200, 5);
        for (number, row) in case.rows.chunks_exact_mut(8).enumerate() {
            match number % 5 {
                0 => row.fill(0.0),
                1 => row.iter_mut().for_each(|x| *x *= 1e-22),
                2 => row.iter_mut().for_each(|x| *x *= 3e38),
                3 => row.iter_mut().for_each(|x| *x *= 1e-40),
                _ => {}
            }
        }
        case.queries[..8].fill(0.0);
        case.queries[8..16].iter_mut().for_each(|x| *x *= 3e38);
        case.queries[16..24].iter_mut().for_each(|x| *x *= 1e-30);
        case.check(60);
        // Fewer rows with a distance than are wanted.
        case.rows
            .chunks_exact_mut(8)
            .skip(3)
            .for_each(|row| row.fill(0.0));
        case.check(60);
    }
}

#[test]
fn no_rows_and_no_queries_are_no_error() {
    let mut case = Case::random(Metric::L2, 4, 3, 0, 1);
    assert_eq!(case.check(10), 0);
    case.rows = vec![1.0; 40];
    case.queries.clear();
    assert_eq!(case.check(10), 0);
}

#[test]
fn a_device_that_fails_is_left_where_that_is_allowed() {
    let case = Case::random(Metric::Cosine, 8, 5, 300, 9);
    let expected = case.answers(None).unwrap();
    for fail_at in 1..=18 {
        for may_fail in [true, false] {
            let mut copies = MemoryCopies::new(case.metric, false);
            copies.device.borrow_mut().fail_at = Some(fail_at);
            copies.device.borrow_mut().may_fail = may_fail;
            let found = case.answers(Some((&mut copies, 100)));
            if may_fail {
                assert_eq!(found.unwrap(), expected, "after search {fail_at}");
            } else {
                assert_eq!(found.unwrap_err().kind(), ErrorKind::DeviceLost);
            }
            assert!(copies.mark(0).is_none(), "the block stays on the device");
        }
    }
    let mut copies = MemoryCopies::new(case.metric, false);
    copies.device.borrow_mut().room = Some(0);
    copies.device.borrow_mut().may_fail = true;
    assert_eq!(case.answers(Some((&mut copies, 100))).unwrap(), expected);
    assert_eq!(copies.device.borrow().searches, 0);
}

#[test]
fn a_cancelled_search_ends_with_that() {
    let case = Case::random(Metric::L2, 8, 5, 90, 9);
    for after in 0..9 {
        let mut copies = MemoryCopies::new(case.metric, false);
        copies.device.borrow_mut().may_fail = true;
        let mut search = ExactSearch::new(case.metric, 8, 5, case.queries.chunks_exact(8)).unwrap();
        search.use_copies(&mut copies, 40);
        let mut asked = 0;
        let mut go_on = || {
            asked += 1;
            asked <= after
        };
        let mut rows = case.rows.chunks_exact(8).zip(0..);
        let pushed = rows.try_for_each(|(row, id)| search.push(id, row, &mut go_on));
        let ended = pushed.and_then(|()| search.finish(&mut go_on).map(|_| ()));
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled, "after {after}");
    }
}

/// A device that names rows at random and says the least of what it may: keys that are any lower bounds, rows left out at
/// will, and that it lost.
struct Careless {
    inner: MemoryCopies,
    random: Random,
}

impl ListCopies for Careless {
    fn label(&self) -> &str {
        "careless"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn mark(&self, list: u32) -> Option<CopyMark> {
        self.inner.mark(list)
    }

    fn begin(&mut self, list: u32, rows: u64, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.inner.begin(list, rows, keep_waiting)
    }

    fn append(&mut self, list: u32, rows: &ListRows, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.inner.append(list, rows, keep_waiting)
    }

    fn finish(&mut self, list: u32, mark: CopyMark) {
        self.inner.finish(list, mark);
    }

    fn discard(&mut self, list: u32) {
        self.inner.discard(list);
    }

    fn nearest(
        &mut self,
        query: &ListQuery<'_>,
        lists: &[u32],
        _wanted: usize,
        _after: Option<(f32, u64)>,
        hits: &mut Vec<CopyHit>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<CopiesSearched> {
        if self.random.next().is_multiple_of(40) {
            return Err(Error::new(ErrorKind::OutOfMemory, "full"));
        }
        let mut all = Vec::new();
        let searched = self
            .inner
            .nearest(query, lists, usize::MAX, None, &mut all, keep_waiting)?;
        let slack = (self.random.next() % 3) as f32 * 1e-3;
        all.iter_mut().for_each(|hit| hit.key -= slack);
        let kept = usize::try_from(self.random.next()).unwrap() % (all.len() + 1);
        let cut = all.get(kept).map(|hit| hit.key);
        all.truncate(kept);
        hits.extend(all.into_iter().rev());
        Ok(CopiesSearched { cut, ..searched })
    }

    fn failed(&mut self, error: Error) -> Result<()> {
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_device_that_says_little_or_fails_costs_no_answer(
        seed in any::<u64>(), dims in 1_usize..12, k in 1_usize..20, rows in 0_usize..200, block in 1_usize..90,
        metric in 0_usize..3, levels in 1_u8..5,
    ) {
        let mut case = Case::random(METRICS[metric], dims, k, rows, seed);
        // Few different values: many ties, and zero rows.
        let levels = f32::from(levels);
        case.rows.iter_mut().chain(&mut case.queries).for_each(|x| *x = (*x * levels).trunc());
        let inner = MemoryCopies::new(case.metric, false);
        let mut careless = Careless { inner, random: Random(seed) };
        let expected = case.answers(None).unwrap();
        prop_assert_eq!(case.answers(Some((&mut careless, block))).unwrap(), expected);
    }
}

#[test]
fn blocks_are_bounded_by_both_memories() {
    assert_eq!(block_rows(128, usize::MAX), 1 << 17);
    assert_eq!(block_rows(1, usize::MAX), 1 << 20);
    assert_eq!(block_rows(16_000, usize::MAX), 1048);
    assert_eq!(block_rows(128, 1000), 1000);
    assert_eq!(block_rows(128, 0), 1);
}

//! What the planner is to believe of a scan: times that were measured, in the planner's own currency.
//!
//! The planner's price of the alternative, a sequential scan and sort, is far from its time: it leaves out that vectors
//! are read from TOAST and what a distance takes. A price for the index that was right by itself would lose against it. So
//! both plans' times are modelled, and the index is charged the alternative's *price* by the ratio of *times*:
//!
//! `rate = price(sequential scan, distances, sort) / time(the same)`, `cost = rate * time(index) + rows * tuple price`
//!
//! What the executor does with the rows returned, the planner adds itself. Must not know the server. Every constant is a
//! time, from `bench/costs.py`; only their ratios count, so they hold on machines that are faster or slower as a whole.

use crate::metric::Storage;
use crate::quantize::Summation;
use crate::quantize::sketch::SKETCH_BYTES;

use super::search::Iterate;

/// Bytes of a page of the table.
const PAGE_BYTES: f64 = 8192.0;

/// A page of a sequential scan, a row of it, and a comparison of its sort.
const TABLE_PAGE_NS: f64 = 1000.0;
const TABLE_ROW_NS: f64 = 40.0;
const COMPARISON_NS: f64 = 20.0;
/// The operator on a vector within its row: 300 ns at 100 dimensions, 500 ns at 384.
const INLINE: Linear = Linear::new(250.0, 0.17);
/// On one that is TOASTed: 3.5 to 4.3 us at 784 dimensions, 4 to 5.5 us at 1,536, 8 to 10 us at 3,000.
const TOASTED: Linear = Linear::new(1700.0, 0.55);
/// A scan's start: 20 us, and of the .5 to 1 ms that the first one of a session takes to copy centroids its share if others
/// follow.
const START_NS: f64 = 200_000.0;
/// A list's head, where a random page costs as much as one in sequence; 1 us by the default settings.
const LIST_NS: f64 = 250.0;
/// A list's centroid, of one byte a dimension.
const CENTROID: Linear = Linear::new(20.0, 0.15);
/// Returning a row, whose page of the table the planner charges: .3 to 1 us more than nothing.
const RETURN_NS: f64 = 500.0;
/// The executor computes a lower bound's true value and puts the row in its place.
const REORDER_NS: f64 = 400.0;
/// It takes so much longer for a row at a random place than for the next one of a sequential scan.
const RANDOM_ROW: f64 = 1.4;
/// A vector behind a 1-bit code, at a random place: .7 us at 384 dimensions, 1.5 to 2 us at 1,536.
const COMPARE: Linear = Linear::new(300.0, 0.2);
/// Such vectors read beyond the rows returned, for one row, times the dimensions: for 10, 100 and 1,000 rows 7,000, 4,000 and
/// 1,500 a row, whence the exponent. Real sets differ most here; word vectors of 100 dimensions take ten times as many.
const COMPARED_BY_DIMS: f64 = 12_000.0;
const COMPARED_EXPONENT: f64 = 0.75;
/// A query is more often near a long list than near a short one: what its lists hold, by the mean list.
const NEAR_LISTS: f64 = 1.25;
/// Rows that a search is for, if nobody says.
const WANTED_UNKNOWN: f64 = 10.0;

/// Nanoseconds for a row, and for each of its bytes.
#[derive(Debug, Clone, Copy)]
struct Linear {
    row: f64,
    byte: f64,
}

impl Linear {
    const fn new(row: f64, byte: f64) -> Self {
        Self { row, byte }
    }

    fn of(self, bytes: f64) -> f64 {
        self.row + self.byte * bytes
    }
}

/// A bit string that is read, and each of its bytes.
const BITS: Linear = Linear::new(15.0, 0.08);

/// A sketch that is read, for a query of some forty elements.
const SKETCH: Linear = Linear::new(60.0, 0.04);

/// A row of a list that is read: 100 ns for 100 f32, 400 to 650 ns for 784; 350 ns for 784 f16; 70 ns for 100 int8, 120 to
/// 220 ns for 784; 16 ns for 384 bits, 45 ns for 784.
fn row_read(storage: Storage) -> Linear {
    match storage {
        Storage::F32 => Linear::new(40.0, 0.15),
        Storage::F16 => Linear::new(40.0, 0.22),
        Storage::Int8 => Linear::new(40.0, 0.17),
        Storage::Rabitq => Linear::new(10.0, 0.35),
        Storage::Bits => BITS,
        Storage::Sketch => SKETCH,
    }
}

/// What the server charges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// `seq_page_cost` of the table's tablespace.
    pub table_page: f64,
    /// `seq_page_cost` of the index's tablespace.
    pub index_page: f64,
    /// `random_page_cost` of the index's tablespace.
    pub index_random_page: f64,
    /// `cpu_tuple_cost`.
    pub tuple: f64,
    /// `cpu_index_tuple_cost`.
    pub index_tuple: f64,
    /// `cpu_operator_cost`.
    pub operator: f64,
}

/// A table as its statistics have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Table {
    /// Pages, those of TOASTed values left out.
    pub pages: f64,
    /// Rows.
    pub rows: f64,
    /// Rows that the query's conditions keep.
    pub kept: f64,
}

/// A scan of an index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scan {
    /// How the index stores its rows.
    pub storage: Storage,
    /// Dimensions of a row.
    pub dims: u32,
    /// Rows in the index.
    pub rows: f64,
    /// Lists of the index.
    pub lists: u32,
    /// Lists that are read at a time.
    pub probes: u32,
    /// Most lists that are read.
    pub max_probes: u32,
    /// What comes after the first ones.
    pub iterate: Iterate,
    /// Rows that the query takes, after its conditions; `None`: not known.
    pub wanted: Option<f64>,
    /// How the operator sums.
    pub summation: Summation,
}

/// What a plan costs; `total` is for every row of the index, and the planner takes shares of the difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Before the first row.
    pub startup: f64,
    /// For all rows.
    pub total: f64,
}

/// The cost of `scan`. Finite and not negative for any input, NaN included.
///
/// A scan beyond its first lists is charged no less than the alternative if it would not return every row: in strict
/// order the rows of further lists are mostly nearer than one returned before and left out. The same holds for a scan that
/// returns all rows, because those without a vector are not in the index. Where the query's need is not known (a join, a
/// parameter as the limit), the planner's shares lie on the line from the first lists to that.
pub fn scan_cost(scan: &Scan, table: &Table, prices: &Prices) -> Cost {
    let (scan, table, prices) = (scan.sane(), table.sane(), prices.sane());
    let vector_ns = table.vector_ns(scan.dims);
    let alternative = table.alternative(scan.wanted, vector_ns, &prices);
    let time = Times::new(&scan, vector_ns, &prices);
    let price = |lists: f64, rows: f64| {
        let returned = time.returned(rows, lists * scan.rows / f64::from(scan.lists));
        alternative.rate() * (time.start + lists * time.list + returned) + rows * prices.index_tuple
    };
    let (lists, probes) = (f64::from(scan.lists), f64::from(scan.probes));
    let all = price(lists, scan.rows).max(alternative.price);
    let startup = price(probes, 0.0).min(all);
    let Some(wanted) = scan.wanted else {
        return Cost { startup, total: all };
    };
    let selectivity = (table.kept / scan.rows).min(1.0);
    let taken = (wanted / selectivity).clamp(1.0, scan.rows);
    let batch = probed_rows(&scan);
    let batches = (taken / batch).ceil();
    let most = f64::from(scan.max_probes.clamp(scan.probes, scan.lists));
    let complete = match scan.iterate {
        Iterate::Relaxed => taken <= scan.rows * most / lists,
        Iterate::Strict | Iterate::Off => batches <= 1.0,
    };
    let needed = if complete && taken < scan.rows {
        price((probes * batches).min(lists), taken)
    } else {
        all
    };
    // The planner takes the share `taken / rows` of what lies between.
    let total = startup + (needed - startup).max(0.0) * (scan.rows / taken);
    Cost { startup, total }
}

/// Seconds that reading the first lists of `scan` takes, and telling the true distances of the rows that it wants, 10 where
/// that is not known; on the core on which this module's constants were measured, with all pages in memory.
pub fn reading_seconds(scan: &Scan) -> f64 {
    let scan = scan.sane();
    let rows = probed_rows(&scan);
    let code = Code::of(&scan, INLINE.of(f64::from(scan.dims) * 4.0));
    let row_ns = row_read(scan.storage).of(code.bytes);
    let wanted = scan.wanted.unwrap_or(WANTED_UNKNOWN).min(rows);
    (f64::from(scan.probes) * LIST_NS + rows * row_ns + code.told_ns(wanted, rows)) * 1e-9
}

/// Rows that the first lists of `scan` hold.
pub fn probed_rows(scan: &Scan) -> f64 {
    let scan = scan.sane();
    (scan.rows * f64::from(scan.probes) / f64::from(scan.lists) * NEAR_LISTS).min(scan.rows)
}

impl Scan {
    /// Replaces what no statistics should say.
    fn sane(self) -> Self {
        let lists = self.lists.max(1);
        Self {
            rows: at_least_one(self.rows),
            lists,
            probes: self.probes.clamp(1, lists),
            wanted: self.wanted.filter(|wanted| *wanted > 0.0),
            ..self
        }
    }
}

impl Table {
    fn sane(self) -> Self {
        let rows = at_least_one(self.rows);
        Self {
            pages: at_least_one(self.pages),
            rows,
            kept: at_least_one(self.kept).min(rows),
        }
    }

    /// What the operator takes for one of its rows, read in sequence. Vectors that are larger than their rows are TOASTed.
    fn vector_ns(&self, dims: u32) -> f64 {
        let bytes = f64::from(dims) * 4.0;
        if self.pages * PAGE_BYTES < self.rows * bytes {
            TOASTED.of(bytes)
        } else {
            INLINE.of(bytes)
        }
    }

    /// A sequential scan with a sort, of which `wanted` rows are taken: as the planner has it (costsize.c: cost_seqscan,
    /// cost_tuplesort), conditions left out, which it adds to both plans.
    fn alternative(&self, wanted: Option<f64>, vector_ns: f64, prices: &Prices) -> Alternative {
        // A heap of twice the rows wanted takes the place of the whole sort.
        let sorted = wanted.map_or(self.kept, |wanted| self.kept.min(2.0 * wanted));
        let comparisons = self.kept * sorted.max(2.0).log2();
        Alternative {
            price: self.pages * prices.table_page
                + self.rows * prices.tuple
                + (self.kept + 2.0 * comparisons) * prices.operator,
            ns: self.pages * TABLE_PAGE_NS
                + self.rows * TABLE_ROW_NS
                + self.kept * vector_ns
                + comparisons * COMPARISON_NS,
        }
    }
}

impl Prices {
    fn sane(self) -> Self {
        let price = |value: f64| {
            if value.is_nan() {
                0.0
            } else {
                value.clamp(0.0, HUGE)
            }
        };
        Self {
            table_page: price(self.table_page),
            index_page: price(self.index_page),
            index_random_page: price(self.index_random_page),
            tuple: price(self.tuple),
            index_tuple: price(self.index_tuple),
            operator: price(self.operator),
        }
    }

    /// How much dearer than the table's a page of the index is, read in sequence and at random.
    fn page_ratios(&self) -> (f64, f64) {
        let ratio = |price: f64| {
            if self.table_page > 0.0 {
                (price / self.table_page).min(PAGE_RATIO_MAX)
            } else {
                1.0
            }
        };
        (ratio(self.index_page), ratio(self.index_random_page))
    }
}

/// Beyond that, a ratio of page costs is no measure of time.
const PAGE_RATIO_MAX: f64 = 1000.0;

struct Alternative {
    price: f64,
    ns: f64,
}

impl Alternative {
    fn rate(&self) -> f64 {
        self.price / self.ns
    }
}

/// What a storage's codes take.
struct Code {
    bytes: f64,
    /// Telling a row's true distance, in nanoseconds.
    row: f64,
    /// So that `n` rows are known to be the nearest, the distances of `beyond * n^0.75` others are told, too.
    beyond: f64,
    /// Computing the operator's value of a row that is returned with a bound although the index has its vector, in nanoseconds.
    again: f64,
}

impl Code {
    fn of(scan: &Scan, vector_ns: f64) -> Self {
        let (storage, dims) = (scan.storage, f64::from(scan.dims));
        let reorder = REORDER_NS + RANDOM_ROW * vector_ns;
        let (bytes, row, beyond) = match storage {
            Storage::F32 => (dims * 4.0, 0.0, 0.0),
            Storage::Bits => (dims / 8.0, 0.0, 0.0),
            Storage::Sketch => (SKETCH_BYTES as f64, reorder, 0.0),
            Storage::F16 => (dims * 2.0, reorder, 0.0),
            Storage::Int8 => (dims, reorder, 0.0),
            Storage::Rabitq => (
                dims / 8.0,
                COMPARE.of(dims * 4.0),
                COMPARED_BY_DIMS / dims.max(1.0),
            ),
        };
        let again = match (scan.summation, storage) {
            (Summation::Any, Storage::F32 | Storage::Rabitq) => reorder,
            _ => 0.0,
        };
        Self {
            bytes,
            row,
            beyond,
            again,
        }
    }

    /// Telling the distances of `rows` of the `read` rows, in nanoseconds.
    fn told_ns(&self, rows: f64, read: f64) -> f64 {
        let told = rows + self.beyond * rows.powf(COMPARED_EXPONENT);
        self.row * told.min(read.max(rows)) + self.again * rows
    }
}

/// What the parts of a scan take, in nanoseconds.
struct Times {
    start: f64,
    /// Reading a list.
    list: f64,
    code: Code,
}

impl Times {
    fn new(scan: &Scan, vector_ns: f64, prices: &Prices) -> Self {
        let (sequential, random) = prices.page_ratios();
        let lists = f64::from(scan.lists);
        let code = Code::of(scan, vector_ns);
        let read = row_read(scan.storage);
        let row_ns = read.row + read.byte * code.bytes * sequential;
        Self {
            start: START_NS + lists * CENTROID.of(f64::from(scan.dims)),
            list: LIST_NS * random + scan.rows / lists * row_ns,
            code,
        }
    }

    /// What returning `rows` of the `read` rows takes, beyond what the planner charges for that.
    fn returned(&self, rows: f64, read: f64) -> f64 {
        rows * RETURN_NS + self.code.told_ns(rows, read)
    }
}

/// More than any table has, and little enough that no product of such numbers overflows.
const HUGE: f64 = 1e18;

/// NaN, too, becomes one.
fn at_least_one(value: f64) -> f64 {
    value.clamp(1.0, HUGE).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices {
        table_page: 1.0,
        index_page: 1.0,
        index_random_page: 4.0,
        tuple: 0.01,
        index_tuple: 0.005,
        operator: 0.0025,
    };
    const STORAGES: [Storage; 4] = [Storage::F32, Storage::F16, Storage::Int8, Storage::Rabitq];

    /// A table whose vectors of 784 dimensions are TOASTed.
    fn table(rows: f64) -> Table {
        Table {
            pages: (rows / 187.0).ceil(),
            rows,
            kept: rows,
        }
    }

    /// A search for the nearest 10 rows of `table`.
    fn scan(storage: Storage, rows: f64) -> Scan {
        let lists = (1..).find(|lists| f64::from(lists * lists) >= rows).unwrap();
        Scan {
            storage,
            dims: 784,
            rows,
            lists,
            probes: lists.isqrt(),
            max_probes: 32_768,
            iterate: Iterate::Strict,
            wanted: Some(10.0),
            summation: Summation::Kernels,
        }
    }

    /// What the planner charges for the rows that the scan has to return.
    fn charged(scan: &Scan, table: &Table, prices: &Prices) -> f64 {
        let cost = scan_cost(scan, table, prices);
        let share = scan.wanted.map_or(1.0, |wanted| (wanted / table.kept).min(1.0));
        cost.startup + (cost.total - cost.startup) * share
    }

    fn alternative(scan: &Scan, table: &Table) -> f64 {
        table
            .alternative(scan.wanted, table.vector_ns(scan.dims), &PRICES)
            .price
    }

    #[test]
    fn a_few_rows_are_cheap_and_all_rows_dearer_than_a_sort() {
        for storage in STORAGES {
            for rows in [1e3, 2e3, 1e4, 6e4, 1e6] {
                let (few, table) = (scan(storage, rows), table(rows));
                assert!(charged(&few, &table, &PRICES) < alternative(&few, &table) / 4.0);
                for wanted in [None, Some(rows), Some(rows * 0.9), Some(rows * 10.0)] {
                    let most = Scan { wanted, ..few };
                    // Up to what rounding makes of the planner's share.
                    assert!(charged(&most, &table, &PRICES) >= alternative(&most, &table) * 0.999_999);
                }
            }
        }
    }

    #[test]
    fn a_tiny_table_is_sorted() {
        for storage in STORAGES {
            let (few, mut table) = (scan(storage, 20.0), table(20.0));
            assert!(charged(&few, &table, &PRICES) > alternative(&few, &table));
            table.pages = 4.0;
            let inline = Scan { dims: 100, ..few };
            assert!(charged(&inline, &table, &PRICES) > alternative(&inline, &table));
        }
    }

    #[test]
    fn distances_that_only_the_operator_knows_cost_once_more_where_the_index_has_the_vectors() {
        for storage in STORAGES {
            let (ours, table) = (scan(storage, 6e4), table(6e4));
            let theirs = Scan {
                summation: Summation::Any,
                ..ours
            };
            let [ours, theirs] = [ours, theirs].map(|scan| charged(&scan, &table, &PRICES));
            match storage {
                Storage::F32 | Storage::Rabitq => assert!(theirs > ours, "{storage:?}"),
                _ => assert_eq!(theirs, ours, "{storage:?}"),
            }
        }
    }

    #[test]
    fn costs_rise_with_lists_and_rows_taken() {
        for storage in STORAGES {
            let (few, table) = (scan(storage, 6e4), table(6e4));
            let more = |change: Scan| charged(&change, &table, &PRICES) > charged(&few, &table, &PRICES);
            assert!(more(Scan { probes: 100, ..few }));
            assert!(more(Scan {
                wanted: Some(100.0),
                ..few
            }));
            assert!(more(Scan { rows: 1e5, ..few }));
        }
    }

    #[test]
    fn a_selective_filter_takes_the_scan_beyond_its_lists() {
        let few = scan(Storage::F32, 6e4);
        let kept = |kept: f64| {
            let table = Table { kept, ..table(6e4) };
            charged(&few, &table, &PRICES) / alternative(&few, &table)
        };
        assert!(kept(30_000.0) < 0.1);
        assert!(kept(600.0) < 1.0);
        assert!(kept(60.0) >= 1.0);
    }

    #[test]
    fn a_relaxed_scan_may_go_on() {
        let table = Table {
            kept: 600.0,
            ..table(6e4)
        };
        let strict = Scan {
            wanted: Some(100.0),
            ..scan(Storage::Rabitq, 6e4)
        };
        let relaxed = Scan {
            iterate: Iterate::Relaxed,
            ..strict
        };
        assert!(charged(&relaxed, &table, &PRICES) < charged(&strict, &table, &PRICES));
        let stopped = Scan {
            max_probes: strict.probes,
            ..relaxed
        };
        assert!(charged(&stopped, &table, &PRICES) >= alternative(&stopped, &table) * 0.999_999);
    }

    #[test]
    fn costs_follow_the_settings() {
        let (few, table) = (scan(Storage::Int8, 1e4), table(1e4));
        let cost = charged(&few, &table, &PRICES);
        let twice = Prices {
            table_page: 2.0,
            index_page: 2.0,
            index_random_page: 8.0,
            tuple: 0.02,
            index_tuple: 0.01,
            operator: 0.005,
        };
        assert!((charged(&few, &table, &twice) / cost - 2.0).abs() < 1e-9);
        let dear = |prices: Prices| charged(&few, &table, &prices) > cost;
        assert!(dear(Prices {
            index_page: 2.0,
            ..PRICES
        }));
        assert!(dear(Prices {
            index_random_page: 8.0,
            ..PRICES
        }));
        assert!(dear(Prices {
            index_tuple: 0.01,
            ..PRICES
        }));
        assert!(dear(Prices {
            operator: 0.005,
            ..PRICES
        }));
        assert!(dear(Prices {
            tuple: 0.02,
            ..PRICES
        }));
    }

    #[test]
    fn any_statistics_give_a_cost() {
        let odd = &[-1.0, 0.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let triples = odd.iter().flat_map(|a| {
            odd.iter()
                .flat_map(move |b| odd.iter().map(move |c| [*a, *b, *c]))
        });
        for [pages, rows, kept] in triples {
            for (wanted, price) in [
                (None, 0.0),
                (Some(f64::NAN), 1.0),
                (Some(-1.0), f64::NAN),
                (Some(1e300), 1e300),
            ] {
                let scan = Scan {
                    rows: kept,
                    lists: 0,
                    probes: 7,
                    wanted,
                    ..scan(Storage::Rabitq, 1e3)
                };
                let table = Table { pages, rows, kept };
                let prices = Prices {
                    table_page: price,
                    operator: price,
                    ..PRICES
                };
                let Cost { startup, total } = scan_cost(&scan, &table, &prices);
                assert!(
                    startup.is_finite() && total.is_finite(),
                    "{scan:?} {table:?} {prices:?}"
                );
                assert!(0.0 <= startup && startup <= total);
            }
        }
    }
}

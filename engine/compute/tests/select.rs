//! Argmax, scan, sort, select and the k-means update against their CPU twins, in every variant.
//!
//! All but the k-means update are exact: results are compared bit for bit.

mod support;

use proptest::prelude::*;
use support::{Random, engine, go_on};
use vectorgpu_compute::{Array, Engine, EngineBuilder, Feature, SortKey, ValueAt, reference};
use vectorgpu_core::ErrorKind;

const LABEL: &str = "vectorgpu.test";
const LENGTHS: [usize; 7] = [0, 1, 33, 1000, 1025, 5000, 100_000];

/// Two engines that between them take every variant of these kernels: as the device is, and without subgroups and
/// immediates. (Software drivers take seconds to compile the kernels for each engine.)
fn engines(test: &str) -> Vec<Engine> {
    let weakened = EngineBuilder::new()
        .without(Feature::Subgroups)
        .without(Feature::Immediates);
    [EngineBuilder::new(), weakened]
        .iter()
        .filter_map(|builder| engine(builder, test))
        .collect()
}

fn upload<T: bytemuck::Pod>(engine: &Engine, values: &[T]) -> Array<T> {
    engine.upload(LABEL, values, &mut go_on).unwrap()
}

/// An array that holds 0xff.. so that what a kernel leaves unwritten shows.
fn filled<T: bytemuck::Pod>(engine: &Engine, len: usize) -> Array<T> {
    let array = engine.array(LABEL, len, &mut go_on).unwrap();
    let mut values = vec![T::zeroed(); len];
    bytemuck::cast_slice_mut::<T, u8>(&mut values).fill(0xff);
    engine.write(&array, &values, &mut go_on).unwrap();
    array
}

fn bits<K: bytemuck::Pod>(keys: &[K]) -> Vec<u32> {
    bytemuck::cast_slice(keys).to_vec()
}

/// Numbers that comparisons get wrong easily.
const SPECIAL: [f32; 14] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    1e-39,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1.0,
    -1.0,
];

/// `n` keys of each kind that sorting may stumble over: any, few different ones, special ones, all equal, ascending,
/// descending.
fn kinds_of_keys(random: &mut Random, n: usize) -> Vec<Vec<f32>> {
    let mut ascending = random.floats(n);
    ascending.sort_by(f32::total_cmp);
    let descending = ascending.iter().rev().copied().collect();
    let mut any = random.floats(n);
    any.iter_mut().step_by(7).for_each(|x| *x *= 1e30);
    let mut pick = |from: &[f32]| -> Vec<f32> {
        let length = u64::try_from(from.len()).unwrap();
        let index = |bits: u64| usize::try_from(bits % length).unwrap();
        (0..n).map(|_| from[index(random.bits())]).collect()
    };
    let few = pick(&[0.5, -3.0, 2.0]);
    let negative_nan = f32::from_bits(f32::NAN.to_bits() | 0x8000_0001);
    let special = pick(&[SPECIAL.as_slice(), &[negative_nan]].concat());
    vec![any, few, special, vec![-2.5; n], ascending, descending]
}

fn indices_of(random: &mut Random, n: usize) -> Vec<u32> {
    (0..n)
        .map(|_| u32::try_from(random.bits() >> 32).unwrap())
        .collect()
}

fn gpu_extreme(engine: &Engine, values: &[f32], minimum: bool) -> ValueAt {
    let found = filled(engine, 1);
    let values = upload(engine, values);
    let mut step = engine.step();
    if minimum {
        step.argmin(&values, &found, &mut go_on).unwrap();
    } else {
        step.argmax(&values, &found, &mut go_on).unwrap();
    }
    step.run(&mut go_on).unwrap();
    engine.download(&found, &mut go_on).unwrap()[0]
}

fn check_extremes(engine: &Engine, values: &[f32]) {
    for minimum in [false, true] {
        let got = gpu_extreme(engine, values, minimum);
        let (value, index) = reference::argmax(values, minimum).unwrap();
        let want = (value.plain().to_bits(), index);
        let index = usize::try_from(got.index).unwrap();
        assert_eq!(
            (got.value.to_bits(), index),
            want,
            "minimum {minimum}, n {}",
            values.len()
        );
    }
}

#[test]
fn argmax_and_argmin_agree_with_their_twin() {
    for engine in engines("argmax_and_argmin_agree_with_their_twin") {
        let mut random = Random(31);
        for n in LENGTHS.into_iter().filter(|&n| n > 0) {
            for values in kinds_of_keys(&mut random, n) {
                check_extremes(&engine, &values);
            }
        }
        check_extremes(&engine, &[f32::NAN; 9000]);
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn argmax_finds_a_single_extreme_anywhere() {
    for engine in engines("argmax_finds_a_single_extreme_anywhere") {
        proptest!(support::cases(20), |(n in 1_usize..40_000, at in any::<prop::sample::Index>())| {
            let at = at.index(n);
            let mut values = vec![1.0; n];
            values[at] = 1e-45;
            assert_eq!(usize::try_from(gpu_extreme(&engine, &values, true).index).unwrap(), at);
            values[at] = 2.0;
            assert_eq!(usize::try_from(gpu_extreme(&engine, &values, false).index).unwrap(), at);
        });
    }
}

#[test]
fn argmax_of_nothing_is_an_error() {
    for engine in engines("argmax_of_nothing_is_an_error") {
        let found = filled(&engine, 1);
        let error = engine
            .step()
            .argmax(&upload(&engine, &[]), &found, &mut go_on)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn scan_agrees_with_its_twin() {
    for engine in engines("scan_agrees_with_its_twin") {
        let mut random = Random(32);
        for n in LENGTHS {
            let values = indices_of(&mut random, n);
            let array = engine.array(LABEL, n, &mut go_on).unwrap();
            engine.write(&array, &values, &mut go_on).unwrap();
            let mut step = engine.step();
            step.scan(&array, &mut go_on).unwrap();
            step.run(&mut go_on).unwrap();
            let got = engine.download(&array, &mut go_on).unwrap();
            assert!(got == reference::scan(&values), "n {n}");
        }
    }
}

fn gpu_sort<K: SortKey>(engine: &Engine, keys: &[K], indices: Option<&[u32]>) -> (Vec<K>, Vec<u32>) {
    let sorted_keys = filled(engine, keys.len());
    let sorted_indices = filled(engine, keys.len());
    let keys = upload(engine, keys);
    let indices = indices.map(|indices| upload(engine, indices));
    let mut step = engine.step();
    step.sort(&keys, indices.as_ref(), &sorted_keys, &sorted_indices, &mut go_on)
        .unwrap();
    step.run(&mut go_on).unwrap();
    (
        engine.download(&sorted_keys, &mut go_on).unwrap(),
        engine.download(&sorted_indices, &mut go_on).unwrap(),
    )
}

fn check_sort<K: SortKey>(engine: &Engine, keys: &[K], indices: Option<&[u32]>) {
    let (got_keys, got_indices) = gpu_sort(engine, keys, indices);
    let (want_keys, want_indices) = reference::sort(keys, indices);
    assert!(bits(&got_keys) == bits(&want_keys), "keys of {}", keys.len());
    assert!(got_indices == want_indices, "indices of {}", keys.len());
}

#[test]
fn sort_agrees_with_its_twin_and_is_stable() {
    for engine in engines("sort_agrees_with_its_twin_and_is_stable") {
        let mut random = Random(33);
        for n in LENGTHS.into_iter().filter(|&n| n <= 5000) {
            for keys in kinds_of_keys(&mut random, n) {
                check_sort(&engine, &keys, None);
            }
            let indices = indices_of(&mut random, n);
            check_sort(&engine, &random.floats(n), Some(&indices));
            check_sort(&engine, &indices, None);
        }
        let keys = kinds_of_keys(&mut random, 100_000).swap_remove(2);
        check_sort(&engine, &keys, None);
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn sort_agrees_with_its_twin_for_any_keys() {
    for engine in engines("sort_agrees_with_its_twin_for_any_keys") {
        let keys = prop::collection::vec(any::<u32>(), 0..5000);
        proptest!(support::cases(8), |(keys in keys, mask in any::<u32>())| {
            let keys: Vec<u32> = keys.iter().map(|key| key & mask).collect();
            check_sort(&engine, &keys, None);
            let floats: Vec<f32> = keys.iter().map(|&key| f32::from_bits(key)).collect();
            check_sort(&engine, &floats, Some(&keys));
        });
    }
}

#[test]
fn sort_of_a_million_keys_is_the_same_on_every_run() {
    let test = "sort_of_a_million_keys_is_the_same_on_every_run";
    let Some(engine) = engine(&EngineBuilder::new(), test) else {
        return;
    };
    let keys = Random(34).floats(1_000_000);
    let first = gpu_sort(&engine, &keys, None);
    let (want_keys, want_indices) = reference::sort(&keys, None);
    assert!(bits(&first.0) == bits(&want_keys) && first.1 == want_indices);
    let second = gpu_sort(&engine, &keys, None);
    assert!(bits(&first.0) == bits(&second.0) && first.1 == second.1);
}

#[test]
fn sort_local_sorts_every_row_and_keeps_its_front() {
    for engine in engines("sort_local_sorts_every_row_and_keeps_its_front") {
        let mut random = Random(35);
        for (rows, n, kept) in [
            (1, 1, 1),
            (3, 2, 1),
            (70, 33, 10),
            (2, 1000, 1000),
            (5, 1024, 256),
        ] {
            for keys in kinds_of_keys(&mut random, rows * n) {
                let indices = indices_of(&mut random, rows * n);
                let sorted_keys = filled(&engine, rows * kept);
                let sorted_indices = filled(&engine, rows * kept);
                let (keys_array, indices_array) = (upload(&engine, &keys), upload(&engine, &indices));
                let mut step = engine.step();
                step.sort_local(
                    &keys_array,
                    Some(&indices_array),
                    n,
                    &sorted_keys,
                    &sorted_indices,
                )
                .unwrap();
                step.run(&mut go_on).unwrap();
                let got_keys = engine.download(&sorted_keys, &mut go_on).unwrap();
                let got_indices = engine.download(&sorted_indices, &mut go_on).unwrap();
                let rows = keys.chunks(n).zip(indices.chunks(n));
                let wanted = rows.map(|(keys, indices)| reference::sort(keys, Some(indices)));
                for (row, want) in wanted.enumerate() {
                    let range = row * kept..(row + 1) * kept;
                    assert_eq!(bits(&got_keys[range.clone()]), bits(&want.0[..kept]), "row {row}");
                    assert_eq!(got_indices[range], want.1[..kept], "row {row} of {n}");
                }
            }
        }
    }
}

#[test]
fn sort_refuses_shapes_that_do_not_fit() {
    for engine in engines("sort_refuses_shapes_that_do_not_fit") {
        let keys = upload(&engine, &[1.0_f32; 6]);
        let (keys_out, indices_out) = (filled(&engine, 5), filled(&engine, 5));
        let mut step = engine.step();
        let errors = [
            step.sort(&keys, None, &keys_out, &indices_out, &mut go_on),
            step.sort_local(&keys, None, 4, &keys_out, &indices_out),
            step.sort_local(&keys, None, 0, &keys_out, &indices_out),
            step.sort_local(&keys, None, 2, &keys_out, &indices_out),
        ];
        for error in errors {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        assert_eq!(step.dispatches(), 0);
    }
}

fn check_select(engine: &Engine, keys: &[f32], indices: Option<&[u32]>, k: usize) {
    let (selected_keys, selected_indices) = (filled(engine, k), filled(engine, k));
    let keys_array = upload(engine, keys);
    let indices_array = indices.map(|indices| upload(engine, indices));
    let mut step = engine.step();
    step.select(
        &keys_array,
        indices_array.as_ref(),
        &selected_keys,
        &selected_indices,
        &mut go_on,
    )
    .unwrap();
    step.run(&mut go_on).unwrap();
    let (want_keys, want_indices) = reference::select(keys, indices, k);
    let got_keys = engine.download(&selected_keys, &mut go_on).unwrap();
    assert!(bits(&got_keys) == bits(&want_keys), "keys, {k} of {}", keys.len());
    let got_indices = engine.download(&selected_indices, &mut go_on).unwrap();
    assert!(got_indices == want_indices, "indices, {k} of {}", keys.len());
}

#[test]
fn select_agrees_with_its_twin_for_every_share() {
    for engine in engines("select_agrees_with_its_twin_for_every_share") {
        let mut random = Random(36);
        for (n, ks) in [
            (0, vec![0]),
            (1, vec![0, 1]),
            (33, vec![1, 32, 33]),
            (1000, vec![1, 300, 999]),
            (5000, vec![257, 4999]),
        ] {
            for keys in kinds_of_keys(&mut random, n) {
                ks.iter().for_each(|&k| check_select(&engine, &keys, None, k));
            }
            let indices = indices_of(&mut random, n);
            check_select(&engine, &random.floats(n), Some(&indices), n / 2);
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn select_of_many_takes_the_first_of_equal_keys() {
    for engine in engines("select_of_many_takes_the_first_of_equal_keys") {
        let mut random = Random(37);
        for keys in kinds_of_keys(&mut random, 100_000) {
            check_select(&engine, &keys, None, 1234);
        }
    }
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "select_of_many_takes_the_first_of_equal_keys",
    ) else {
        return;
    };
    check_select(&engine, &Random(38).floats(1_000_000), None, 10_000);
}

#[test]
fn select_agrees_with_its_twin_for_any_k() {
    for engine in engines("select_agrees_with_its_twin_for_any_k") {
        let keys = prop::collection::vec(any::<u32>(), 1..4000);
        proptest!(support::cases(8), |(keys in keys, mask in any::<u32>(), k in any::<prop::sample::Index>())| {
            let k = k.index(keys.len()) + 1;
            let floats: Vec<f32> = keys.iter().map(|&key| f32::from_bits(key & mask)).collect();
            check_select(&engine, &floats, Some(&keys), k);
        });
    }
}

#[test]
fn select_refuses_shapes_that_do_not_fit() {
    for engine in engines("select_refuses_shapes_that_do_not_fit") {
        let keys = upload(&engine, &[1.0_f32; 6]);
        let mut step = engine.step();
        for (k, indices) in [(5, 4), (7, 7)] {
            let (keys_out, indices_out) = (filled(&engine, k), filled(&engine, indices));
            let error = step
                .select(&keys, None, &keys_out, &indices_out, &mut go_on)
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        let (five, out) = (upload(&engine, &[0; 5]), filled(&engine, 2));
        let error = step
            .select(&keys, Some(&five), &filled(&engine, 2), &out, &mut go_on)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(step.dispatches(), 0);
    }
}

struct Update {
    rows: Vec<f32>,
    labels: Vec<u32>,
    dims: usize,
    lists: usize,
}

impl Update {
    /// Rows between -1 and 1, with labels up to one beyond the lists: rows of no list.
    fn random(random: &mut Random, n: usize, dims: usize, lists: usize) -> Self {
        let labels = u64::try_from(lists).unwrap() + 2;
        Self {
            rows: random.floats(n * dims),
            labels: (0..n)
                .map(|_| u32::try_from(random.bits() % labels).unwrap())
                .collect(),
            dims,
            lists,
        }
    }

    fn stride(&self) -> usize {
        self.dims.next_multiple_of(4)
    }

    fn padded(&self) -> Vec<f32> {
        let fill = vec![0.0; self.stride() - self.dims];
        self.rows
            .chunks(self.dims)
            .flat_map(|row| [row, &fill].concat())
            .collect()
    }

    /// Centroids, which are 5 before, and counts.
    fn run(&self, engine: &Engine) -> (Vec<f32>, Vec<u32>) {
        let centroids = engine
            .array(LABEL, self.lists * self.stride(), &mut go_on)
            .unwrap();
        engine
            .write(&centroids, &vec![5.0; centroids.len()], &mut go_on)
            .unwrap();
        let counts = filled(engine, self.lists);
        let rows = upload(engine, &self.padded());
        let labels = upload(engine, &self.labels);
        let mut step = engine.step();
        step.kmeans_update(&rows, &labels, &centroids, &counts, &mut go_on)
            .unwrap();
        step.run(&mut go_on).unwrap();
        (
            engine.download(&centroids, &mut go_on).unwrap(),
            engine.download(&counts, &mut go_on).unwrap(),
        )
    }

    /// A sum of m numbers in f32 is off by at most half an ulp of the running sum at each of its additions, of which
    /// each number goes through at most m; the division may be off by 2.5 ulp (WGSL). Subnormals may be lost.
    fn check(&self, engine: &Engine) {
        let (got, counts) = self.run(engine);
        let (sums, want_counts) = reference::kmeans_update(&self.rows, &self.labels, self.dims, self.lists);
        assert_eq!(counts, want_counts);
        let magnitudes: Vec<f32> = self.rows.iter().map(|x| x.abs()).collect();
        let (magnitudes, _) = reference::kmeans_update(&magnitudes, &self.labels, self.dims, self.lists);
        for (i, (&sum, &magnitude)) in sums.iter().zip(&magnitudes).enumerate() {
            let (list, dim) = (i / self.dims, i % self.dims);
            let got = f64::from(got[list * self.stride() + dim]);
            if counts[list] == 0 {
                assert!((got - 5.0).abs() < 1e-9, "list {list} has no rows");
                continue;
            }
            let count = f64::from(counts[list]);
            let unit = f64::from(f32::EPSILON) / 2.0;
            let allowed = (count + 5.0) * unit * magnitude / count + count * f64::from(f32::MIN_POSITIVE);
            let error = (got - sum / count).abs();
            assert!(error <= allowed, "list {list} dim {dim}: {error} > {allowed}");
        }
    }
}

#[test]
fn kmeans_update_agrees_with_its_twin() {
    for engine in engines("kmeans_update_agrees_with_its_twin") {
        let mut random = Random(39);
        for (n, dims, lists) in [
            (0, 4, 3),
            (1, 1, 1),
            (33, 3, 5),
            (1000, 31, 7),
            (3000, 260, 40),
            // Lists of several chunks.
            (20_000, 5, 2),
            (100_000, 3, 300),
        ] {
            Update::random(&mut random, n, dims, lists).check(&engine);
        }
        let mut skewed = Update::random(&mut random, 9000, 9, 300);
        skewed.labels.iter_mut().step_by(2).for_each(|label| *label = 7);
        skewed.check(&engine);
        skewed.labels.fill(2);
        skewed.check(&engine);
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn kmeans_update_is_the_same_on_every_run_and_in_every_variant() {
    let update = Update::random(&mut Random(40), 30_000, 17, 9);
    let mut first = None;
    for engine in engines("kmeans_update_is_the_same_on_every_run_and_in_every_variant") {
        for _ in 0..2 {
            let got = update.run(&engine);
            let first = first.get_or_insert_with(|| got.clone());
            assert_eq!(bits(&first.0), bits(&got.0));
            assert_eq!(first.1, got.1);
        }
    }
}

#[test]
fn kmeans_update_carries_nan_and_infinity_into_their_list_only() {
    for engine in engines("kmeans_update_carries_nan_and_infinity_into_their_list_only") {
        let update = Update {
            rows: vec![1.0, f32::NAN, 2.0, f32::INFINITY, 3.0, 4.0],
            labels: vec![0, 1, 0, 2, 2, u32::MAX],
            dims: 1,
            lists: 4,
        };
        let (centroids, counts) = update.run(&engine);
        assert_eq!(counts, [2, 1, 2, 0]);
        let first: Vec<f32> = centroids.iter().step_by(4).copied().collect();
        assert!((first[0] - 1.5).abs() < 1e-6 && first[1].is_nan());
        assert_eq!(first[2..], [f32::INFINITY, 5.0]);
    }
}

#[test]
fn kmeans_sums_of_parts_amount_to_the_update() {
    for engine in engines("kmeans_sums_of_parts_amount_to_the_update") {
        let update = Update::random(&mut Random(41), 5000, 12, 6);
        let (rows, labels) = (upload(&engine, &update.rows), upload(&engine, &update.labels));
        let sums = filled(&engine, 6 * 12);
        let counts = filled(&engine, 6);
        let centroids = filled(&engine, 6 * 12);
        let mut step = engine.step();
        for (part, carry) in [(0..1280, false), (1280..5000, true)] {
            let part_rows = rows.slice(part.start * 12..part.end * 12).unwrap();
            let part_labels = labels.slice(part).unwrap();
            step.kmeans_sums(&part_rows, &part_labels, carry, &sums, &counts, &mut go_on)
                .unwrap();
        }
        step.kmeans_means(&sums, &counts, &centroids).unwrap();
        step.run(&mut go_on).unwrap();
        let (want, want_counts) = reference::kmeans_update(&update.rows, &update.labels, 12, 6);
        assert_eq!(engine.download(&counts, &mut go_on).unwrap(), want_counts);
        let got = engine.download(&centroids, &mut go_on).unwrap();
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let count = f64::from(want_counts[i / 12]);
            // Each of `count` additions of numbers below 1 is off by half an ulp of a sum below `count`.
            let allowed = count * f64::from(f32::EPSILON);
            let error = (f64::from(*got) - want / count).abs();
            assert!(error <= allowed, "{error} > {allowed}");
        }
    }
}

#[test]
fn kmeans_update_refuses_shapes_that_do_not_fit() {
    for engine in engines("kmeans_update_refuses_shapes_that_do_not_fit") {
        let labels = upload(&engine, &[0_u32; 3]);
        let mut step = engine.step();
        for (rows, centroids, lists) in [(12, 7, 2), (13, 8, 2), (12, 12, 2), (12, 8, 0), (12, 0, 2)] {
            let error = step
                .kmeans_update(
                    &upload(&engine, &vec![0.0; rows]),
                    &labels,
                    &filled(&engine, centroids),
                    &filled(&engine, lists),
                    &mut go_on,
                )
                .unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidArgument,
                "{rows} {centroids} {lists}"
            );
        }
        assert_eq!(step.dispatches(), 0);
    }
}

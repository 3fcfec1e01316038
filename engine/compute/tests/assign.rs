//! Nearest centroids of rows in device memory, and the f16 rows that matrix units multiply, against their CPU twins.

mod support;

use half::f16;
use support::{Random, encode, engine, engines, go_on};
use vectorgpu_compute::{
    Array, Assignment, Engine, EngineBuilder, RowArray, RowFormat, ScaledRows, reference,
};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::backend::{Backend, HeldRows, NearestBy, Part, Unlabelled};
use vectorgpu_core::metric::Element;

fn upload(engine: &Engine, dims: usize, values: &[f32]) -> RowArray {
    let codes = encode(Element::F32, values);
    engine
        .upload_rows("vectorgpu.test", RowFormat::F32, dims, &codes, &mut go_on)
        .unwrap()
}

fn result(engine: &Engine, rows: usize) -> Assignment {
    let labels: Array<u32> = engine.array("vectorgpu.test", rows, &mut go_on).unwrap();
    engine.write(&labels, &vec![u32::MAX; rows], &mut go_on).unwrap();
    let best = engine.array("vectorgpu.test", rows, &mut go_on).unwrap();
    Assignment { labels, best }
}

fn norms(by: NearestBy, dims: usize, centroids: &[f32]) -> Vec<f32> {
    let norm = |c: &[f32]| match by {
        NearestBy::L2 => c.iter().map(|x| x * x).sum(),
        NearestBy::Dot => 0.0,
    };
    centroids.chunks_exact(dims).map(norm).collect()
}

fn scale(by: NearestBy) -> f32 {
    match by {
        NearestBy::L2 => 2.0,
        NearestBy::Dot => 1.0,
    }
}

fn scaled(engine: &Engine, dims: usize, values: &[f32]) -> Option<ScaledRows> {
    let rows = upload(engine, dims, values);
    let scaled = engine
        .scaled_rows("vectorgpu.test", rows.rows(), dims, &mut go_on)
        .unwrap();
    let mut step = engine.step();
    match step.to_f16(&rows, &scaled) {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            None
        }
        Ok(()) => {
            step.run(&mut go_on).unwrap();
            Some(scaled)
        }
    }
}

/// Every label must be the twin's, or score as well within `relative` of the terms' magnitude.
fn check(labels: &[u32], by: NearestBy, dims: usize, rows: &[f32], centroids: &[f32], relative: f64) {
    let norms = norms(by, dims, centroids);
    for (index, row) in rows.chunks_exact(dims).enumerate() {
        let (want, scores) = reference::kmeans_assign(row, centroids, &norms, scale(by));
        let (got, want) = (
            usize::try_from(labels[index]).unwrap(),
            usize::try_from(want).unwrap(),
        );
        assert!(got < norms.len(), "row {index}: label {got}");
        let length = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let magnitude = |list: usize| {
            let centroid = &centroids[list * dims..][..dims];
            f64::from(norms[list]) + f64::from(scale(by)) * length(row) * length(centroid)
        };
        let allowed = relative * (magnitude(got) + magnitude(want));
        let error = scores[got] - scores[want];
        assert!(
            error <= allowed,
            "{by:?} dims {dims} row {index}: {got} not {want}, {error} > {allowed}"
        );
    }
}

const SHAPES: [(usize, usize, usize); 10] = [
    (1, 1, 1),
    (3, 5, 33),
    (4, 64, 65),
    (31, 130, 200),
    (100, 63, 129),
    (104, 257, 300),
    (768, 100, 130),
    (1536, 65, 64),
    (16_000, 3, 5),
    (8, 1000, 1000),
];

#[test]
fn kmeans_assign_agrees_with_its_twin_for_every_shape() {
    for engine in engines("kmeans_assign_agrees_with_its_twin_for_every_shape") {
        let mut random = Random(51);
        for (dims, lists, n) in SHAPES {
            let (rows, centroids) = (random.floats(n * dims), random.floats(lists * dims));
            for by in [NearestBy::L2, NearestBy::Dot] {
                let nearest = result(&engine, n);
                let norms = engine
                    .upload("vectorgpu.test", &norms(by, dims, &centroids), &mut go_on)
                    .unwrap();
                let mut step = engine.step();
                let (lists, rows_array) = (upload(&engine, dims, &centroids), upload(&engine, dims, &rows));
                step.kmeans_assign(by, &lists, &norms, &rows_array, &nearest)
                    .unwrap();
                step.run(&mut go_on).unwrap();
                let labels = engine.download(&nearest.labels, &mut go_on).unwrap();
                // Half an ulp for each product and sum, in any order.
                let relative = (f64::from(u32::try_from(dims).unwrap()) + 8.0) * f64::from(f32::EPSILON);
                check(&labels, by, dims, &rows, &centroids, relative);
            }
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn cooperative(test: &str) -> Option<Engine> {
    let engine = engine(&EngineBuilder::new(), test)?;
    if engine.adapter().cooperative_matrix {
        return Some(engine);
    }
    eprintln!(
        "SKIPPED {test}: {} has no cooperative matrices",
        engine.adapter().name
    );
    None
}

fn gpu_cooperative(engine: &Engine, by: NearestBy, dims: usize, rows: &[f32], centroids: &[f32]) -> Vec<u32> {
    let nearest = result(engine, rows.len() / dims);
    let norms = engine
        .upload("vectorgpu.test", &norms(by, dims, centroids), &mut go_on)
        .unwrap();
    let (lists, rows) = (
        scaled(engine, dims, centroids).unwrap(),
        scaled(engine, dims, rows).unwrap(),
    );
    let mut step = engine.step();
    step.kmeans_assign_cooperative(by, &lists, &norms, &rows, &nearest)
        .unwrap();
    step.run(&mut go_on).unwrap();
    engine.download(&nearest.labels, &mut go_on).unwrap()
}

#[test]
fn kmeans_assign_cooperative_agrees_with_its_twin_for_every_shape() {
    let Some(engine) = cooperative("kmeans_assign_cooperative_agrees_with_its_twin_for_every_shape") else {
        return;
    };
    let mut random = Random(52);
    for (dims, lists, n) in SHAPES {
        let (rows, centroids) = (random.floats(n * dims), random.floats(lists * dims));
        for by in [NearestBy::L2, NearestBy::Dot] {
            let labels = gpu_cooperative(&engine, by, dims, &rows, &centroids);
            // Both factors are rounded to 11 bits.
            check(&labels, by, dims, &rows, &centroids, 2.0_f64.powi(-10));
        }
    }
}

#[test]
fn kmeans_assign_cooperative_gives_ties_to_the_lower_list() {
    let Some(engine) = cooperative("kmeans_assign_cooperative_gives_ties_to_the_lower_list") else {
        return;
    };
    let mut random = Random(53);
    let dims = 24;
    let distinct = random.floats(150 * dims);
    let centroids = distinct.repeat(3);
    let labels = gpu_cooperative(&engine, NearestBy::L2, dims, &distinct, &centroids);
    assert_eq!(labels, (0..150).collect::<Vec<_>>());
}

#[test]
fn kmeans_assign_cooperative_gives_rows_without_a_score_a_valid_list() {
    let Some(engine) = cooperative("kmeans_assign_cooperative_gives_rows_without_a_score_a_valid_list")
    else {
        return;
    };
    let mut random = Random(54);
    let dims = 6;
    let centroids = random.floats(100 * dims);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
        let mut rows = random.floats(200 * dims);
        rows[3 * dims] = bad;
        rows[199 * dims + 5] = bad;
        let labels = gpu_cooperative(&engine, NearestBy::L2, dims, &rows, &centroids);
        assert!(labels.iter().all(|&label| label < 100), "{bad}: {labels:?}");
        rows.drain(3 * dims..4 * dims);
        let labels = [&labels[..3], &labels[4..199]].concat();
        rows.truncate(198 * dims);
        check(&labels, NearestBy::L2, dims, &rows, &centroids, 2.0_f64.powi(-10));
    }
}

#[test]
fn to_f16_agrees_with_its_twin_for_every_shape_and_magnitude() {
    for engine in engines("to_f16_agrees_with_its_twin_for_every_shape_and_magnitude") {
        let mut random = Random(55);
        for dims in [1, 3, 8, 31, 100, 768, 3000] {
            let mut values = Vec::new();
            for magnitude in [1.0, 1e-38, 1e-30, 1e-4, 65_504.0, 1e5, 3e38, 0.0] {
                values.extend(random.floats(dims).iter().map(|x| x * magnitude));
            }
            for special in [f32::NAN, f32::INFINITY, -0.0] {
                let mut row = random.floats(dims);
                row[dims / 2] = special;
                values.extend(row);
            }
            let Some(scaled) = scaled(&engine, dims, &values) else {
                continue;
            };
            let codes = engine.download(scaled.codes(), &mut go_on).unwrap();
            let factors = engine.download(scaled.factors(), &mut go_on).unwrap();
            let stride = codes.len() / factors.len();
            assert_eq!(stride, dims.div_ceil(8) * 4);
            for (r, row) in values.chunks_exact(dims).enumerate() {
                check_scaled(row, &codes[r * stride..][..stride], factors[r]);
            }
        }
    }
}

/// The factor is the twin's and each code within one unit in the last place of its; the padding is zero. Subnormal
/// elements of the source may count as zero, which a row of nothing else shows in its factor.
fn check_scaled(row: &[f32], words: &[u32], factor: f32) {
    let (want, want_factor) = reference::to_f16(row);
    let largest = row.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if largest > 0.0 && largest < 2.0 * f32::MIN_POSITIVE {
        return;
    }
    assert_eq!(factor.to_bits(), want_factor.to_bits(), "largest {largest:e}");
    let codes = words
        .iter()
        .flat_map(|word| [word & 0xffff, word >> 16])
        .map(|bits| f16::from_bits(u16::try_from(bits).unwrap()));
    for (i, code) in codes.enumerate() {
        let want = want.get(i).copied().unwrap_or(f16::ZERO);
        let same = code.is_nan() && want.is_nan() || code == want;
        let (code, want) = (code.to_f32(), want.to_f32());
        // One unit of f16's last place, or its smallest subnormal.
        let near = (code - want).abs() <= want.abs() * 2.0_f32.powi(-10) + 2.0_f32.powi(-24);
        assert!(same || near, "element {i}: {code} for {want}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    for engine in engines("shapes_that_do_not_fit_are_refused") {
        let (a, b) = (upload(&engine, 4, &[1.0; 8]), upload(&engine, 3, &[1.0; 9]));
        let norms = engine
            .upload("vectorgpu.test", &[0.0_f32; 2], &mut go_on)
            .unwrap();
        let refused = |outcome: vectorgpu_core::Result<()>| outcome.unwrap_err().kind();
        let by = NearestBy::L2;
        let mut step = engine.step();
        let wrong_dims = step.kmeans_assign(by, &a, &norms, &b, &result(&engine, 3));
        assert_eq!(refused(wrong_dims), ErrorKind::InvalidArgument);
        let wrong_rows = step.kmeans_assign(by, &a, &norms, &a, &result(&engine, 3));
        assert_eq!(refused(wrong_rows), ErrorKind::InvalidArgument);
        let none = upload(&engine, 4, &[]);
        let no_lists = step.kmeans_assign(by, &none, &norms, &a, &result(&engine, 2));
        assert_eq!(refused(no_lists), ErrorKind::InvalidArgument);
        let scaled = engine.scaled_rows("vectorgpu.test", 2, 4, &mut go_on).unwrap();
        let outcome = step.kmeans_assign_cooperative(by, &scaled, &norms, &scaled, &result(&engine, 3));
        let expected = if engine.adapter().cooperative_matrix {
            [ErrorKind::InvalidArgument, ErrorKind::Unsupported]
        } else {
            [ErrorKind::Unsupported; 2]
        };
        assert!(expected.contains(&refused(outcome)));
        assert!(engine.scaled_rows("vectorgpu.test", 1, 0, &mut go_on).is_err());
    }
}

#[test]
fn blocks_are_labelled_as_if_they_lay_one_after_the_other() {
    let (dims, lists, sizes) = (240, 37, [0, 5, 1, 3000, 0, 64, 900]);
    let mut random = Random(57);
    let centroids = random.floats(lists * dims);
    let total: usize = sizes.iter().sum();
    let rows = random.floats(total * dims);
    // With so little memory a batch holds some 1,000 rows, so blocks are both gathered and cut.
    for builder in [
        EngineBuilder::new(),
        EngineBuilder::new().vram_limit(8 << 20).staging(1 << 20),
    ] {
        let Some(engine) = engine(&builder, "blocks_are_labelled_as_if_they_lay_one_after_the_other") else {
            return;
        };
        let mut nearest = engine
            .backend()
            .nearest(&centroids, dims, NearestBy::L2, &mut go_on)
            .unwrap();
        let mut whole = vec![u32::MAX; total];
        nearest.assign(&rows, &mut whole, &mut go_on).unwrap();
        assert!(whole.iter().all(|label| (*label as usize) < lists));
        let mut labels = vec![u32::MAX; total];
        let (mut rows_left, mut labels_left, mut blocks) = (&rows[..], &mut labels[..], Vec::new());
        for size in sizes {
            let (rows, rows_rest) = rows_left.split_at(size * dims);
            let (labels, labels_rest) = labels_left.split_at_mut(size);
            blocks.push(Unlabelled { rows, labels });
            (rows_left, labels_left) = (rows_rest, labels_rest);
        }
        nearest.assign_each(&mut blocks, &mut go_on).unwrap();
        assert_eq!(labels, whole);
        blocks = vec![Unlabelled {
            rows: &rows[1..],
            labels: &mut whole,
        }];
        let refused = nearest.assign_each(&mut blocks, &mut go_on).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Internal);
    }
}

/// Labels of some of the held rows by centroids of their own, several times at once.
fn labels_of_parts(
    held: &mut dyn HeldRows,
    by: NearestBy,
    parts: &[(Vec<u32>, Vec<f32>)],
) -> Result<Vec<Vec<u32>>, vectorgpu_core::Error> {
    let mut labels: Vec<Vec<u32>> = parts.iter().map(|(rows, _)| vec![u32::MAX; rows.len()]).collect();
    let zipped = parts.iter().zip(&mut labels);
    let mut parts: Vec<Part<'_>> = zipped
        .map(|((rows, centroids), labels)| Part {
            rows,
            centroids,
            labels,
        })
        .collect();
    held.assign(&mut parts, by, &mut go_on)?;
    Ok(labels)
}

#[test]
fn rows_that_are_held_get_the_labels_of_rows_that_are_sent() {
    for engine in engines("rows_that_are_held_get_the_labels_of_rows_that_are_sent") {
        let mut random = Random(58);
        for (dims, n) in [(1, 70), (3, 500), (31, 1000), (100, 300), (768, 200)] {
            let rows = random.floats(n * dims);
            let mut backend = engine.backend();
            let mut held = backend.hold(&rows, dims, &mut go_on).unwrap().expect("they fit");
            let every = |step: usize| -> Vec<u32> { (0u32..).take(n).step_by(step).collect() };
            let sets = [
                (every(1), 130),
                (every(3), 1),
                (vec![], 5),
                (every(7), 64),
                (every(2), 65),
            ];
            let parts: Vec<_> = sets
                .into_iter()
                .map(|(numbers, lists)| (numbers, random.floats(lists * dims)))
                .collect();
            for by in [NearestBy::L2, NearestBy::Dot] {
                let labels = labels_of_parts(&mut *held, by, &parts).unwrap();
                for ((numbers, centroids), labels) in parts.iter().zip(labels) {
                    let sent = numbers
                        .iter()
                        .flat_map(|row| &rows[*row as usize * dims..][..dims]);
                    let sent: Vec<f32> = sent.copied().collect();
                    let mut want = vec![u32::MAX; numbers.len()];
                    let mut nearest = backend.nearest(centroids, dims, by, &mut go_on).unwrap();
                    nearest.assign(&sent, &mut want, &mut go_on).unwrap();
                    assert_eq!(labels, want, "{by:?} {dims}");
                }
            }
        }
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn rows_that_are_held_find_the_nearest_of_more_lists_than_one_submission_takes() {
    let test = "rows_that_are_held_find_the_nearest_of_more_lists_than_one_submission_takes";
    let Some(engine) = engine(&EngineBuilder::new(), test) else {
        return;
    };
    // Software devices begin with 10 million multiply-adds a submission: less than a tile of rows and all lists.
    let (dims, lists, n) = (512, 700, 150);
    let mut random = Random(59);
    let (rows, centroids) = (random.floats(n * dims), random.floats(lists * dims));
    let mut held = engine
        .backend()
        .hold(&rows, dims, &mut go_on)
        .unwrap()
        .expect("they fit");
    let all: Vec<u32> = (0u32..).take(n).collect();
    let parts = [(all, centroids), (vec![3, 4], rows[3 * dims..5 * dims].to_vec())];
    let labels = labels_of_parts(&mut *held, NearestBy::L2, &parts).unwrap();
    let relative = (512.0 + 8.0) * f64::from(f32::EPSILON);
    check(&labels[0], NearestBy::L2, dims, &rows, &parts[0].1, relative);
    assert_eq!(labels[1], [0, 1]);
}

#[test]
fn rows_without_a_score_that_are_held_get_a_valid_list() {
    for engine in engines("rows_without_a_score_that_are_held_get_a_valid_list") {
        let dims = 6;
        let mut random = Random(60);
        let mut rows = random.floats(130 * dims);
        for (row, bad) in [
            (0, f32::NAN),
            (64, f32::INFINITY),
            (129, f32::NEG_INFINITY),
            (5, 3e38),
        ] {
            rows[row * dims + 2] = bad;
        }
        let centroids = random.floats(70 * dims);
        let mut held = engine
            .backend()
            .hold(&rows, dims, &mut go_on)
            .unwrap()
            .expect("they fit");
        let parts = [
            ((0..130).collect(), centroids.clone()),
            (vec![0, 64, 129, 5], centroids),
        ];
        for labels in labels_of_parts(&mut *held, NearestBy::L2, &parts).unwrap() {
            assert!(labels.iter().all(|&label| label < 70), "{labels:?}");
        }
    }
}

#[test]
fn rows_are_not_held_where_they_do_not_fit_and_misuse_or_a_lost_device_is_told() {
    let test = "rows_are_not_held_where_they_do_not_fit_and_misuse_or_a_lost_device_is_told";
    let small = EngineBuilder::new().vram_limit(8 << 20).staging(1 << 20);
    let Some(engine) = engine(&small, test) else {
        return;
    };
    let rows = vec![1.0; (5 << 20) / 4];
    let mut backend = engine.backend();
    assert!(backend.hold(&rows, 64, &mut go_on).unwrap().is_none());
    assert!(backend.hold(&[], 64, &mut go_on).unwrap().is_none());
    assert!(backend.hold(&rows[1..], 64, &mut go_on).is_err());
    let mut held = backend
        .hold(&rows[..640], 64, &mut go_on)
        .unwrap()
        .expect("they fit");
    let kind = |held: &mut dyn HeldRows, rows: Vec<u32>, centroids: usize| {
        let parts = [(rows, vec![1.0; centroids])];
        labels_of_parts(held, NearestBy::L2, &parts).map_err(|error| error.kind())
    };
    assert_eq!(kind(&mut *held, vec![9, 0], 64), Ok(vec![vec![0, 0]]));
    assert_eq!(kind(&mut *held, vec![10], 64), Err(ErrorKind::Internal));
    assert_eq!(kind(&mut *held, vec![1], 0), Err(ErrorKind::Internal));
    assert_eq!(kind(&mut *held, vec![1], 65), Err(ErrorKind::Internal));
    // Centroids that do not fit beside them.
    assert_eq!(kind(&mut *held, vec![1], 2 << 20), Err(ErrorKind::OutOfMemory));
    engine.simulate_loss().unwrap();
    assert_eq!(kind(&mut *held, vec![1], 64), Err(ErrorKind::DeviceLost));
}

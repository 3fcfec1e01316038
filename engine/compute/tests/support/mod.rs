//! What the tests of this crate share: opening the machine's Vulkan device, seeded data, waiting closures.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use half::f16;
use vectorgpu_compute::{Array, DeviceKind, Engine, EngineBuilder, Feature, RowArray, RowFormat};
use vectorgpu_core::backend::{Backend, RowBlock};
use vectorgpu_core::metric::{Element, Score};

/// Opens whatever Vulkan device there is, or says loudly that the test did not run.
///
/// With `VECTORGPU_REQUIRE_VULKAN` set (CI does), a missing device fails the test instead.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn engine(builder: &EngineBuilder, test: &str) -> Option<Engine> {
    let builder = builder.clone().allow_software(true);
    if builder.devices().expect("listing devices never fails").is_empty() {
        assert!(
            std::env::var_os("VECTORGPU_REQUIRE_VULKAN").is_none(),
            "{test}: no Vulkan adapter"
        );
        eprintln!("SKIPPED {test}: this machine has no Vulkan adapter, not even a software one");
        return None;
    }
    Some(
        builder
            .open()
            .unwrap_or_else(|error| panic!("{error}: {:?}", error.detail())),
    )
}

/// Engines that between them take every variant of every kernel which this machine's device can run: as it is, without
/// subgroups, and without immediates. Empty where there is no device.
pub(crate) fn engines(test: &str) -> Vec<Engine> {
    let with_units = engines_and_units(test).into_iter();
    with_units.map(|(engine, _)| engine).collect()
}

/// The same, and whether each multiplies on matrix units.
pub(crate) fn engines_and_units(test: &str) -> Vec<(Engine, bool)> {
    let without = [
        None,
        Some(Feature::Subgroups),
        Some(Feature::Immediates),
        Some(Feature::CooperativeMatrix),
    ];
    without
        .into_iter()
        .filter_map(|without| {
            let builder = EngineBuilder::new();
            let weakened = without.map(|feature| builder.clone().without(feature));
            let engine = engine(&weakened.unwrap_or(builder), test)?;
            let adapter = engine.adapter();
            let units = adapter.cooperative_matrix
                && adapter.kind != DeviceKind::Software
                && matches!(without, None | Some(Feature::Immediates));
            Some((engine, units))
        })
        .collect()
}

/// Settings of a property test with so many cases; failures are not kept in files, the seed is printed.
pub(crate) fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: count,
        failure_persistence: None,
        ..Default::default()
    }
}

/// Never stops a wait.
pub(crate) fn go_on() -> bool {
    true
}

/// splitmix64; the seed is part of each test.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1 .. 1.
    pub(crate) fn float(&mut self) -> f32 {
        let bits = u32::try_from(self.bits() >> 40).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
        let unit = bits as f32 / 8_388_608.0;
        unit - 1.0
    }

    pub(crate) fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}

/// The bytes of `values` in `element`.
pub(crate) fn encode(element: Element, values: &[f32]) -> Vec<u8> {
    match element {
        Element::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Element::F16 => values
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect(),
    }
}

/// Has every variant of the scoring kernels compiled and run.
pub(crate) fn score_everything(engine: &Engine) {
    for element in [Element::F32, Element::F16] {
        for dims in [8, 100, 800] {
            let codes = encode(element, &vec![1.0; dims * 3]);
            let block = RowBlock {
                codes: &codes,
                element,
                dims,
            };
            for score in [Score::SquaredL2, Score::Dot] {
                let query = vec![1.0; dims];
                engine
                    .backend()
                    .score(score, &query, block, &mut Vec::new(), &mut go_on)
                    .unwrap();
            }
        }
    }
}

/// Half an ulp at 1: what one rounding to f32 moves a value by, relatively.
pub(crate) const UNIT: f64 = 1.0 / 16_777_216.0;

/// The dimensions and numbers of rows that every kernel over rows is tested with: shapes that divide no tile, and
/// many rows only where they are short, to stay quick on software Vulkan.
pub(crate) fn shapes() -> Vec<(usize, usize)> {
    let mut shapes = Vec::new();
    for dims in [1, 3, 4, 31, 768, 1536, 16_000] {
        shapes.extend([0, 1, 33].map(|n| (dims, n)));
    }
    shapes.extend([(1, 100_000), (4, 100_000), (31, 100_000)]);
    shapes
}

/// Relative error bound of a sum of `dims` terms in f32, over the sum of their magnitudes: kernels keep at least four
/// partial sums a row, so a term passes through `dims / 4` additions, seven that fold the partial sums of up to 32
/// lanes, and at most four roundings of its own.
pub(crate) fn sum_bound(dims: usize) -> f64 {
    f64::from(u32::try_from(dims).unwrap() / 4 + 12) * UNIT
}

/// Uploads `[n, dims]` rows.
pub(crate) fn upload_rows(engine: &Engine, format: RowFormat, dims: usize, codes: &[u8]) -> RowArray {
    engine
        .upload_rows("vectorgpu.test", format, dims, codes, &mut go_on)
        .unwrap()
}

/// An array for results, filled with `filler` so that what a kernel leaves out is seen.
pub(crate) fn filled(engine: &Engine, len: usize, filler: f32) -> Array<f32> {
    let array = engine.array("vectorgpu.test", len, &mut go_on).unwrap();
    engine.write(&array, &vec![filler; len], &mut go_on).unwrap();
    array
}

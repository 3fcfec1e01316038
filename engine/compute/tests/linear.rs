//! The matrix product against its CPU twin: f32, f16 without and with matrix units.

mod support;

use half::f16;
use proptest::prelude::*;
use support::{Random, UNIT, encode, engine, filled, go_on, upload_rows};
use vectorgpu_compute::{Array, Engine, EngineBuilder, Feature, RowArray, RowFormat, reference};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::metric::Element;

const STORAGES: [Element; 2] = [Element::F32, Element::F16];

/// An engine, and whether it multiplies f16 on matrix units.
struct Device {
    engine: Engine,
    cooperative: bool,
}

/// The machine's device with matrix units, where it has them, and without; parameters in both places.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn devices(test: &str) -> Vec<Device> {
    let scalar = EngineBuilder::new().without(Feature::CooperativeMatrix);
    let mut devices = Vec::new();
    for builder in [scalar.clone(), scalar.without(Feature::Immediates)] {
        devices.extend(engine(&builder, test).map(|engine| Device {
            engine,
            cooperative: false,
        }));
    }
    if let Some(engine) = engine(&EngineBuilder::new(), test) {
        if engine.adapter().cooperative_matrix {
            devices.push(Device {
                engine,
                cooperative: true,
            });
        } else {
            eprintln!("SKIPPED {test} on matrix units: this device has none that we use");
        }
    }
    devices
}

/// `a` is `[m, k]`, `b` is `[n, k]`, in the format in which the device gets them.
struct Case {
    element: Element,
    k: usize,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Case {
    fn new(element: Element, k: usize, a: &[f32], b: &[f32]) -> Self {
        let stored = |values: &[f32]| {
            values
                .iter()
                .map(|&x| match element {
                    Element::F32 => x,
                    Element::F16 => f16::from_f32(x).to_f32(),
                })
                .collect()
        };
        Self {
            element,
            k,
            a: stored(a),
            b: stored(b),
        }
    }

    fn random(element: Element, (m, n, k): (usize, usize, usize), random: &mut Random) -> Self {
        Self::new(element, k, &random.floats(m * k), &random.floats(n * k))
    }

    fn len(&self) -> usize {
        self.a.len() / self.k * (self.b.len() / self.k)
    }

    fn run(&self, engine: &Engine) -> Vec<f32> {
        let rows = |x| upload_rows(engine, self.element.into(), self.k, &encode(self.element, x));
        let product = filled(engine, self.len(), -7.0);
        let mut step = engine.step();
        step.matmul(&rows(&self.a), &rows(&self.b), &product).unwrap();
        step.run(&mut go_on).unwrap();
        engine.download(&product, &mut go_on).unwrap()
    }

    /// What the device may be off by. Scalars: each product is rounded once, unless fused, and each term passes k
    /// additions of half an ulp of a sum that is at most `magnitude`; a subnormal input or product may count as zero.
    /// Matrix units add 16 products and the sum at once, each cut off, to an ulp of the largest or half of that: 17
    /// times twice as much for 16 terms, and the rounding of the result.
    fn allowed(&self, cooperative: bool) -> Vec<f64> {
        let absolute = |x: &[f32]| x.iter().map(|x| x.abs()).collect::<Vec<_>>();
        let terms = f64::from(u32::try_from(self.k.next_multiple_of(16)).unwrap() + 2);
        let relative = if cooperative && self.element == Element::F16 {
            4.0 * terms * UNIT
        } else {
            terms * UNIT
        };
        let largest = |x: &[f32]| x.iter().map(|x| f64::from(x.abs())).fold(1.0, f64::max);
        let flushed = terms * f64::from(f32::MIN_POSITIVE) * (1.0 + largest(&self.a) + largest(&self.b));
        reference::matmul(&absolute(&self.a), &absolute(&self.b), self.k)
            .iter()
            .map(|magnitude| relative * magnitude + flushed)
            .collect()
    }
}

/// Runs `case` on every device that its format tells apart; NaN for NaN, infinity for what f32 cannot hold.
fn check(devices: &[Device], case: &Case) {
    let want = reference::matmul(&case.a, &case.b, case.k);
    let allowed = [false, true].map(|cooperative| case.allowed(cooperative));
    for device in devices {
        if device.cooperative && case.element == Element::F32 {
            continue;
        }
        let got = case.run(&device.engine);
        assert_eq!(got.len(), want.len());
        for (at, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let allowed = allowed[usize::from(device.cooperative)][at];
            let (error, exact) = ((f64::from(got) - want).abs(), narrowed(want));
            let same = got.is_nan() && exact.is_nan() || got.is_infinite() && got == exact;
            assert!(
                same || error <= allowed,
                "{:?} k {} element {at} of {}: {got} for {want}, matrix units {}",
                case.element,
                case.k,
                case.len(),
                device.cooperative
            );
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "overflow becomes infinity")]
fn narrowed(x: f64) -> f32 {
    x as f32
}

#[test]
fn matmul_agrees_with_its_twin_for_shapes_that_divide_no_tile() {
    let devices = devices("matmul_agrees_with_its_twin_for_shapes_that_divide_no_tile");
    let mut random = Random(41);
    for k in [1, 3, 4, 31, 104, 768] {
        for m in [1, 3, 33, 64, 129, 200] {
            for n in [1, 3, 33, 64, 129, 200] {
                for element in STORAGES {
                    check(&devices, &Case::random(element, (m, n, k), &mut random));
                }
            }
        }
    }
    for device in devices {
        assert_eq!(device.engine.memory().in_use().count(), 0);
    }
}

#[test]
fn matmul_agrees_with_its_twin_for_the_longest_rows() {
    let devices = devices("matmul_agrees_with_its_twin_for_the_longest_rows");
    let mut random = Random(42);
    for element in STORAGES {
        check(&devices, &Case::random(element, (3, 5, 16_000), &mut random));
    }
}

#[test]
fn matmul_agrees_with_its_twin_for_any_finite_numbers() {
    let devices = devices("matmul_agrees_with_its_twin_for_any_finite_numbers");
    let shape = (1..150_usize, 1..150_usize, 1..70_usize, any::<u64>(), -12..12_i32);
    proptest!(support::cases(30), |((m, n, k, seed, power) in shape)| {
        let mut random = Random(seed);
        let scale = 2.0_f32.powi(power);
        let mut scaled = |count| random.floats(count).iter().map(|x| x * scale).collect::<Vec<_>>();
        let (a, b) = (scaled(m * k), scaled(n * k));
        for element in STORAGES {
            check(&devices, &Case::new(element, k, &a, &b));
        }
    });
}

/// Every row has one special element, against rows of ones, zeros and opposite signs, so that the order of the sum does
/// not matter.
#[test]
fn matmul_carries_nan_infinity_and_overflow_on() {
    let devices = devices("matmul_carries_nan_infinity_and_overflow_on");
    let special = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        3e38,
        -3e38,
        // Beyond f16, and its largest number.
        1e6,
        -65_520.0,
        65_504.0,
        0.0,
    ];
    for k in [1, 5, 8, 40] {
        for place in [0, k / 2, k - 1] {
            let mut a = vec![0.5; special.len() * k];
            for (row, &value) in special.iter().enumerate() {
                a[row * k + place] = value;
            }
            let mut b = vec![1.0; 5 * k];
            for (row, value) in [0.0, 1.0, -1.0, 4.0, f32::INFINITY].into_iter().enumerate() {
                b[row * k + place] = value;
            }
            for element in STORAGES {
                check(&devices, &Case::new(element, k, &a, &b));
            }
        }
    }
}

#[test]
fn matmul_of_opposite_infinities_is_nan() {
    for device in devices("matmul_of_opposite_infinities_is_nan") {
        for element in STORAGES {
            let case = Case::new(
                element,
                8,
                &[f32::INFINITY; 8],
                &[1., 1., 1., 1., 1., 1., 1., -1.],
            );
            assert!(case.run(&device.engine)[0].is_nan());
        }
    }
}

/// The pace changes between runs, so that the product is cut into different blocks.
#[test]
fn matmul_gives_the_same_bits_however_it_is_cut() {
    for device in devices("matmul_gives_the_same_bits_however_it_is_cut") {
        let mut random = Random(43);
        for element in STORAGES {
            let case = Case::random(element, (300, 520, 104), &mut random);
            let bits = || case.run(&device.engine).into_iter().map(f32::to_bits);
            let first: Vec<_> = bits().collect();
            for _ in 0..4 {
                assert!(bits().eq(first.iter().copied()));
            }
        }
    }
}

#[test]
fn matmul_of_no_rows_records_nothing() {
    for device in devices("matmul_of_no_rows_records_nothing") {
        for element in STORAGES {
            let rows = |n| {
                let codes = vec![0; n * element.code_bytes(5)];
                upload_rows(&device.engine, element.into(), 5, &codes)
            };
            let empty = device.engine.array("vectorgpu.test", 0, &mut go_on).unwrap();
            let mut step = device.engine.step();
            for (m, n) in [(0, 3), (3, 0), (0, 0)] {
                step.matmul(&rows(m), &rows(n), &empty).unwrap();
            }
            assert_eq!(step.dispatches(), 0);
        }
    }
}

#[test]
fn matmul_refuses_other_shapes_and_formats() {
    for device in devices("matmul_refuses_other_shapes_and_formats") {
        let engine = &device.engine;
        let rows = |format, n, dims| {
            engine
                .row_array("vectorgpu.test", format, n, dims, &mut go_on)
                .unwrap()
        };
        let (a, c) = (rows(RowFormat::F32, 3, 8), filled(engine, 6, -7.0));
        let refused =
            |a: &RowArray, b: &RowArray, c: &Array<f32>| engine.step().matmul(a, b, c).unwrap_err().kind();
        for b in [
            rows(RowFormat::F32, 2, 7),
            rows(RowFormat::F16, 2, 8),
            rows(RowFormat::F32, 3, 8),
        ] {
            assert_eq!(refused(&a, &b, &c), ErrorKind::InvalidArgument);
        }
        for codes in [RowFormat::Int8, RowFormat::Bits] {
            let (a, b) = (rows(codes, 3, 8), rows(codes, 2, 8));
            assert_eq!(refused(&a, &b, &c), ErrorKind::InvalidArgument);
        }
        let same = filled(engine, 16, 0.0);
        let shared = RowArray::of_f32(&same, 4).unwrap();
        assert_eq!(refused(&shared, &shared, &same), ErrorKind::InvalidArgument);
    }
}

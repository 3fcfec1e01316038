use crate::blocks::{Activations, BlockType, Numbers};
use crate::cpu::Kernels;
use crate::random::Random;

/// Random blocks whose factors are ordinary numbers.
fn blocks(random: &mut Random, of_type: BlockType, elements: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..elements / of_type.elements() {
        let start = bytes.len();
        bytes.extend((0..of_type.bytes()).map(|_| random.bits().to_le_bytes()[0]));
        let factors: &[usize] = match of_type {
            BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => &[0],
            BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
            BlockType::Q2K => &[80, 82],
            BlockType::Q3K => &[108],
            BlockType::Q6K => &[208],
        };
        for at in factors {
            let factor = half::f16::from_f32(random.float() * 0.02 - 0.01).to_le_bytes();
            bytes[start + at..start + at + 2].copy_from_slice(&factor);
        }
    }
    bytes
}

#[test]
#[cfg_attr(miri, ignore = "thousands of elements")]
fn every_table_computes_the_products_of_the_values() {
    let mut random = Random::new(3);
    for of_type in BlockType::ALL {
        for elements in [256, 512, 1024, 32, 96, 576] {
            if elements % of_type.elements() != 0 {
                continue;
            }
            let row = blocks(&mut random, of_type, elements);
            let tokens = 3;
            let x: Vec<f32> = (0..tokens * elements)
                .map(|_| random.float() * 4.0 - 2.0)
                .collect();
            let mut activations = Activations::default();
            activations.round(&x, elements).expect("memory");
            let mut values = vec![0.0f32; elements];
            for table in Kernels::all_supported() {
                let mut numbers = Numbers::with_room(elements).expect("memory");
                table.unpack_blocks(of_type, &row, &mut numbers);
                numbers.values(&mut values);
                let mut products = vec![0.0; tokens];
                table.multiply_blocks(&numbers, &activations, &mut products);
                let mut rounded = vec![0.0f32; elements];
                for (token, product) in products.iter().enumerate() {
                    activations.values(token, &mut rounded);
                    let x = &x[token * elements..][..elements];
                    // To a 127th of the largest of 32, and that is at most 2.
                    assert!(
                        x.iter()
                            .zip(&rounded)
                            .all(|(x, rounded)| (x - rounded).abs() <= 1.001 / 127.0)
                    );
                    let terms = values
                        .iter()
                        .zip(&rounded)
                        .map(|(a, b)| f64::from(*a) * f64::from(*b));
                    let (exact, scale) =
                        terms.fold((0.0, 0.0), |(sum, scale), term| (sum + term, scale + term.abs()));
                    // A minimum is subtracted from what it was added to.
                    assert!(
                        (f64::from(*product) - exact).abs() <= 1e-5 * scale,
                        "{} {of_type:?} {elements}: {product}, not {exact}",
                        table.name()
                    );
                }
                // One token alone may have a kernel of its own.
                let mut one = Activations::default();
                one.round(&x[..elements], elements).expect("memory");
                let mut product = [0.0];
                let mut room = Numbers::with_room(elements).expect("memory");
                table.multiply_row(of_type, &row, &one, &mut room, &mut product);
                let scale: f32 = values.iter().zip(&x).map(|(a, b)| (a * b).abs()).sum();
                assert!(
                    (product[0] - products[0]).abs() <= 1e-5 * scale,
                    "{} {of_type:?} {elements}: {product:?} and {}",
                    table.name(),
                    products[0]
                );
                let mut alone = Numbers::with_room(elements).expect("memory");
                Kernels::all_supported()
                    .last()
                    .expect("the scalar one")
                    .unpack_blocks(of_type, &row, &mut alone);
                assert_eq!(numbers.numbers, alone.numbers, "{} {of_type:?}", table.name());
                assert_eq!(numbers.scales, alone.scales, "{} {of_type:?}", table.name());
            }
        }
    }
}

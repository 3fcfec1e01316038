//! Quantised blocks stand for what the reference library says (`data/record_blocks.py`).

use vectorgpu_core::blocks::BlockType;
use vectorgpu_llm::quant::decode;
use vectorgpu_llm::tensor::DType;

const BLOCKS: &str = include_str!("data/quantised_blocks.txt");

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16).expect("a hexadecimal digit")).expect("below 16"))
        .collect();
    digits
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[high, low]| high << 4 | low)
        .collect()
}

#[test]
fn blocks_stand_for_what_the_reference_library_says() {
    let mut seen = Vec::new();
    for line in BLOCKS.lines() {
        let [name, block, elements] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("three fields: {line}");
        };
        let dtype = DType::all().find(|dtype| dtype.name() == name).expect("a type");
        let expected: Vec<f32> = bytes(elements)
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        let mut decoded = vec![f32::NAN; expected.len()];
        decode(dtype, &bytes(block), &mut decoded).expect("a whole block");
        let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (place, (decoded, expected)) in decoded.iter().zip(&expected).enumerate() {
            assert!(
                (decoded - expected).abs() <= 1e-6 * largest,
                "{name} element {place}: {decoded}, not {expected}"
            );
        }
        seen.push(dtype);
    }
    seen.dedup();
    let quantised = DType::all().filter(|dtype| dtype.block_elements() > 1);
    assert_eq!(seen, quantised.collect::<Vec<_>>(), "every type was seen");
}

#[test]
fn numbers_of_other_lengths_are_refused() {
    let mut out = [0.0; 32];
    assert!(decode(DType::Blocks(BlockType::Q8_0), &[0; 33], &mut out).is_err());
    assert!(decode(DType::F32, &[0; 127], &mut out).is_err());
    decode(DType::BF16, &[0x80, 0x3f].repeat(32), &mut out).expect("32 elements");
    assert_eq!(out, [1.0; 32]);
}

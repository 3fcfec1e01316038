use super::*;

#[test]
fn the_error_function_is_that_of_the_tables() {
    let table: [(f32, f64); 8] = [
        (0.0, 0.0),
        (0.1, 0.112_462_916),
        (0.5, 0.520_499_88),
        (1.0, 0.842_700_79),
        (2.0, 0.995_322_27),
        (3.5, 0.999_999_26),
        (9.0, 1.0),
        (f32::INFINITY, 1.0),
    ];
    for (x, expected) in table {
        assert!((f64::from(error_function(x)) - expected).abs() < 1e-6, "{x}");
        assert!((f64::from(error_function(-x)) + expected).abs() < 1e-6, "{x}");
    }
    assert!(error_function(f32::NAN).is_nan());
}

#[test]
fn norms_have_mean_0_and_variance_1() {
    let norm = Norm {
        weights: vec![1.0; 4],
        bias: vec![0.0; 4],
        epsilon: 1e-12,
    };
    // The second row is far from 0, where sums of squares would lose it.
    let mut x = [1.0, 2.0, 3.0, 4.0, 1e6 + 1.0, 1e6 + 2.0, 1e6 + 3.0, 1e6 + 4.0];
    norm.apply(&mut x);
    let expected = [-1.341_640_8, -0.447_213_6, 0.447_213_6, 1.341_640_8];
    for (x, expected) in x.iter().zip(expected.iter().cycle()) {
        assert!((x - expected).abs() < 1e-6, "{x}, not {expected}");
    }
    let mut same = [5.0; 4];
    norm.apply(&mut same);
    assert_eq!(same, [0.0; 4]);
}

#[test]
fn rows_are_brought_beside_each_other() {
    let numbers: Vec<f32> = (0..12u8).map(f32::from).collect();
    assert_eq!(
        by_head(&numbers, 2, 2),
        [0.0, 1.0, 4.0, 5.0, 8.0, 9.0, 2.0, 3.0, 6.0, 7.0, 10.0, 11.0]
    );
    assert_eq!(
        transposed(&numbers, 4),
        [0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0]
    );
}

#[test]
fn a_vector_gets_length_1_unless_it_has_none() {
    let mut vector = [3.0, 4.0];
    normalize(&mut vector);
    assert_eq!(vector, [0.6, 0.8]);
    let mut zero = [0.0; 3];
    normalize(&mut zero);
    assert_eq!(zero, [0.0; 3]);
}

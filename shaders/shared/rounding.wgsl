// x in whole numbers: 32 elements at a time are rounded to multiples of a 32,512th of the largest of them, two signed bytes each.
// A product with quantised weights is then a sum of whole numbers, exact, eight of them to a handful of instructions.

// What becomes of a quad, and of the unit that it belongs to: its scale, and the sum of the half that the quad is in.
struct Rounded {
    upper: u32,
    lower: u32,
    scale: f32,
    sum: f32,
}

// Eight neighbouring invocations hold the quads of a unit.
fn rounded(some: vec4<f32>, invocation: u32) -> Rounded {
    let each = max(max(abs(some.x), abs(some.y)), max(abs(some.z), abs(some.w)));
    let largest = fold_max(each, 8u, invocation);
    let inverse = select(0.0, 32512.0 / largest, largest > 1e-30);
    let whole = vec4<i32>(round(some * inverse));
    let upper = (whole + vec4<i32>(128)) >> vec4<u32>(8u);
    let sum = fold_sum(f32(whole.x + whole.y + whole.z + whole.w), 4u, invocation);
    return Rounded(pack4xI8(upper), pack4xI8(whole - upper * 256), largest / 32512.0, sum);
}

// Quantises each row to 1-bit codes: bit i is x_i > 0.
//
// Shapes: rows [params.rows, params.quads] quads, codes [params.rows, params.words] words. Element i is bit i mod 32 of
//   word i / 32. params.words * 8 >= params.quads; bits beyond the quads are 0.
// Dispatch: any number of workgroups of WG invocations; they stride over the words of all rows.
// Numeric: zeros and NaN give 0, and so may subnormals.
// Twin: engine/compute/src/reference/quantize_bits.rs.

// @import rows

override WG: u32 = 64u;

struct Params {
    rows: u32,
    quads: u32,
    words: u32,
}
// @params

@group(0) @binding(0) var<storage, read> rows: array<Quad>;
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;

const WORD_QUADS: u32 = 8u;

fn quad_bits(x: vec4<f32>) -> u32 {
    let bits = select(vec4<u32>(0u), vec4<u32>(1u, 2u, 4u, 8u), x > vec4<f32>(0.0));
    return (bits.x | bits.y) | (bits.z | bits.w);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let words = params.rows * params.words;
    for (var word = invocation.x; word < words; word += workgroups.x * WG) {
        let first_row_quad = word / params.words * params.quads;
        let first = word % params.words * WORD_QUADS;
        var code = 0u;
        for (var i = 0u; i < WORD_QUADS; i++) {
            if (first + i < params.quads) {
                code |= quad_bits(quad_elements(rows[first_row_quad + first + i])) << (4u * i);
            }
        }
        codes[word] = code;
    }
}

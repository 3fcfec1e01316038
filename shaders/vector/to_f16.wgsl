// Converts f32 rows to f16, each row scaled by a power of two so that nothing overflows; needs subgroups.
//
// Shapes: source [params.rows, params.source_quads] vec4, target [params.rows, params.quads] pairs of packed f16 with
//   params.quads >= params.source_quads (further elements are zero), factors [params.rows].
//   source[r, i] = target[r, i] * factors[r] up to the rounding to f16.
// Dispatch: any number of workgroups of WG, a multiple of the subgroup size; a subgroup takes a row, and they stride over the rows.
// Numeric: the largest magnitude of a row is brought into [2^14, 2^15), where f16 ends at 65,504, so elements down to
//   2^-28 of it keep full precision. Scaling is exact. NaN stays NaN; a row that holds an infinity is not scaled.
// Twin: engine/compute/src/reference/to_f16.rs.

override WG: u32 = 256u;

struct Params {
    rows: u32,
    source_quads: u32,
    quads: u32,
}
// @params

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> target_rows: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> factors: array<f32>;

// Quads a lane keeps in registers between the two passes over a row; longer rows are read twice.
const HELD: u32 = 8u;

fn magnitude_bits(quad: vec4<f32>) -> u32 {
    let bits = bitcast<vec4<u32>>(quad) & vec4<u32>(0x7fffffffu);
    // NaN has no magnitude to scale by.
    let known = select(bits, vec4<u32>(0u), bits > vec4<u32>(0x7f800000u));
    return max(max(known.x, known.y), max(known.z, known.w));
}

fn load(row: u32, quad: u32) -> vec4<f32> {
    if (row < params.rows && quad < params.source_quads) {
        return source[row * params.source_quads + quad];
    }
    return vec4<f32>(0.0);
}

// The biased exponent of the factor that brings magnitude `bits` into [2^14, 2^15), kept where both it and its inverse
// are normal.
fn scale_exponent(bits: u32) -> u32 {
    if (bits == 0x7f800000u) {
        return 127u;
    }
    return u32(clamp(127 + 14 + 127 - i32(bits >> 23u), 1, 253));
}

fn store(row: u32, quad: u32, scaled: vec4<f32>) {
    if (row < params.rows && quad < params.quads) {
        target_rows[row * params.quads + quad] = vec2<u32>(pack2x16float(scaled.xy), pack2x16float(scaled.zw));
    }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) lanes: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let per_workgroup = WG / lanes;
    for (var base = workgroup.x * per_workgroup; base < params.rows; base += workgroups.x * per_workgroup) {
        let row = base + subgroup;
        var held: array<vec4<f32>, HELD>;
        var largest = 0u;
        for (var i = 0u; i < HELD; i++) {
            held[i] = load(row, i * lanes + lane);
        }
        for (var i = 0u; i < HELD; i++) {
            largest = max(largest, magnitude_bits(held[i]));
        }
        for (var quad = HELD * lanes + lane; quad < params.source_quads; quad += lanes) {
            largest = max(largest, magnitude_bits(load(row, quad)));
        }
        let exponent = scale_exponent(subgroupMax(largest));
        let scale = bitcast<f32>(exponent << 23u);
        for (var i = 0u; i < HELD; i++) {
            store(row, i * lanes + lane, held[i] * scale);
        }
        for (var quad = HELD * lanes + lane; quad < params.quads; quad += lanes) {
            store(row, quad, load(row, quad) * scale);
        }
        if (lane == 0u && row < params.rows) {
            factors[row] = bitcast<f32>((254u - exponent) << 23u);
        }
    }
}

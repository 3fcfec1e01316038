// Quantises each row to int8 codes with one scale: codes[row][i] = round(x_i * 127 / max), scales[row] = max / 127,
// where max is the row's largest magnitude.
//
// Shapes: rows [params.rows, params.quads] quads, codes [params.rows, params.words] words of four codes, the first in
//   the lowest byte, scales [params.rows] (bits of f32). params.words >= params.quads; codes beyond the quads are 0.
// Dispatch: any number of workgroups of WG invocations; they stride over the rows. LANES (a power of two that
//   divides WG) invocations share a row: consecutive lanes access consecutive quads and words.
// Numeric: f32; ties go to even, codes lie in -127..127. A row below 2^-119 counts as zero: scale 0, codes 0. A row
//   that holds NaN or infinity gets scale NaN, codes 0. A device whose division is not correctly rounded (Vulkan allows
//   2.5 ulp) may differ by as much in the scale, and by one in a code near a tie.
// Twin: engine/compute/src/reference/quantize_int8.rs.

// @import rows
// @import sum

override WG: u32 = 64u;
override LANES: u32 = 8u;

struct Params {
    rows: u32,
    quads: u32,
    words: u32,
}
// @params

@group(0) @binding(0) var<storage, read> rows: array<Quad>;
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;

// Magnitudes are compared by their bits, which puts NaN above all numbers where max() of f32 may drop it.
const INFINITE: u32 = 0x7f800000u;
const NAN: u32 = 0x7fc00000u;
// 2^-119: neither scale nor inverse of anything above is subnormal or infinite.
// 2^100.
const SHRUNK_BEYOND: u32 = 0x71800000u;
const NORMAL_MIN: u32 = 0x04000000u;

fn row_max(row: u32, lane: u32) -> u32 {
    var most = vec4<u32>(0u);
    let first = row * params.quads;
    for (var quad = lane; quad < params.quads; quad += LANES) {
        most = max(most, bitcast<vec4<u32>>(quad_elements(rows[first + quad])) & vec4<u32>(0x7fffffffu));
    }
    return max(max(most.x, most.y), max(most.z, most.w));
}

fn packed(x: vec4<f32>, inverse: f32) -> u32 {
    return pack4xI8(vec4<i32>(clamp(round(x * inverse), vec4<f32>(-127.0), vec4<f32>(127.0))));
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let lane = invocation % LANES;
    let rows_per_workgroup = WG / LANES;
    let stride = workgroups.x * rows_per_workgroup;
    for (var base = workgroup.x * rows_per_workgroup; base < params.rows; base += stride) {
        let row = base + invocation / LANES;
        var most = 0u;
        if (row < params.rows) {
            most = row_max(row, lane);
        }
        most = lanes_max_u32(most, invocation);
        if (row < params.rows) {
            let is_finite = most < INFINITE;
            let has_codes = is_finite && most >= NORMAL_MIN;
            let largest = select(1.0, bitcast<f32>(most), has_codes);
            // A GPU divides by way of the reciprocal, which would be subnormal, and 0, for the largest numbers. So the
            // largest and the elements shrink alike, by a power of two.
            let shrink = select(1.0, 0x1p-64f, most > SHRUNK_BEYOND);
            let inverse = 127.0 / (largest * shrink);
            for (var word = lane; word < params.words; word += LANES) {
                var code = 0u;
                if (has_codes && word < params.quads) {
                    code = packed(quad_elements(rows[row * params.quads + word]) * shrink, inverse);
                }
                codes[row * params.words + word] = code;
            }
            if (lane == 0u) {
                let scale = select(0u, bitcast<u32>(largest / 127.0), has_codes);
                scales[row] = select(NAN, scale, is_finite);
            }
        }
    }
}

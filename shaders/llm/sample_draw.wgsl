// Draws a token for each row among its likeliest, by their probabilities at a temperature.
//
// Shapes: candidates [params.rows, params.n] pairs (key, token), params.n at most 4,096, as sample_candidates wrote them;
//   choices [params.rows] (k, 1 / temperature, random number in [0, 1), 0), the floats as their bits, k at most 64;
//   tokens [params.rows].
// Dispatch: any number of workgroups of 256; a workgroup takes a row, and they stride over the rows.
// Numeric: f32, the likeliest first. Where no token has a probability the token is 0xffffffff.
// Twin: engine/compute/src/reference/sample.rs.

struct Params {
    rows: u32,
    n: u32,
}
// @params

// @import sort_key

@group(0) @binding(0) var<storage, read> candidates: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> choices: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;

// @import few

const K_MAX: u32 = 64u;

var<workgroup> wanted: vec4<u32>;

fn load_entry(row: u32, at: u32) -> vec2<u32> {
    if (at >= params.n) {
        return vec2<u32>(NONE, NONE);
    }
    return candidates[row * params.n + at];
}

fn logit(at: u32) -> f32 {
    return bitcast<f32>(float_of_key(entries[at].x) ^ 0x80000000u);
}

// By one invocation: the candidates are few, and the order of the sum has to be theirs.
fn draw(k: u32, inverse_temperature: f32, random: f32) -> u32 {
    let largest = logit(0u) * inverse_temperature;
    var sum = 0.0;
    for (var at = 0u; at < k && entries[at].y != NONE; at++) {
        sum += exp(logit(at) * inverse_temperature - largest);
    }
    var left = random;
    for (var at = 0u; at < k && entries[at].y != NONE; at++) {
        left -= exp(logit(at) * inverse_temperature - largest) / sum;
        if (left < 0.0) {
            return entries[at].y;
        }
    }
    return entries[0].y;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) invocation: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var row = workgroup.x; row < params.rows; row += workgroups.x) {
        if (invocation == 0u) {
            wanted = choices[row];
        }
        let choice = workgroupUniformLoad(&wanted);
        let k = clamp(choice.x, 1u, K_MAX);
        select_block(invocation, row, k);
        if (invocation == 0u) {
            tokens[row] = draw(k, bitcast<f32>(choice.y), bitcast<f32>(choice.z));
        }
        workgroupBarrier();
    }
}

// What the kernels for one row of x have in common: x as invocations load it, and its norm. The kernel declares the parameters,
// FOLD, how many invocations add up together, and CHUNK, how many units of x are in workgroup memory at a time: as many as leave
// an NVIDIA multiprocessor room for five workgroups, for which its driver has 48 KiB.

const WG: u32 = 256u;
// Quads of x for each invocation.
const HELD: u32 = CHUNK * 8u / WG;

const NORM: u32 = 4u;

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> norm: array<vec4<f32>>;

// FOLD is at least 8.
var<workgroup> squares: array<f32, WG / 8u>;

// An invocation's quads from unit `first` on; zeros behind the end.
fn load_inputs(invocation: u32, first: u32) -> array<vec4<f32>, HELD> {
    var held: array<vec4<f32>, HELD>;
    for (var turn = 0u; turn < HELD; turn++) {
        let quad = first * 8u + turn * WG + invocation;
        if (quad < params.units * 8u) {
            held[turn] = x[params.row_first * params.units * 8u + quad];
        }
    }
    return held;
}

// The same times the norm's weights, if there is a norm.
fn weighted(invocation: u32, first: u32, given: array<vec4<f32>, HELD>) -> array<vec4<f32>, HELD> {
    var held = given;
    if ((params.mode & NORM) != 0u) {
        for (var turn = 0u; turn < HELD; turn++) {
            let quad = first * 8u + turn * WG + invocation;
            held[turn] *= norm[min(quad, params.units * 8u - 1u)];
        }
    }
    return held;
}

// What the row is multiplied with to have a mean square of 1; `given` are the quads from unit 0 on.
fn norm_scale(invocation: u32, given: array<vec4<f32>, HELD>) -> f32 {
    var held = given;
    var square = vec4<f32>(0.0);
    for (var turn = 0u; turn < HELD; turn++) {
        square = fma(held[turn], held[turn], square);
    }
    for (var quad = HELD * WG + invocation; quad < params.units * 8u; quad += WG) {
        let some = x[params.row_first * params.units * 8u + quad];
        square = fma(some, some, square);
    }
    let sum = fold_sum((square.x + square.y) + (square.z + square.w), FOLD, invocation);
    if (invocation % FOLD == 0u) {
        squares[invocation / FOLD] = sum;
    }
    workgroupBarrier();
    var whole = 0.0;
    for (var part = 0u; part < WG / FOLD; part++) {
        whole += squares[part];
    }
    return inverseSqrt(whole / f32(params.units * 32u) + params.epsilon);
}

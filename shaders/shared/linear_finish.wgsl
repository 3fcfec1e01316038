// What becomes of a sum of a linear layer. params.mode: 0 writes it, 1 adds it, 2 writes SiLU(sum) * next for even outputs, 3
// writes SiLU(what was there) * sum; with BIAS it has its bias added before.

const BIAS: u32 = 8u;

@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn silu(gate: f32) -> f32 {
    return gate / (1.0 + exp(-gate));
}

// Takes the sums of four outputs from an even one on.
fn finish_four(row: u32, output: u32, sums: vec4<f32>) {
    finish(row, output, sums.x, sums.y);
    finish(row, output + 1u, sums.y, 0.0);
    finish(row, output + 2u, sums.z, sums.w);
    finish(row, output + 3u, sums.w, 0.0);
}

// Takes the sum of output `output` for row `row` of x, and that of the output behind it.
fn finish(row: u32, output: u32, given: f32, next: f32) {
    if (output >= params.outputs) {
        return;
    }
    let kind = params.mode & 3u;
    let column = params.first + output;
    let start = row * params.stride;
    if (kind == 2u) {
        if (output % 2u == 0u) {
            out[start + column / 2u] = silu(given) * next;
        }
        return;
    }
    var sum = given;
    if ((params.mode & BIAS) != 0u) {
        sum += bias[column];
    }
    let at = start + column;
    if (kind == 1u) {
        sum += out[at];
    } else if (kind == 3u) {
        sum *= silu(out[at]);
    }
    out[at] = sum;
}

// A matrix of weights as weights/format.rs lays it out: units of 32 elements of a row.
//
// A quantised weight is scale * (number - OFFSET) + shift. Numbers of 4, 5 and 6 bits are stored as their lower halves,
// one quad a unit, and their upper bits, one or two words a unit from params.high_at on; numbers of 8 bits are signed, two
// quads a unit. So a word of four bytes, elements 4 j to 4 j + 3 of a unit, takes few instructions. Scale and shift are
// made of what the type has, from params.factors_at and params.supers_at on: see FACTORS. BITS of 16 are f16, of 17
// bf16, of 32 f32, which have no factors; a unit is four quads, or eight.

override BITS: u32 = 4u;
// 0: an f16 scale a unit. 1: an f16 scale and an f16 shift a unit. For every eight units an f16 scale and an f16 shift:
// 2: times two bytes a unit; 3: times two signed bytes a unit, the scales of its halves; 4: times four bytes a unit, scale
// and shift of either half.
override FACTORS: u32 = 0u;
override OFFSET: i32 = 8;

@group(0) @binding(0) var<storage, read> quads: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> words: array<u32>;

// What is stored of the numbers of a unit.
struct Unit {
    lower: vec4<u32>,
    more: vec4<u32>,
    upper: vec2<u32>,
}

// Scales and shifts of both halves.
struct Factors {
    scales: vec2<f32>,
    shifts: vec2<f32>,
}

// The unit at `at`, counted over all rows.
fn load_unit(at: u32) -> Unit {
    var unit: Unit;
    if (BITS == 8u) {
        unit.lower = quads[2u * at];
        unit.more = quads[2u * at + 1u];
    } else {
        unit.lower = quads[at];
    }
    if (BITS == 5u) {
        unit.upper.x = words[params.high_at + at];
    } else if (BITS == 6u) {
        unit.upper = vec2<u32>(words[params.high_at + 2u * at], words[params.high_at + 2u * at + 1u]);
    }
    return unit;
}

// Numbers 4 j to 4 j + 3, a byte each.
fn bytes_of(unit: Unit, j: u32) -> u32 {
    if (BITS == 8u) {
        return select(unit.more[j % 4u], unit.lower[j % 4u], j < 4u);
    }
    let lower = (unit.lower[j / 2u] >> (j % 2u * 4u)) & 0x0f0f0f0fu;
    if (BITS == 5u) {
        return lower | ((unit.upper.x >> j) & 0x01010101u) << 4u;
    } else if (BITS == 6u) {
        return lower | ((unit.upper[j / 4u] >> (j % 4u * 2u)) & 0x03030303u) << 4u;
    }
    return lower;
}

fn half_word(at: u32) -> u32 {
    return extractBits(words[params.factors_at + at / 2u], at % 2u * 16u, 16u);
}

fn factors_of(at: u32) -> Factors {
    if (FACTORS == 0u) {
        return Factors(vec2<f32>(unpack2x16float(half_word(at)).x), vec2<f32>(0.0));
    }
    if (FACTORS == 1u) {
        let pair = unpack2x16float(words[params.factors_at + at]);
        return Factors(vec2<f32>(pair.x), vec2<f32>(pair.y));
    }
    let of_all = unpack2x16float(words[params.supers_at + at / 8u]);
    if (FACTORS == 2u) {
        let bytes = vec4<f32>(unpack4xU8(half_word(at)));
        return Factors(vec2<f32>(of_all.x * bytes.x), vec2<f32>(of_all.y * bytes.y));
    }
    if (FACTORS == 3u) {
        let bytes = vec4<f32>(unpack4xI8(half_word(at)));
        return Factors(of_all.x * bytes.xy, vec2<f32>(0.0));
    }
    let bytes = vec4<f32>(unpack4xU8(words[params.factors_at + at]));
    return Factors(of_all.x * bytes.xz, of_all.y * bytes.yw);
}

// Weights 8 o to 8 o + 7 of a unit, for any type.
struct Octet {
    first: vec4<f32>,
    second: vec4<f32>,
}

fn octet_of(at: u32, o: u32) -> Octet {
    if (BITS == 32u) {
        return Octet(bitcast<vec4<f32>>(quads[8u * at + 2u * o]), bitcast<vec4<f32>>(quads[8u * at + 2u * o + 1u]));
    }
    if (BITS == 16u || BITS == 17u) {
        return floats_of(quads[4u * at + o]);
    }
    let unit = load_unit(at);
    let factors = factors_of(at);
    let scale = select(factors.scales.y, factors.scales.x, o < 2u);
    let shift = select(factors.shifts.y, factors.shifts.x, o < 2u);
    return Octet(
        fma(vec4<f32>(scale), numbers_of(bytes_of(unit, 2u * o)), vec4<f32>(shift)),
        fma(vec4<f32>(scale), numbers_of(bytes_of(unit, 2u * o + 1u)), vec4<f32>(shift)),
    );
}

fn numbers_of(bytes: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(bytes) - vec4<i32>(OFFSET));
}

// Eight f16 or bf16.
fn floats_of(quad: vec4<u32>) -> Octet {
    if (BITS == 16u) {
        return Octet(
            vec4<f32>(unpack2x16float(quad.x), unpack2x16float(quad.y)),
            vec4<f32>(unpack2x16float(quad.z), unpack2x16float(quad.w)),
        );
    }
    let low = bitcast<vec4<f32>>(quad << vec4<u32>(16u));
    let high = bitcast<vec4<f32>>(quad & vec4<u32>(0xffff0000u));
    return Octet(vec4<f32>(low.x, high.x, low.y, high.y), vec4<f32>(low.z, high.z, low.w, high.w));
}

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

// What is stored of a unit, as it is stored: nothing waits for it before it is used.
struct Unit {
    lower: vec4<u32>,
    more: vec4<u32>,
    upper: vec2<u32>,
    factors: u32,
    supers: u32,
}

// The numbers of a unit as signed bytes, four elements a word.
struct Numbers {
    first: vec4<u32>,
    second: vec4<u32>,
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
    load_factors(&unit, at);
    return unit;
}

fn load_factors(unit: ptr<function, Unit>, at: u32) {
    if (FACTORS == 1u || FACTORS == 4u) {
        (*unit).factors = words[params.factors_at + at];
    } else {
        (*unit).factors = words[params.factors_at + at / 2u];
    }
    if (FACTORS >= 2u) {
        (*unit).supers = words[params.supers_at + at / 8u];
    }
}

fn numbers_of(unit: Unit) -> Numbers {
    if (BITS == 8u) {
        return Numbers(unit.lower, unit.more);
    }
    let even = unit.lower & vec4<u32>(0x0f0f0f0fu);
    let odd = (unit.lower >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
    var first = vec4<u32>(even.x, odd.x, even.y, odd.y);
    var second = vec4<u32>(even.z, odd.z, even.w, odd.w);
    if (BITS == 5u) {
        let bits = vec4<u32>(unit.upper.x);
        first |= ((bits >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(0x01010101u)) << vec4<u32>(4u);
        second |= ((bits >> vec4<u32>(4u, 5u, 6u, 7u)) & vec4<u32>(0x01010101u)) << vec4<u32>(4u);
    } else if (BITS == 6u) {
        let places = vec4<u32>(0u, 2u, 4u, 6u);
        first |= ((vec4<u32>(unit.upper.x) >> places) & vec4<u32>(0x03030303u)) << vec4<u32>(4u);
        second |= ((vec4<u32>(unit.upper.y) >> places) & vec4<u32>(0x03030303u)) << vec4<u32>(4u);
    }
    return Numbers(first, second);
}

fn factors_of(unit: Unit, at: u32) -> Factors {
    let half = extractBits(unit.factors, at % 2u * 16u, 16u);
    if (FACTORS == 0u) {
        return Factors(vec2<f32>(unpack2x16float(half).x), vec2<f32>(0.0));
    }
    if (FACTORS == 1u) {
        let pair = unpack2x16float(unit.factors);
        return Factors(vec2<f32>(pair.x), vec2<f32>(pair.y));
    }
    let of_all = unpack2x16float(unit.supers);
    if (FACTORS == 2u) {
        let bytes = vec4<f32>(unpack4xU8(half));
        return Factors(vec2<f32>(of_all.x * bytes.x), vec2<f32>(of_all.y * bytes.y));
    }
    if (FACTORS == 3u) {
        let bytes = vec4<f32>(unpack4xI8(half));
        return Factors(of_all.x * bytes.xy, vec2<f32>(0.0));
    }
    let bytes = vec4<f32>(unpack4xU8(unit.factors));
    return Factors(of_all.x * bytes.xz, of_all.y * bytes.yw);
}

// Weights 4 j to 4 j + 3 of the unit at `at`, of any type, from the words that hold them.
fn weights_of(at: u32, j: u32) -> vec4<f32> {
    if (BITS == 32u) {
        return bitcast<vec4<f32>>(quads[8u * at + j]);
    }
    if (BITS > 8u) {
        return floats_of(words[16u * at + 2u * j], words[16u * at + 2u * j + 1u]);
    }
    var unit: Unit;
    load_factors(&unit, at);
    let factors = factors_of(unit, at);
    let scale = select(factors.scales.y, factors.scales.x, j < 4u);
    let shift = select(factors.shifts.y, factors.shifts.x, j < 4u);
    let numbers = vec4<f32>(unpack4xI8(bytes_at(at, j)) - vec4<i32>(OFFSET));
    return fma(vec4<f32>(scale), numbers, vec4<f32>(shift));
}

// The same four numbers as bytes.
fn bytes_at(at: u32, j: u32) -> u32 {
    if (BITS == 8u) {
        return words[8u * at + j];
    }
    let lower = (words[4u * at + j / 2u] >> (j % 2u * 4u)) & 0x0f0f0f0fu;
    if (BITS == 5u) {
        return lower | ((words[params.high_at + at] >> j) & 0x01010101u) << 4u;
    } else if (BITS == 6u) {
        return lower | ((words[params.high_at + 2u * at + j / 4u] >> (j % 4u * 2u)) & 0x03030303u) << 4u;
    }
    return lower;
}

// Four f16 or bf16.
fn floats_of(low: u32, high: u32) -> vec4<f32> {
    if (BITS == 16u) {
        return vec4<f32>(unpack2x16float(low), unpack2x16float(high));
    }
    let pair = vec2<u32>(low, high);
    let even = bitcast<vec2<f32>>(pair << vec2<u32>(16u));
    let odd = bitcast<vec2<f32>>(pair & vec2<u32>(0xffff0000u));
    return vec4<f32>(even.x, odd.x, even.y, odd.y);
}

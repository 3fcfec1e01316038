// The order of sort keys: u32 as they are, f32 mapped to u32 that compare alike, NaN last.
// All on bits, so that subnormals keep their order on devices that flush them. -0.0 becomes 0.0 and every NaN the same
// one: that is what comes back out.

const KEY_FLOAT: u32 = 1u;

fn key_of_float(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return 0xffffffffu;
    }
    if (magnitude == 0u) {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

fn float_of_key(key: u32) -> u32 {
    if (key == 0xffffffffu) {
        return 0x7fc00000u;
    }
    return select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u);
}

fn key_in(bits: u32, kind: u32, limit: u32) -> u32 {
    if (kind == KEY_FLOAT) {
        return key_of_float(bits);
    }
    return min(bits, limit);
}

fn key_out(key: u32, kind: u32) -> u32 {
    if (kind == KEY_FLOAT) {
        return float_of_key(key);
    }
    return key;
}

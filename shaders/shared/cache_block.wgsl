// Where a position of a sequence lies in a layer's cache of keys and values.
// The kernel binds `tables` [sequences, params.blocks_max], the blocks of each sequence in order, and `cache`
// [params.blocks, 2, params.kv_heads, 16, OCTETS], eight f16 to an element: keys, then values.

const BLOCK_TOKENS: u32 = 16u;
const F16_MOST: f32 = 65504.0;

// The first element of a position's key in a head; its value lies `value_offset()` further. A table that names a block which
// is not there reads block 0: the host checks tables, and this keeps what it missed inside the cache.
fn cache_start(sequence: u32, position: u32, kv_head: u32) -> u32 {
    let entry = min(sequence * params.blocks_max + position / BLOCK_TOKENS, arrayLength(&tables) - 1u);
    let named = tables[entry];
    let block = select(0u, named, named < params.blocks);
    return ((block * 2u * params.kv_heads + kv_head) * BLOCK_TOKENS + position % BLOCK_TOKENS) * OCTETS;
}

fn value_offset() -> u32 {
    return params.kv_heads * BLOCK_TOKENS * OCTETS;
}

fn low_quad(octet: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(octet.x), unpack2x16float(octet.y));
}

fn high_quad(octet: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(octet.z), unpack2x16float(octet.w));
}

// What f16 cannot hold becomes its largest number: beyond that the conversion is not defined.
fn packed_octet(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
    let a = clamp(low, vec4<f32>(-F16_MOST), vec4<f32>(F16_MOST));
    let b = clamp(high, vec4<f32>(-F16_MOST), vec4<f32>(F16_MOST));
    return vec4<u32>(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
}

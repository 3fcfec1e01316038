// Stores eight numbers of a row's key or value in the cache: keys turned, values as they are.
// The kernel provides what turned and cache_block want, and HEAD; rows_in holds the row's queries, keys and values.

fn plain_quad(at: u32) -> vec4<f32> {
    return vec4<f32>(rows_in[at], rows_in[at + 1u], rows_in[at + 2u], rows_in[at + 3u]);
}

fn row_numbers() -> u32 {
    return (params.heads + 2u * params.kv_heads) * HEAD;
}

// `here`: the row's sequence and position.
fn store_octet(row: u32, here: vec2<u32>, kv_head: u32, octet: u32, is_value: bool) {
    let head_start = row * row_numbers() + (params.heads + kv_head) * HEAD;
    let start = cache_start(here.x, here.y, kv_head) + octet;
    if (is_value) {
        let at = head_start + params.kv_heads * HEAD + 8u * octet;
        cache[start + value_offset()] = packed_octet(plain_quad(at), plain_quad(at + 4u));
    } else {
        let low = turned_quad(head_start, 8u * octet, here.y);
        cache[start] = packed_octet(low, turned_quad(head_start, 8u * octet + 4u, here.y));
    }
}

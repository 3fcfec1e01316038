// A slab of f16 lines, on its way to the tiles of cooperative_tile.wgsl.

// What an invocation loads of a slab: octet invocation % DEPTH of lines line_of(invocation) + l * LOAD_LINES.
struct Slab {
    a: array<vec4<u32>, LOADS>,
    b: array<vec4<u32>, LOADS>,
}

fn store_slab(invocation: u32, slab: Slab) {
    var held = slab;
    for (var l = 0u; l < LOADS; l++) {
        let at = (line_of(invocation) + l * LOAD_LINES) * LINE + 2u * (invocation % DEPTH);
        tile_a[at] = quad_of(held.a[l].x, held.a[l].y);
        tile_a[at + 1u] = quad_of(held.a[l].z, held.a[l].w);
        tile_b[at] = quad_of(held.b[l].x, held.b[l].y);
        tile_b[at + 1u] = quad_of(held.b[l].z, held.b[l].w);
    }
}

// A tile of 128 x 128 sums of products of f16, on matrix units: four subgroups of 32, each with 64 x 64 of the tile.
//
// The kernel provides load_slab(places: Places, octet: u32) -> Slab, which reads `octet` of each line, or zeros beyond
// the end of k; multiply_lines then computes the sums of a subgroup. A Slab is what lies in memory: cooperative_slab has one
// of f16, or the kernel has one of its own, with store_slab(invocation: u32, slab: Slab), which brings it into the tiles.

const WG: u32 = 128u;
const TILE: u32 = 128u; // rows and columns of a workgroup
const SIDE: u32 = 64u; // rows and columns of a subgroup
const DEPTH: u32 = 4u; // octets (eight elements, 16 bytes) of k in a slab
const LOADS: u32 = TILE * DEPTH / WG;
const LOAD_LINES: u32 = WG / DEPTH;
// A line of the slab in quads, padded so that eight lines fall into different banks.
const LINE: u32 = 2u * DEPTH + 2u;

// 20 KiB. NVIDIA's driver keeps two workgroups on a multiprocessor up to 24 KiB each, and above only one.
var<workgroup> tile_a: array<vec4<f16>, TILE * LINE>;
var<workgroup> tile_b: array<vec4<f16>, TILE * LINE>;

// Where the lines of an invocation begin, in octets.
struct Places {
    a: array<u32, LOADS>,
    b: array<u32, LOADS>,
}

// Sums of 16 rows and the 64 columns of a subgroup. Members rather than an array, which would go to memory.
struct Sums {
    c0: coop_mat16x16<f32, C>,
    c1: coop_mat16x16<f32, C>,
    c2: coop_mat16x16<f32, C>,
    c3: coop_mat16x16<f32, C>,
}

// The 64 rows of a subgroup.
struct Tile {
    s0: Sums,
    s1: Sums,
    s2: Sums,
    s3: Sums,
}

// Neighbours take lines four apart, whose stores meet in no bank.
fn line_of(invocation: u32) -> u32 {
    let turn = invocation / DEPTH;
    return turn / 8u * 8u + turn % 2u * 4u + turn / 2u % 4u;
}

// The same bits as f16; the driver sees that nothing needs to be converted.
fn quad_of(low: u32, high: u32) -> vec4<f16> {
    return vec4<f16>(vec4<f32>(unpack2x16float(low), unpack2x16float(high)));
}

fn multiply_row(
    x: coop_mat16x16<f16, A>,
    y0: coop_mat16x16<f16, B>,
    y1: coop_mat16x16<f16, B>,
    y2: coop_mat16x16<f16, B>,
    y3: coop_mat16x16<f16, B>,
    s: Sums,
) -> Sums {
    return Sums(
        coopMultiplyAdd(x, y0, s.c0),
        coopMultiplyAdd(x, y1, s.c1),
        coopMultiplyAdd(x, y2, s.c2),
        coopMultiplyAdd(x, y3, s.c3),
    );
}

// Adds the products of 16 elements of k, whose first quads in tile_a and tile_b are x and y.
fn multiply_step(x: u32, y: u32, t: Tile) -> Tile {
    let x0 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[x], LINE);
    let x1 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[x + 16u * LINE], LINE);
    let x2 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[x + 32u * LINE], LINE);
    let x3 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[x + 48u * LINE], LINE);
    let y0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[y], LINE);
    let y1 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[y + 16u * LINE], LINE);
    let y2 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[y + 32u * LINE], LINE);
    let y3 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[y + 48u * LINE], LINE);
    return Tile(
        multiply_row(x0, y0, y1, y2, y3, t.s0),
        multiply_row(x1, y0, y1, y2, y3, t.s1),
        multiply_row(x2, y0, y1, y2, y3, t.s2),
        multiply_row(x3, y0, y1, y2, y3, t.s3),
    );
}

// Adds the products of the slab in workgroup memory, for a subgroup's 64 rows from `row` and columns from `column`.
fn multiply_slab(row: u32, column: u32, t: Tile) -> Tile {
    let half = multiply_step(row * LINE, column * LINE, t);
    return multiply_step(row * LINE + 4u, column * LINE + 4u, half);
}

// Multiplies one slab while the next one, at `octet` of each line, is on its way.
fn advance(invocation: u32, places: Places, octet: u32, row: u32, column: u32, t: Tile) -> Tile {
    let slab = load_slab(places, octet);
    let sums = multiply_slab(row, column, t);
    workgroupBarrier();
    store_slab(invocation, slab);
    workgroupBarrier();
    return sums;
}

// Multiplies lines of `octets` octets, for a subgroup's 64 rows from `row` and columns from `column` of the tile.
fn multiply_lines(invocation: u32, places: Places, octets: u32, row: u32, column: u32) -> Tile {
    let depth = invocation % DEPTH;
    var t = Tile();
    let slab = load_slab(places, depth);
    workgroupBarrier();
    store_slab(invocation, slab);
    workgroupBarrier();
    // Two slabs a turn are faster: more to overlap.
    var base = DEPTH;
    for (; base + DEPTH < octets; base += 2u * DEPTH) {
        t = advance(invocation, places, base + depth, row, column, t);
        t = advance(invocation, places, base + DEPTH + depth, row, column, t);
    }
    if (base < octets) {
        t = advance(invocation, places, base + depth, row, column, t);
    }
    return multiply_slab(row, column, t);
}

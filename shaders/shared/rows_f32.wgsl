// Rows of f32 codes: one quad is four consecutive elements of a row, 16 bytes.
// Rows are padded with zeros to whole quads, so a zero-padded query leaves every score unchanged.

alias Quad = vec4<u32>;

fn quad_elements(quad: Quad) -> vec4<f32> {
    return bitcast<vec4<f32>>(quad);
}

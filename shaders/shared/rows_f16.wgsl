// Rows of f16 codes: one quad is four consecutive elements of a row, 8 bytes.
// Unpacked through unpack2x16float, which needs no f16 support of the device. Rows are padded with zeros to whole
// quads on upload, so an odd number of dimensions never leaves a row at half a word.

alias Quad = vec2<u32>;

fn quad_elements(quad: Quad) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(quad.x), unpack2x16float(quad.y));
}

/// The rows `chosen` of rows of `width` numbers; zeros for one that is not there.
pub fn take_rows(source: &[f32], width: usize, chosen: &[u32]) -> Vec<f32> {
    let row = |number: &u32| {
        let rows: Vec<&[f32]> = source.chunks_exact(width).collect();
        let number = usize::try_from(*number).unwrap_or(usize::MAX);
        rows.get(number).map_or(vec![0.0; width], |row| row.to_vec())
    };
    chosen.iter().flat_map(row).collect()
}

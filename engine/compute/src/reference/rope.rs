/// A head as its position turns it: `turns` are (cosine, sine) of its pairs, which are two numbers beside each other if
/// `adjacent`, else a number and the one as many pairs further.
pub fn rope(head: &[f32], turns: &[[f32; 2]], adjacent: bool) -> Vec<f64> {
    let mut turned: Vec<f64> = head.iter().copied().map(f64::from).collect();
    for (pair, turn) in turns.iter().enumerate() {
        let (first, second) = if adjacent {
            (2 * pair, 2 * pair + 1)
        } else {
            (pair, pair + turns.len())
        };
        let [cos, sin] = turn.map(f64::from);
        let (a, b) = (f64::from(head[first]), f64::from(head[second]));
        turned[first] = a * cos - b * sin;
        turned[second] = a * sin + b * cos;
    }
    turned
}

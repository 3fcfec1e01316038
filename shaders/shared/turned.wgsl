// A number of a head as its position turns it (rotary positions); numbers beyond 2 * params.pairs stay as they are.
// The kernel binds `rows_in`, rows of queries, keys and values as the linear layers wrote them, and `turns`, cosine and sine
// [params.positions, params.pairs], which the host computes in double precision: so any scaling of frequencies works, and no
// device's sine of a large angle is relied upon. params.adjacent: a pair are two numbers beside each other, else a number and
// the one params.pairs further.

fn turned(head_start: u32, number: u32, position: u32) -> f32 {
    let own = rows_in[head_start + number];
    let turning = 2u * params.pairs;
    if (number >= turning || position >= params.positions) {
        return own;
    }
    var pair = number % params.pairs;
    var partner = (number + params.pairs) % turning;
    var is_second = number >= params.pairs;
    if (params.adjacent != 0u) {
        pair = number / 2u;
        partner = number ^ 1u;
        is_second = number % 2u == 1u;
    }
    let turn = turns[position * params.pairs + pair];
    let other = rows_in[head_start + partner];
    return own * turn.x + select(-other, other, is_second) * turn.y;
}

// Four numbers from `number` on.
fn turned_quad(head_start: u32, number: u32, position: u32) -> vec4<f32> {
    return vec4<f32>(
        turned(head_start, number, position),
        turned(head_start, number + 1u, position),
        turned(head_start, number + 2u, position),
        turned(head_start, number + 3u, position),
    );
}

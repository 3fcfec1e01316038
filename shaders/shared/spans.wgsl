// How a row's context is cut into spans, each a workgroup's: by its length alone, so that a row's sums have one order whatever
// other rows there are. At most 32 spans of 32 positions or more, powers of two.
// engine/compute/src/kernels/attention.rs plans for as many.

const SPANS_MAX: u32 = 32u;

fn span_of(positions: u32) -> u32 {
    let least = max((positions + SPANS_MAX - 1u) / SPANS_MAX, 32u);
    return 1u << (32u - countLeadingZeros(least - 1u));
}

fn spans_of(positions: u32) -> u32 {
    let span = span_of(positions);
    return (positions + span - 1u) / span;
}

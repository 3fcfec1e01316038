//! What searches for many queries have to find.

use vectorgpu_core::ivf::copy::ManyHits;

/// Checks what was found for many queries, up to `wanted` rows of each, against all rows of each, whose keys may differ by
/// `slack`.
pub(crate) fn compare_many(found: &ManyHits, alone: &ManyHits, wanted: usize, slack: f32) {
    assert_eq!(found.queries.len(), alone.queries.len());
    let (mut start, mut alone_start) = (0, 0);
    for ((end, searched), (alone_end, expected)) in found.queries.iter().zip(&alone.queries) {
        let (hits, all) = (&found.hits[start..*end], &alone.hits[alone_start..*alone_end]);
        (start, alone_start) = (*end, *alone_end);
        assert_eq!(searched.rows, expected.rows);
        assert_eq!(hits.len(), wanted.min(all.len()));
        assert_eq!(searched.cut.is_some(), hits.len() < all.len());
        for hit in hits {
            let same = all.iter().find(|same| same.tid == hit.tid).unwrap();
            assert_eq!(hit.exact, same.exact);
            assert!((hit.key - same.key).abs() < slack, "{} for {}", hit.key, same.key);
        }
        let cut = searched.cut.unwrap_or(f32::MAX);
        let mut nearer = all.iter().filter(|hit| hit.key < cut - slack);
        assert!(nearer.all(|near| hits.iter().any(|hit| hit.tid == near.tid)));
    }
}

//! How often the tests try a property.

use proptest::test_runner::Config;

/// `count` cases, or a few where every instruction is interpreted and checked (Miri), which has no files to keep a
/// failing seed in either.
pub(crate) fn cases(count: u32) -> Config {
    if cfg!(miri) {
        Config {
            cases: count.min(4),
            failure_persistence: None,
            ..Config::default()
        }
    } else {
        Config::with_cases(count)
    }
}

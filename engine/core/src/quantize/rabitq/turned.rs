//! Rotated centroids, kept for the next rows of their lists.
//!
//! Rows of a table come in any order of their lists. A build has as many of these as it has participants, beside their
//! sorts, so the memory of each is bounded; a single row takes that of its own list only.

use std::collections::HashMap;

use super::super::rotation::Rotation;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of centroids that are kept at most: those of many more lists come from memory hardly faster than they are turned.
const KEPT_BYTES: usize = 16 << 20;

/// One centroid for each slot, the one asked for last of the lists that share it.
#[derive(Debug)]
pub(super) struct TurnedCentroids {
    slots: usize,
    kept: HashMap<usize, Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    list: Option<u32>,
    turned: Vec<f32>,
}

impl TurnedCentroids {
    /// Of `dims` elements each, none yet.
    pub(super) fn new(dims: usize) -> Self {
        Self::with_slots(KEPT_BYTES / (dims.max(1) * size_of::<f32>()))
    }

    pub(super) fn with_slots(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            kept: HashMap::new(),
        }
    }

    /// The centroid of list `list`, the same in every call, turned by `rotation`, the same in every call too.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn of(&mut self, list: u32, centroid: &[f32], rotation: &Rotation) -> Result<&[f32]> {
        let no_memory = |_| Error::new(ErrorKind::OutOfMemory, "out of memory while encoding a row");
        self.kept.try_reserve(1).map_err(no_memory)?;
        let kept = self.kept.entry(list as usize % self.slots).or_default();
        if kept.list != Some(list) {
            // Nobody's, should memory run out below.
            kept.list = None;
            kept.turned.clear();
            kept.turned.try_reserve_exact(centroid.len()).map_err(no_memory)?;
            kept.turned.extend_from_slice(centroid);
            rotation.apply(&mut kept.turned);
            kept.list = Some(list);
        }
        debug_assert!(
            is_turned(&kept.turned, centroid, rotation),
            "list {list} has another centroid"
        );
        Ok(&kept.turned)
    }
}

fn is_turned(turned: &[f32], centroid: &[f32], rotation: &Rotation) -> bool {
    let mut anew = centroid.to_vec();
    rotation.apply(&mut anew);
    turned
        .iter()
        .zip(&anew)
        .all(|(a, b)| a == b || a.is_nan() && b.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_centroid_is_what_turning_it_anew_gives_also_where_slots_are_shared() {
        let (dims, lists) = (37, 11u32);
        let rotation = Rotation::new(dims, 3);
        let centroid =
            |list: u32| -> Vec<f32> { (0..dims).map(|i| (i as f32 + list as f32).sin()).collect() };
        for slots in [0, 1, 4, 11, 100] {
            let mut all = TurnedCentroids::with_slots(slots);
            for i in 0..60 {
                let list = i * 7 % lists * (i % 3) % lists;
                let mut anew = centroid(list);
                rotation.apply(&mut anew);
                let kept = all.of(list, &centroid(list), &rotation).expect("memory");
                assert_eq!(kept, anew, "{slots} slots, list {list}");
            }
            assert!(all.kept.len() <= slots.max(1));
        }
    }

    #[test]
    fn memory_follows_the_lists_asked_for_and_is_bounded() {
        let rotation = Rotation::new(4, 3);
        let mut all = TurnedCentroids::new(4);
        all.of(32_767, &[1.0; 4], &rotation).expect("memory");
        assert_eq!(all.kept.len(), 1);
        assert_eq!(TurnedCentroids::new(16_000).slots, 262);
        assert_eq!(TurnedCentroids::new(usize::MAX / 8).slots, 1);
    }
}

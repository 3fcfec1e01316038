//! How much of a model goes to a GPU.
//!
//! A pure function of sizes. The first layers go there, because then a pass crosses over once; the ends of a model, what makes numbers of
//! tokens and logits of numbers, only with all layers: without them no token could be chosen there.

/// What a model takes on a device, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// The weights of each layer.
    pub layers: Vec<u64>,
    /// Keys and values of a layer.
    pub layer_cache: u64,
    /// The weights of embeddings and of the output layer; once where they are the same.
    pub ends: u64,
    /// What a pass needs between its kernels, however many layers there are.
    pub scratch: u64,
}

/// What goes to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// So many of the first layers.
    pub layers: usize,
    /// Whether the ends do, too. Only with all layers.
    pub ends: bool,
}

impl Plan {
    /// The most that fits in `budget` bytes.
    #[must_use]
    pub fn new(sizes: &Sizes, budget: u64) -> Self {
        let mut left = budget.checked_sub(sizes.scratch);
        let mut layers = 0;
        for layer in &sizes.layers {
            left = left.and_then(|left| left.checked_sub(layer.checked_add(sizes.layer_cache)?));
            if left.is_none() {
                break;
            }
            layers += 1;
        }
        Self {
            layers,
            ends: left.is_some_and(|left| left >= sizes.ends),
        }
    }

    /// Bytes that it takes; `u64::MAX` for more than can be.
    #[must_use]
    pub fn bytes(self, sizes: &Sizes) -> u64 {
        if self.layers == 0 {
            return 0;
        }
        let layers = sizes.layers[..self.layers.min(sizes.layers.len())].iter();
        let ends = if self.ends { sizes.ends } else { 0 };
        layers.fold(sizes.scratch.saturating_add(ends), |sum, layer| {
            sum.saturating_add(*layer).saturating_add(sizes.layer_cache)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plan_fits_its_budget_and_one_more_layer_would_not(
            layers in prop::collection::vec(1u64..1000, 0..40),
            layer_cache in 0u64..200,
            ends in 0u64..2000,
            scratch in 0u64..500,
            budget in 0u64..50_000,
        ) {
            let sizes = Sizes { layers, layer_cache, ends, scratch };
            let plan = Plan::new(&sizes, budget);
            prop_assert!(plan.bytes(&sizes) <= budget);
            prop_assert!(!plan.ends || plan.layers == sizes.layers.len());
            let all = plan.layers == sizes.layers.len();
            if !all {
                let more = Plan { layers: plan.layers + 1, ends: false };
                prop_assert!(more.bytes(&sizes) > budget);
            } else if !plan.ends && all && plan.layers > 0 {
                let more = Plan { ends: true, ..plan };
                prop_assert!(more.bytes(&sizes) > budget);
            }
            let larger = Plan::new(&sizes, budget + 100);
            prop_assert!(larger.layers >= plan.layers && (larger.ends || !plan.ends));
        }
    }

    #[test]
    fn sizes_beyond_all_memory_are_no_plan() {
        let sizes = Sizes {
            layers: vec![u64::MAX, 1],
            layer_cache: u64::MAX,
            ends: 0,
            scratch: 0,
        };
        let plan = Plan::new(&sizes, u64::MAX);
        assert_eq!(
            plan,
            Plan {
                layers: 0,
                ends: false
            }
        );
    }
}

//! The nearest lists by a coded copy of the centroids: bounds by the 1-bit codes of all, closer ones by the 4-bit codes of
//! some, the exact scores of few.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::super::super::centroids::{self, CodedCentroids};
use super::super::super::layout::Meta;
use super::super::super::store::PageStore;
use super::super::Query;
use super::{Ranked, nth, order_key, score_of, sign_of};
use crate::cpu::{BoundTerms, kernels};
use crate::error::{Error, Result};
use crate::metric::{Element, Score};
use crate::quantize;
use crate::quantize::rabitq::{Place, RabitqQuery};

/// So many times the lists wanted have their 4-bit codes looked at before any is scored exactly.
const LOOKED_AT: usize = 2;
/// How many 4-bit codes ahead of the one that is looked at others are asked for.
const CODES_AHEAD: usize = 3;

/// Scratch memory, and what came up on the way.
#[derive(Debug, Default)]
pub(super) struct ByCode {
    terms: BoundTerms,
    bounds: Vec<f32>,
    /// The farthest on top.
    nearest: BinaryHeap<Key>,
    /// Bounds to choose from, and the lists in doubt.
    chosen_from: Vec<f32>,
    in_doubt: Vec<usize>,
    centroid: Vec<u8>,
    /// Where the query lies to the centroids that were read.
    places: Vec<(u32, Place)>,
}

/// A score in its total order.
#[derive(Debug, PartialEq)]
struct Key(f32);

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ByCode {
    /// Appends all lists with what their 1-bit codes tell.
    pub(super) fn score(&mut self, copy: &CodedCentroids, codes: &RabitqQuery, lists: &mut Vec<Ranked>) {
        self.places.clear();
        self.terms = copy.terms(codes);
        copy.bounds(codes, &self.terms, &mut self.bounds);
        let lows = (0u32..).zip(&self.bounds);
        lists.extend(lows.map(|(list, low)| Ranked {
            low: *low,
            high: f32::INFINITY,
            list,
        }));
    }

    /// Where the query lies to the centroids that were read since the last call.
    pub(super) fn places(&mut self) -> impl Iterator<Item = (u32, Place)> + '_ {
        self.places.drain(..)
    }

    /// Scores lists exactly until no other can be among the `wanted` nearest (fewer than there are).
    pub(super) fn settle<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: &Query,
        copy: &CodedCentroids,
        lists: &mut [Ranked],
        wanted: usize,
    ) -> Result<()> {
        let Some(codes) = &query.rabitq else { return Ok(()) };
        let refine = |terms: &BoundTerms, ranked: &mut Ranked| {
            if ranked.high == f32::INFINITY {
                let bound = copy.fine_bound(codes, terms, ranked.list);
                // Finite, so that it is not done again.
                (ranked.low, ranked.high) = (ranked.low.max(bound), f32::MAX);
            }
        };
        let looked_at = lists.len().min(LOOKED_AT * wanted);
        front(lists, looked_at);
        for place in 0..looked_at {
            if let Some(later) = lists[..looked_at].get(place + CODES_AHEAD) {
                copy.fine_ahead(later.list).ask_all();
            }
            refine(&self.terms, &mut lists[place]);
        }
        front(&mut lists[..looked_at], wanted);
        for ranked in &lists[..wanted] {
            if !ranked.is_exact() {
                centroids::ahead_of_one(store, meta, ranked.list).for_each(crate::cpu::Ahead::ask_all);
            }
        }
        self.nearest.clear();
        let mut cut = f32::INFINITY;
        for (place, ranked) in lists.iter_mut().enumerate() {
            if place >= wanted {
                // A tie may be won by the lower number.
                if ranked.low.total_cmp(&cut).is_gt() {
                    continue;
                }
                refine(&self.terms, ranked);
                if ranked.low.total_cmp(&cut).is_gt() {
                    continue;
                }
            }
            if !ranked.is_exact() {
                let key = self.exact(store, meta, query, codes, ranked.list)?;
                *ranked = Ranked::exact(key, ranked.list);
            }
            self.nearest.push(Key(ranked.low));
            if self.nearest.len() > wanted {
                self.nearest.pop();
            }
            if self.nearest.len() == wanted {
                cut = self.nearest.peek().map_or(cut, |key| key.0);
            }
        }
        Ok(())
    }

    /// As [`Self::settle`], but scores only the lists of which the codes leave it in doubt whether they are among the
    /// `wanted` nearest: enough where their order is of no use. The others keep what bounds them.
    pub(super) fn choose<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: &Query,
        copy: &CodedCentroids,
        lists: &mut [Ranked],
        wanted: usize,
    ) -> Result<()> {
        let Some(codes) = &query.rabitq else { return Ok(()) };
        let looked_at = lists.len().min(LOOKED_AT * wanted);
        front(lists, looked_at);
        for place in 0..looked_at {
            if let Some(later) = lists[..looked_at].get(place + CODES_AHEAD) {
                copy.fine_ahead(later.list).ask_all();
            }
            bound_closely(copy, codes, &self.terms, &mut lists[place]);
        }
        let highs = lists[..looked_at].iter().map(|ranked| ranked.high);
        // As many as are wanted score no more.
        let out_above = nth(&mut self.chosen_from, highs, wanted - 1);
        for ranked in &mut lists[looked_at..] {
            if !ranked.low.total_cmp(&out_above).is_gt() {
                bound_closely(copy, codes, &self.terms, ranked);
            }
        }
        let near = |ranked: &Ranked| !ranked.low.total_cmp(&out_above).is_gt();
        let lows = lists
            .iter()
            .filter(|ranked| near(ranked))
            .map(|ranked| ranked.low);
        // No more than are wanted can score less.
        let in_below = nth(&mut self.chosen_from, lows, wanted);
        self.in_doubt.clear();
        for (place, ranked) in lists.iter().enumerate() {
            if near(ranked) && !ranked.is_exact() && !ranked.high.total_cmp(&in_below).is_lt() {
                centroids::ahead_of_one(store, meta, ranked.list).for_each(crate::cpu::Ahead::ask_all);
                self.in_doubt.push(place);
            }
        }
        for at in 0..self.in_doubt.len() {
            let ranked = &mut lists[self.in_doubt[at]];
            let key = self.exact(store, meta, query, codes, ranked.list)?;
            *ranked = Ranked::exact(key, ranked.list);
        }
        Ok(())
    }

    /// What the centroid of `list`, read from its page, scores.
    fn exact<S: PageStore>(
        &mut self,
        store: &S,
        meta: &Meta,
        query: &Query,
        codes: &RabitqQuery,
        list: u32,
    ) -> Result<f32> {
        let (score, place) = centroids::with_one(store, meta, list, &mut self.centroid, |bytes| {
            let score = |place: Place| match score_of(meta) {
                Score::SquaredL2 | Score::L1 => place.square(),
                Score::Dot => kernels().row(Score::Dot, Element::F32, &query.values, bytes),
            };
            let place = place_of(codes, bytes)?;
            Ok::<_, Error>((score(place), place))
        })??;
        self.places.push((list, place));
        Ok(order_key(sign_of(meta) * score))
    }
}

/// Bounds a list by its 4-bit code, unless that was done.
fn bound_closely(copy: &CodedCentroids, codes: &RabitqQuery, terms: &BoundTerms, ranked: &mut Ranked) {
    if ranked.high == f32::INFINITY {
        let (low, high) = copy.fine_bounds(codes, terms, ranked.list);
        // Finite, so that it is not done again.
        (ranked.low, ranked.high) = (ranked.low.max(low), high.min(f32::MAX));
    }
}

/// Where the query lies to a centroid as it lies on a page.
pub(in super::super) fn place_of(codes: &RabitqQuery, centroid: &[u8]) -> Result<Place> {
    if let Ok(centroid) = bytemuck::try_cast_slice(centroid) {
        return Ok(codes.place(centroid));
    }
    let mut copy = Vec::new();
    quantize::decode(Element::F32, centroid, &mut copy)?;
    Ok(codes.place(&copy))
}

/// Brings the `count` lowest to the front.
fn front(lists: &mut [Ranked], count: usize) {
    if count < lists.len() {
        lists.select_nth_unstable_by(count, Ranked::order);
    }
}

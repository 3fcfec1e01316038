//! `rope` and attention against their CPU twins, over caches whose blocks lie in any order.

mod support;

use half::f16;
use support::{Random, engines, filled, go_on};
use vectorgpu_compute::{
    Array, BLOCK_TOKENS, DecodeRows, Engine, Heads, LayerCache, LayerInput, RowPlace, Sequences, Step, Tile,
    Turns, reference,
};
use vectorgpu_core::ErrorKind;

/// Heads of real models, and some that fit nothing evenly.
const HEADS: [(usize, usize, usize); 6] = [
    (9, 3, 64),
    (14, 2, 64),
    (8, 2, 128),
    (3, 3, 8),
    (2, 1, 80),
    (12, 1, 24),
];

/// Sequences on a device, their rows of queries, keys and values, and where all that lies.
struct Scene {
    heads: Heads,
    /// Positions of each sequence.
    lengths: Vec<usize>,
    numbers: Vec<f32>,
    turns: Vec<[f32; 2]>,
    pairs: usize,
    adjacent: bool,
    tables: Vec<u32>,
    table_blocks: usize,
    rows_in: Array<f32>,
    sequences: Sequences,
    device_turns: Turns,
    cache: LayerCache,
}

impl Scene {
    fn new(
        engine: &Engine,
        heads: (usize, usize, usize),
        lengths: &[usize],
        adjacent: bool,
        seed: u64,
    ) -> Self {
        let heads = Heads {
            queries: heads.0,
            keys: heads.1,
            numbers: heads.2,
        };
        let mut random = Random(seed);
        let rows: usize = lengths.iter().sum();
        let numbers = random.floats(rows * heads.row_numbers());
        // A quarter of the numbers do not turn where that is allowed.
        let pairs = if heads.numbers > 8 {
            heads.numbers * 3 / 8
        } else {
            4
        };
        let positions = lengths.iter().copied().max().unwrap();
        let turns: Vec<[f32; 2]> = (0..positions * pairs)
            .map(|_| {
                let angle = 3.0 * random.float();
                [angle.cos(), angle.sin()]
            })
            .collect();
        let table_blocks = positions.div_ceil(BLOCK_TOKENS) + 1;
        let blocks = table_blocks * lengths.len();
        let mut order: Vec<u32> = (0..u32::try_from(blocks).unwrap()).collect();
        for i in (1..order.len()).rev() {
            let other = usize::try_from(random.bits() % (i as u64 + 1)).unwrap();
            order.swap(i, other);
        }
        let mut places = Vec::new();
        for (sequence, length) in (0..).zip(lengths) {
            let positions = 0..u32::try_from(*length).unwrap();
            places.extend(positions.map(|position| RowPlace { sequence, position }));
        }
        let upload = |numbers: &[f32]| engine.upload("vectorgpu.test", numbers, &mut go_on).unwrap();
        let places = engine.upload("vectorgpu.test", &places, &mut go_on).unwrap();
        let tables = engine.upload("vectorgpu.test", &order, &mut go_on).unwrap();
        let table = engine.upload("vectorgpu.test", &turns, &mut go_on).unwrap();
        let cache = engine
            .layer_cache("vectorgpu.test", heads, blocks, &mut go_on)
            .unwrap();
        // What nobody stores is no number: it must not be looked at.
        let words = vec![0x7e00_7e00_u32; cache.words().len()];
        engine.write(cache.words(), &words, &mut go_on).unwrap();
        Self {
            heads,
            lengths: lengths.to_vec(),
            rows_in: upload(&numbers),
            numbers,
            turns,
            pairs,
            adjacent,
            tables: order,
            table_blocks,
            sequences: Sequences::new(places, tables, table_blocks).unwrap(),
            device_turns: Turns::new(table, pairs, adjacent).unwrap(),
            cache,
        }
    }

    fn layer(&self) -> LayerInput<'_> {
        LayerInput {
            rows_in: &self.rows_in,
            sequences: &self.sequences,
            turns: &self.device_turns,
            cache: &self.cache,
        }
    }

    /// The row of a position, and the length of results of all rows.
    fn row(&self, sequence: usize, position: usize) -> usize {
        self.lengths[..sequence].iter().sum::<usize>() + position
    }

    fn rows(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn results(&self, rows: usize) -> usize {
        rows * self.heads.queries * self.heads.numbers
    }

    /// The numbers of head `head` of a row, where keys follow queries, and values keys.
    fn head(&self, row: usize, head: usize) -> &[f32] {
        &self.numbers[row * self.heads.row_numbers() + head * self.heads.numbers..][..self.heads.numbers]
    }

    fn turned(&self, row: usize, head: usize, position: usize) -> Vec<f64> {
        let turns = &self.turns[position * self.pairs..][..self.pairs];
        reference::rope(self.head(row, head), turns, self.adjacent)
    }

    /// Keys, or values, of a head up to a position, from what the device has stored.
    fn cached(
        &self,
        stored: &[f16],
        sequence: usize,
        positions: usize,
        kv_head: usize,
        kind: usize,
    ) -> Vec<f64> {
        let heads = self.heads;
        let run = BLOCK_TOKENS * heads.numbers;
        let mut numbers = Vec::new();
        for position in 0..positions {
            let block = self.tables[sequence * self.table_blocks + position / BLOCK_TOKENS] as usize;
            let start =
                ((block * 2 + kind) * heads.keys + kv_head) * run + position % BLOCK_TOKENS * heads.numbers;
            numbers.extend(stored[start..start + heads.numbers].iter().map(|x| x.to_f64()));
        }
        numbers
    }

    fn stored(&self, engine: &Engine) -> Vec<f16> {
        let words = engine.download(self.cache.words(), &mut go_on).unwrap();
        bytemuck::cast_slice(&words).to_vec()
    }

    /// What attention gives for a row.
    fn expected(&self, stored: &[f16], sequence: usize, position: usize) -> Vec<f64> {
        let row = self.row(sequence, position);
        let group = self.heads.queries / self.heads.keys;
        let of_head = |head: usize| {
            let query = self.turned(row, head, position);
            let cached = |kind| self.cached(stored, sequence, position + 1, head / group, kind);
            reference::attention(&query, &cached(0), &cached(1))
        };
        (0..self.heads.queries).flat_map(of_head).collect()
    }

    fn store_all(&self, engine: &Engine) {
        let mut step = engine.step();
        step.rope(&self.layer(), 0..self.rows()).unwrap();
        step.run(&mut go_on).unwrap();
    }

    fn tiles(&self, engine: &Engine, rows_max: usize) -> Array<Tile> {
        let mut tiles = Vec::new();
        for (sequence, length) in self.lengths.iter().enumerate() {
            for first in (0..*length).step_by(rows_max) {
                tiles.push(Tile {
                    row_first: u32::try_from(self.row(sequence, first)).unwrap(),
                    rows: u32::try_from(rows_max.min(length - first)).unwrap(),
                });
            }
        }
        engine.upload("vectorgpu.test", &tiles, &mut go_on).unwrap()
    }
}

/// Values are up to 1 and weights sum to 1, so what scores, exponentials and sums are off by shows absolutely: scores are up to
/// some ten, each off by some 1e-6 of that, and a device's exponential by 3 + 2 |x| roundings.
const ALLOWED: f64 = 3e-5;

fn assert_close(got: &[f32], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= ALLOWED, "{what}, number {i}: {got} for {want}");
    }
}

#[test]
fn rope_stores_turned_keys_and_plain_values_and_nothing_else() {
    for engine in engines("rope_stores_turned_keys_and_plain_values_and_nothing_else") {
        for (number, heads) in HEADS.into_iter().enumerate() {
            let scene = Scene::new(&engine, heads, &[1, 37, 16], number % 2 == 0, number as u64);
            scene.store_all(&engine);
            let stored = scene.stored(&engine);
            let mut written = 0;
            for (sequence, length) in scene.lengths.iter().enumerate() {
                for kv_head in 0..scene.heads.keys {
                    let keys = scene.cached(&stored, sequence, *length, kv_head, 0);
                    let values = scene.cached(&stored, sequence, *length, kv_head, 1);
                    for position in 0..*length {
                        let row = scene.row(sequence, position);
                        let numbers = position * scene.heads.numbers..(position + 1) * scene.heads.numbers;
                        let key = scene.turned(row, scene.heads.queries + kv_head, position);
                        let value = scene.head(row, scene.heads.queries + scene.heads.keys + kv_head);
                        let value: Vec<f64> = value.iter().copied().map(f64::from).collect();
                        for (got, want) in keys[numbers.clone()].iter().zip(&key) {
                            // A device may round to f16 either way.
                            assert!(
                                (got - want).abs() <= want.abs() / 1024.0 + 1e-6,
                                "{got} for {want}"
                            );
                        }
                        for (got, want) in values[numbers].iter().zip(&value) {
                            assert!(
                                (got - want).abs() <= want.abs() / 1024.0 + 1e-6,
                                "{got} for {want}"
                            );
                        }
                        written += 2 * scene.heads.numbers;
                    }
                }
            }
            assert_eq!(stored.iter().filter(|x| !x.is_nan()).count(), written);
        }
    }
}

#[test]
fn prefill_agrees_with_its_twin_for_all_heads_and_lengths() {
    for engine in engines("prefill_agrees_with_its_twin_for_all_heads_and_lengths") {
        for (number, heads) in HEADS.into_iter().enumerate() {
            let scene = Scene::new(&engine, heads, &[1, 45, 16], number % 2 == 1, 100 + number as u64);
            scene.store_all(&engine);
            let attended = filled(&engine, scene.results(scene.rows()), f32::NAN);
            let mut step = engine.step();
            let Some(rows_max) = step.attention_tile_rows(scene.heads) else {
                panic!("{heads:?}: every device of these tests shares 32 KiB");
            };
            let tiles = scene.tiles(&engine, rows_max);
            step.attention_prefill(&scene.layer(), &tiles, 45, &attended)
                .unwrap();
            step.run(&mut go_on).unwrap();
            let got = engine.download(&attended, &mut go_on).unwrap();
            let stored = scene.stored(&engine);
            let of_row = scene.results(1);
            for (sequence, length) in scene.lengths.iter().enumerate() {
                for position in 0..*length {
                    let want = scene.expected(&stored, sequence, position);
                    let row = scene.row(sequence, position);
                    let what = format!("{heads:?}, sequence {sequence}, position {position}");
                    assert_close(&got[row * of_row..][..of_row], &want, &what);
                }
            }
        }
    }
}

/// The attention of the rows `rows` as single ones.
fn decode(engine: &Engine, scene: &Scene, rows: DecodeRows) -> Vec<f32> {
    let attended = filled(engine, scene.results(rows.rows.len()), f32::NAN);
    let scratch = Step::attention_scratch(scene.heads, rows.rows.len(), rows.positions_max);
    let scratch = filled(engine, scratch.max(1), f32::NAN);
    let mut step = engine.step();
    step.attention_decode(&scene.layer(), &rows, &scratch, &attended)
        .unwrap();
    step.run(&mut go_on).unwrap();
    engine.download(&attended, &mut go_on).unwrap()
}

#[test]
fn single_rows_agree_with_their_twin_for_all_heads_and_lengths() {
    for engine in engines("single_rows_agree_with_their_twin_for_all_heads_and_lengths") {
        for (number, heads) in HEADS.into_iter().enumerate() {
            let lengths: &[usize] = if number == 0 { &[1100, 3, 32] } else { &[70, 1, 33] };
            let scene = Scene::new(&engine, heads, lengths, number % 2 == 0, 200 + number as u64);
            scene.store_all(&engine);
            let stored = scene.stored(&engine);
            let of_row = scene.results(1);
            for (sequence, length) in lengths.iter().copied().enumerate() {
                // The last rows of each sequence, at once; contexts of several lengths.
                let last = scene.row(sequence, length);
                let count = length.min(5);
                let rows = DecodeRows {
                    rows: last - count..last,
                    positions_max: length,
                    own: false,
                };
                let got = decode(&engine, &scene, rows);
                for i in 0..count {
                    let want = scene.expected(&stored, sequence, length - count + i);
                    let what = format!("{heads:?}, sequence {sequence}, row {i}");
                    assert_close(&got[i * of_row..][..of_row], &want, &what);
                }
            }
        }
    }
}

#[test]
fn single_rows_store_their_own_keys_and_values_as_rope_does() {
    for engine in engines("single_rows_store_their_own_keys_and_values_as_rope_does") {
        for (number, heads) in HEADS.into_iter().enumerate().take(5) {
            let scene = Scene::new(&engine, heads, &[40], number % 2 == 0, 300 + number as u64);
            let mut step = engine.step();
            step.rope(&scene.layer(), 0..39).unwrap();
            step.run(&mut go_on).unwrap();
            let rows = |own| DecodeRows {
                rows: 39..40,
                positions_max: 40,
                own,
            };
            let own = decode(&engine, &scene, rows(true));
            let stored = scene.stored(&engine);
            scene.store_all(&engine);
            let bits = |numbers: &[f16]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&stored), bits(&scene.stored(&engine)));
            assert_eq!(own, decode(&engine, &scene, rows(false)), "{heads:?}");
            assert_close(&own, &scene.expected(&stored, 0, 39), "own");
        }
    }
}

#[test]
fn a_rows_result_does_not_depend_on_the_rows_beside_it() {
    for engine in engines("a_rows_result_does_not_depend_on_the_rows_beside_it") {
        let scene = Scene::new(&engine, HEADS[0], &[300, 20], true, 400);
        scene.store_all(&engine);
        let rows = |rows, positions_max| DecodeRows {
            rows,
            positions_max,
            own: false,
        };
        let alone = decode(&engine, &scene, rows(310..311, 11));
        let beside = decode(&engine, &scene, rows(290..320, 300));
        assert_eq!(alone, beside[scene.results(20)..scene.results(21)]);
    }
}

#[test]
fn rows_and_tables_that_name_what_is_not_there_are_harmless() {
    for engine in engines("rows_and_tables_that_name_what_is_not_there_are_harmless") {
        let mut scene = Scene::new(&engine, HEADS[3], &[20], true, 500);
        let wrong = RowPlace {
            sequence: u32::MAX,
            position: 1 << 20,
        };
        let rows = engine.upload("vectorgpu.test", &[wrong; 20], &mut go_on).unwrap();
        let tables = engine
            .upload("vectorgpu.test", &[u32::MAX; 3], &mut go_on)
            .unwrap();
        scene.sequences = Sequences::new(rows, tables, 3).unwrap();
        scene.store_all(&engine);
        let rows = DecodeRows {
            rows: 0..1,
            positions_max: 20,
            own: true,
        };
        assert_eq!(decode(&engine, &scene, rows).len(), scene.results(1));
        assert!(!engine.is_lost());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for engine in engines("what_does_not_fit_is_refused") {
        let scene = Scene::new(&engine, (12, 1, 24), &[20], true, 600);
        let numbers = |len| filled(&engine, len, 0.0);
        let mut step = engine.step();
        let kind = |result: vectorgpu_core::Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(step.rope(&scene.layer(), 0..21)), ErrorKind::InvalidArgument);
        let rows = |own| DecodeRows {
            rows: 0..1,
            positions_max: 20,
            own,
        };
        let refused = step.attention_decode(&scene.layer(), &rows(true), &numbers(1), &numbers(288));
        assert_eq!(
            kind(refused),
            ErrorKind::InvalidArgument,
            "own keys of two workgroups"
        );
        let refused = step.attention_decode(&scene.layer(), &rows(false), &numbers(1), &numbers(287));
        assert_eq!(kind(refused), ErrorKind::InvalidArgument);
        for heads in [(3, 2, 64), (1, 1, 12), (1, 1, 264), (0, 0, 8)] {
            let heads = Heads {
                queries: heads.0,
                keys: heads.1,
                numbers: heads.2,
            };
            assert_eq!(kind(heads.check()), ErrorKind::InvalidArgument);
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::cache::BlockTable;
use crate::format::gguf::Gguf;

const LETTERS: u32 = 26;
/// The token that ends a text.
const END: u32 = LETTERS;

/// The letters, and an end.
fn letters() -> Tokenizer {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let array = |of_type: u32, items: Vec<Vec<u8>>| {
        let count = items.len() as u64;
        [&of_type.to_le_bytes()[..], &count.to_le_bytes(), &items.concat()].concat()
    };
    let names = ('a'..='z').map(|letter| string(&letter.to_string()));
    let kinds = (0..LETTERS).map(|_| 1i32).chain([3]);
    let entries = [
        ("tokenizer.ggml.model", 8u32, string("gpt2")),
        (
            "tokenizer.ggml.tokens",
            9,
            array(8, names.chain([string("<|im_end|>")]).collect()),
        ),
        (
            "tokenizer.ggml.token_type",
            9,
            array(5, kinds.map(|kind| kind.to_le_bytes().to_vec()).collect()),
        ),
        ("tokenizer.ggml.merges", 9, array(8, Vec::new())),
    ];
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes()].concat();
    file.extend((entries.len() as u64).to_le_bytes());
    for (key, of_type, value) in entries {
        file.extend(string(key));
        file.extend(of_type.to_le_bytes());
        file.extend(value);
    }
    let header = Gguf::read(&file[..], file.len() as u64).expect("a sound file");
    Tokenizer::from_gguf(&header.metadata).expect("a tokenizer")
}

/// Says what follows by all tokens of the text so far, which it keeps where the text's block table says.
struct Recorder {
    pool: BlockPool,
    kept: Vec<u32>,
    fails: bool,
    most_parts: usize,
}

impl Recorder {
    fn new(blocks: u32) -> Self {
        Self {
            pool: BlockPool::new(blocks),
            kept: vec![u32::MAX; blocks as usize * BLOCK_TOKENS],
            fails: false,
            most_parts: 0,
        }
    }

    fn place(table: &BlockTable, position: usize) -> usize {
        table.blocks()[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS
    }
}

impl Decoder for Recorder {
    fn vocabulary(&self) -> usize {
        END as usize + 1
    }

    fn context(&self) -> usize {
        64
    }

    fn rows_at_once(&self) -> usize {
        5
    }

    fn pool(&mut self) -> &mut BlockPool {
        &mut self.pool
    }

    fn forward(
        &mut self,
        parts: &[Part<'_>],
        _keep_waiting: &mut KeepWaiting<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        if self.fails {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled on request"));
        }
        self.most_parts = self.most_parts.max(parts.len());
        logits.clear();
        for part in parts {
            for (token, position) in part.tokens.iter().zip(part.table.tokens()..) {
                self.kept[Self::place(part.table, position)] = *token;
            }
            let end = part.table.tokens() + part.tokens.len();
            let so_far = (0..end).map(|position| self.kept[Self::place(part.table, position)]);
            let next = so_far.fold(7u32, |hash, token| {
                hash.wrapping_mul(31).wrapping_add(token) % 9973
            });
            if part.wants != Wants::Nothing {
                let from = logits.len();
                logits.resize(from + self.vocabulary(), 0.0);
                logits[from + (next % (END + 1)) as usize] = 1.0;
            }
        }
        Ok(())
    }
}

fn written(prompts: &[Vec<u32>], max_tokens: usize, at_once: usize, decoder: &mut Recorder) -> Vec<String> {
    let tokenizer = letters();
    let options = GenerateOptions {
        max_tokens,
        ..GenerateOptions::default()
    };
    let mut generation = Generation::new(at_once);
    for prompt in prompts {
        generation
            .add(prompt.clone(), &options, decoder)
            .expect("a sound prompt");
    }
    let mut texts = vec![String::new(); prompts.len()];
    while !generation.is_done() {
        let pieces = generation
            .step(decoder, &tokenizer, &mut || true)
            .expect("a step");
        for piece in pieces {
            texts[piece.of_text].push_str(&piece.text);
        }
    }
    texts
}

proptest! {
    #[test]
    fn texts_side_by_side_are_those_that_each_would_be_alone(
        prompts in prop::collection::vec(prop::collection::vec(0..LETTERS, 1..40), 1..9),
        max_tokens in 0usize..24,
        at_once in 1usize..6,
        blocks in 4u32..20,
    ) {
        let mut decoder = Recorder::new(blocks);
        let together = written(&prompts, max_tokens, at_once, &mut decoder);
        prop_assert_eq!(decoder.pool.free(), blocks as usize);
        prop_assert!(decoder.most_parts <= at_once);
        for (prompt, text) in prompts.iter().zip(together) {
            let alone = written(std::slice::from_ref(prompt), max_tokens, 1, &mut Recorder::new(4));
            prop_assert_eq!(&alone[0], &text);
            prop_assert!(text.len() <= max_tokens);
        }
    }
}

#[test]
fn a_step_that_fails_can_be_made_again_and_release_gives_all_back() {
    let (tokenizer, mut decoder) = (letters(), Recorder::new(8));
    let options = GenerateOptions {
        max_tokens: 20,
        ignore_end: true,
        ..GenerateOptions::default()
    };
    let mut texts = [String::new(), String::new()];
    for (fails, text) in texts.iter_mut().enumerate() {
        let mut generation = Generation::new(2);
        generation
            .add(vec![3, 4, 5, 6, 7, 8], &options, &decoder)
            .expect("room");
        while !generation.is_done() {
            decoder.fails = fails == 1;
            let step = generation.step(&mut decoder, &tokenizer, &mut || true);
            assert_eq!(step.is_err(), fails == 1);
            decoder.fails = false;
            let pieces = generation.step(&mut decoder, &tokenizer, &mut || true);
            for piece in [step, pieces].into_iter().flatten().flatten() {
                text.push_str(&piece.text);
            }
        }
    }
    assert_eq!(texts[0], texts[1]);
    let mut generation = Generation::new(2);
    for _ in 0..3 {
        generation.add(vec![1; 30], &options, &decoder).expect("room");
    }
    generation
        .step(&mut decoder, &tokenizer, &mut || true)
        .expect("a step");
    assert_eq!(decoder.pool.free(), 0);
    generation.release(&mut decoder.pool);
    assert_eq!((decoder.pool.free(), generation.is_done()), (8, true));
}

#[test]
fn what_has_no_room_is_refused() {
    let options = GenerateOptions {
        max_tokens: 30,
        ..GenerateOptions::default()
    };
    let mut generation = Generation::new(1);
    let mut decoder = Recorder::new(3);
    let kind = |result: Result<()>| result.expect_err("no room").kind();
    assert_eq!(
        kind(generation.add(vec![1; 35], &options, &decoder)),
        ErrorKind::LimitExceeded
    );
    assert_eq!(
        kind(generation.add(Vec::new(), &options, &decoder)),
        ErrorKind::InvalidArgument
    );
    generation.add(vec![1; 30], &options, &decoder).expect("room");
    let step = generation.step(&mut decoder, &letters(), &mut || true);
    assert_eq!(step.expect_err("no blocks").kind(), ErrorKind::LimitExceeded);
    assert_eq!(decoder.pool.free(), 3);
}

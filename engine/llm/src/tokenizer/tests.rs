use proptest::prelude::*;

use super::*;
use crate::format::gguf::Gguf;
use crate::template::{Message, PromptOptions, PromptTemplate, Role};

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn array(of_type: u32, values: &[Vec<u8>]) -> Vec<u8> {
    let count = (values.len() as u64).to_le_bytes();
    [&of_type.to_le_bytes()[..], &count, &values.concat()].concat()
}

/// A token's name, type and score.
type Token = (String, i32, f32);

fn column(tokens: &[Token], value: impl Fn(&Token) -> Vec<u8>) -> Vec<Vec<u8>> {
    tokens.iter().map(value).collect()
}

/// A SentencePiece tokenizer: unknown, begin, end, a user-defined token, all bytes, and some pieces.
fn tokenizer() -> Tokenizer {
    let mut tokens: Vec<Token> = [
        ("<unk>", 2),
        ("<s>", 3),
        ("</s>", 3),
        ("<|end|>", 4),
        ("<tool>", 4),
    ]
    .map(|(name, kind)| (name.to_owned(), kind, 0.0))
    .to_vec();
    tokens.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 6, 0.0)));
    for (number, piece) in ["▁", "a", "b", "▁a", "ab", "</", "s>", "</s"].iter().enumerate() {
        tokens.push(((*piece).to_owned(), 1, -(number as f32)));
    }
    let keys = [
        ("tokenizer.ggml.model", 8u32, string("llama")),
        (
            "tokenizer.ggml.tokens",
            9,
            array(8, &column(&tokens, |token| string(&token.0))),
        ),
        (
            "tokenizer.ggml.token_type",
            9,
            array(5, &column(&tokens, |token| token.1.to_le_bytes().to_vec())),
        ),
        (
            "tokenizer.ggml.scores",
            9,
            array(6, &column(&tokens, |token| token.2.to_le_bytes().to_vec())),
        ),
        ("tokenizer.ggml.bos_token_id", 4, 1u32.to_le_bytes().to_vec()),
        ("tokenizer.ggml.eos_token_id", 4, 2u32.to_le_bytes().to_vec()),
    ];
    let mut file = [
        &b"GGUF"[..],
        &3u32.to_le_bytes(),
        &0u64.to_le_bytes(),
        &(keys.len() as u64).to_le_bytes(),
    ]
    .concat();
    for (key, of_type, value) in keys {
        file.extend([string(key), of_type.to_le_bytes().to_vec(), value].concat());
    }
    let metadata = Gguf::read_metadata(&file[..], file.len() as u64).expect("a header");
    Tokenizer::from_gguf(&metadata).expect("a tokenizer")
}

fn encoded(text: &str, trust: Trust) -> Vec<u32> {
    let mut tokens = Vec::new();
    tokenizer().encode(text, trust, &mut tokens).expect("encoded");
    tokens
}

#[test]
fn a_text_begins_with_a_space_and_comes_back_without_it() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.begin_token(), Some(1));
    assert!(tokenizer.ends_text(2) && tokenizer.ends_text(3));
    let tokens = encoded("ab a", Trust::User);
    assert_eq!(tokens, [264, 263, 264]);
    assert_eq!(tokenizer.decode(&tokens), b"ab a");
    assert_eq!(tokenizer.decode(&[1, 261, 262]), b"a");
    // What follows other text is no beginning.
    let mut tokens = vec![262];
    tokenizer.encode("a", Trust::User, &mut tokens).expect("encoded");
    assert_eq!(tokens, [262, 262]);
}

#[test]
fn only_templates_make_marks_and_anyone_makes_user_defined_tokens() {
    assert_eq!(encoded("</s><|end|>", Trust::Template), [2, 3]);
    // The first is a mark by its look, though its file calls it text.
    let user = encoded("<|end|></s><tool>", Trust::User);
    assert!(
        !user.contains(&3) && !user.contains(&2) && user.ends_with(&[4]),
        "{user:?}"
    );
}

proptest! {
    #[test]
    fn prompts_have_the_marks_of_their_template_alone(
        pieces in prop::collection::vec(prop::sample::select(vec!["</s>", "<|end|>", "<s>", "<|", "end|>", "a", " ", "<unk>"]), 0..8),
    ) {
        let tokenizer = tokenizer();
        let template = PromptTemplate::new("{{ bos_token }}<{{ messages[0].content | trim }}><|end|>", || Box::new(())).expect("sound");
        let messages = [Message { role: Role::User, content: pieces.concat() }];
        let options = PromptOptions { add_generation_prompt: false, now: 0 };
        let tokens = template.tokens(&messages, &tokenizer, options, || Box::new(())).expect("a prompt");
        let marks: Vec<u32> = tokens.iter().copied().filter(|token| *token < 4).collect();
        prop_assert_eq!(marks, vec![1, 3]);
        let text = format!("<{}>", pieces.concat().trim());
        prop_assert_eq!(tokenizer.decode(&tokens), text.into_bytes());
    }
}

use proptest::prelude::*;

use super::*;

const LIST: &str =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##aff\n##able\n##a\nword\n東\n!\ncafe\nCafé\n##s\ni\n[\n]\ncls\n";

fn tokenizer(lowers: bool) -> WordPiece {
    WordPiece::from_list(LIST.as_bytes(), lowers).expect("a vocabulary")
}

/// The tokens of a text, as they are written, without those around it.
fn pieces(text: &str) -> Vec<&'static str> {
    let tokens = tokenizer(true)
        .encode(text, 1000, TooLong::Refuse)
        .expect("short");
    let names: Vec<&str> = LIST.lines().collect();
    let pieces: Vec<&str> = tokens.iter().map(|token| names[*token as usize]).collect();
    let [first, pieces @ .., last] = &pieces[..] else {
        panic!("{pieces:?}");
    };
    assert_eq!((*first, *last), ("[CLS]", "[SEP]"));
    pieces.to_vec()
}

fn json(changed: impl FnOnce(&mut serde_json::Value)) -> Result<WordPiece> {
    let vocabulary: serde_json::Map<_, _> = LIST
        .lines()
        .zip(0..)
        .map(|(name, at)| (name.to_owned(), at.into()))
        .collect();
    let mut file = serde_json::json!({
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2]}, "[SEP]": {"id": "[SEP]", "ids": [3]}},
        },
        "model": {"type": "WordPiece", "vocab": vocabulary, "unk_token": "[UNK]"},
    });
    changed(&mut file);
    WordPiece::from_json(file.to_string().as_bytes())
}

#[test]
fn words_are_the_longest_tokens_from_their_start() {
    assert_eq!(pieces("unaffable"), ["un", "##aff", "##able"]);
    assert_eq!(pieces("unaa"), ["un", "##a", "##a"]);
    assert_eq!(pieces("words"), ["word", "##s"]);
    assert_eq!(pieces("wordz word"), ["[UNK]", "word"]);
    assert_eq!(pieces(""), [""; 0]);
}

#[test]
fn words_are_cut_at_spaces_marks_and_chinese_characters() {
    assert_eq!(
        pieces("word!word\t\u{3000}!\u{a0}word"),
        ["word", "!", "word", "!", "word"]
    );
    assert_eq!(pieces("word東word"), ["word", "東", "word"]);
    // An ideographic mark, and one of another script.
    assert_eq!(pieces("word。word"), ["word", "[UNK]", "word"]);
}

#[test]
fn accents_capitals_and_controls_are_as_the_model_wants() {
    assert_eq!(pieces("CAFÉ cafe\u{301} ca\u{200b}fe\u{0}\u{fffd}"), ["cafe"; 3]);
    assert_eq!(pieces("\u{130}"), ["i"]);
    let cased = |text: &str| {
        tokenizer(false)
            .encode(text, 100, TooLong::Refuse)
            .expect("short")
    };
    assert_eq!(cased("Café"), [2, 12, 3]);
    assert_eq!(cased("Cafe"), [2, 1, 3]);
}

#[test]
fn what_a_text_says_is_never_a_special_token() {
    assert_eq!(pieces("[CLS]"), ["[", "cls", "]"]);
}

#[test]
fn words_of_more_than_100_characters_are_unknown() {
    assert_eq!(pieces(&format!("un{}", "a".repeat(98))).len(), 99);
    assert_eq!(pieces(&format!("un{}", "a".repeat(99))), ["[UNK]"]);
}

#[test]
fn long_texts_are_refused_or_cut() {
    let tokenizer = tokenizer(true);
    let text = "word ".repeat(9);
    assert_eq!(
        tokenizer
            .encode(&text, 11, TooLong::Refuse)
            .map(|tokens| tokens.len()),
        Ok(11)
    );
    let error = tokenizer
        .encode(&text, 10, TooLong::Refuse)
        .expect_err("eleven tokens");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.message().contains("11 tokens"), "{error}");
    let cut = tokenizer.encode(&text, 4, TooLong::Truncate);
    assert_eq!(cut, Ok(vec![2, 8, 8, 3]));
    for too_long in [TooLong::Refuse, TooLong::Truncate] {
        assert!(tokenizer.encode("", 2, too_long).is_err(), "no room for text");
    }
    assert_eq!(tokenizer.encode("", 3, TooLong::Truncate), Ok(vec![2, 3]));
}

#[test]
fn both_files_of_a_tokenizer_say_the_same() {
    let text = "Words unaffable, 東! [SEP] café";
    let expected = tokenizer(true).encode(text, 100, TooLong::Refuse);
    let of_json = json(|_| {}).expect("sound");
    assert_eq!(of_json.encode(text, 100, TooLong::Refuse), expected);
    assert_eq!(of_json.largest_token(), 17);
    let of_old = json(|file| {
        file["post_processor"] =
            serde_json::json!({"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]});
    });
    assert_eq!(
        of_old.expect("sound").encode(text, 100, TooLong::Refuse),
        expected
    );
    let of_none = json(|file| file["post_processor"] = serde_json::Value::Null).expect("sound");
    assert_eq!(of_none.encode("word", 100, TooLong::Refuse), Ok(vec![8]));
}

#[test]
fn other_tokenizers_are_refused_by_name() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 6] = [
        ("BPE", |file| file["model"]["type"] = "BPE".into()),
        ("Whitespace", |file| {
            file["pre_tokenizer"]["type"] = "Whitespace".into()
        }),
        ("none", |file| file["normalizer"] = serde_json::Value::Null),
        ("NFC", |file| file["normalizer"]["type"] = "NFC".into()),
        ("77", |file| file["model"]["max_input_chars_per_word"] = 77.into()),
        ("another", |file| {
            file["post_processor"]["type"] = "ByteLevel".into()
        }),
    ];
    for (name, change) in changes {
        let error = json(change).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
        assert!(error.message().contains(name), "{error}");
    }
}

#[test]
fn files_that_contradict_themselves_are_corrupt() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 7] = [
        ("an unknown token that is none", |file| {
            file["model"]["unk_token"] = "absent".into()
        }),
        ("a special token that is none", |file| {
            file["post_processor"]["special_tokens"] = serde_json::json!({})
        }),
        ("a template without the text", |file| {
            file["post_processor"]["single"] = serde_json::json!([])
        }),
        ("a template with two texts", |file| {
            file["post_processor"]["single"] =
                serde_json::json!([{"Sequence": {"id": "A"}}, {"Sequence": {"id": "A"}}]);
        }),
        ("a token below 0", |file| {
            file["model"]["vocab"]["word"] = (-1).into()
        }),
        ("a token above 32 bits", |file| {
            file["model"]["vocab"]["word"] = (1u64 << 32).into()
        }),
        ("no vocabulary", |file| {
            file["model"] = serde_json::json!({"type": "WordPiece"})
        }),
    ];
    for (what, change) in changes {
        let error = json(change).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::CorruptFile, "{what}: {error}");
    }
    for list in [
        &b""[..],
        b"[UNK]\n[CLS]\n",
        b"[CLS]\n[SEP]\n",
        b"[UNK]\n[CLS]\n[SEP]\n\xff",
    ] {
        let error = WordPiece::from_list(list, true).expect_err("no such list");
        assert_eq!(error.kind(), ErrorKind::CorruptFile);
    }
}

proptest! {
    #[test]
    fn every_text_has_tokens_of_the_vocabulary(text in any::<String>(), most in 3usize..20) {
        for lowers in [true, false] {
            let tokenizer = tokenizer(lowers);
            let tokens = tokenizer.encode(&text, most, TooLong::Truncate).expect("cut");
            prop_assert!((2..=most).contains(&tokens.len()));
            prop_assert!(tokens.iter().all(|token| *token <= tokenizer.largest_token()));
            let whole = tokenizer.encode(&text, usize::MAX, TooLong::Refuse).expect("any length");
            prop_assert_eq!(&tokens[..tokens.len() - 1], &whole[..tokens.len() - 1]);
        }
    }
}

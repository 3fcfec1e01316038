//! A small BERT, in files of every kind, makes the vectors that the reference made of it (`bench/llm_embeddings.py record`, in float64
//! with numpy): so the formats are read alike, and the model computes what the books say.

mod tiny;

use tiny::{CONFIG, POSITIONS, Scratch, TOKENS, VOCABULARY, safetensors, tensors};
use vectorgpu_core::ErrorKind;
use vectorgpu_llm::embed::Embedder;
use vectorgpu_llm::format::{Files, Folder, SafeTensors, open_model};
use vectorgpu_llm::model::bert::Bert;
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::TooLong;

/// Tokens and vectors, a text a line.
const EXPECTED: &str = include_str!("data/tiny_bert.txt");

fn expected() -> (Vec<Vec<u32>>, Vec<f32>) {
    let (mut tokens, mut vectors) = (Vec::new(), Vec::new());
    for line in EXPECTED.lines() {
        let (left, right) = line.split_once('|').expect("tokens and numbers");
        let left = left
            .split_whitespace()
            .map(|token| token.parse().expect("a token"));
        tokens.push(left.collect());
        vectors.extend(
            right
                .split_whitespace()
                .map(|number| number.parse::<f32>().expect("a number")),
        );
    }
    (tokens, vectors)
}

fn threads() -> Threads {
    Threads::new(2, || Box::new(())).expect("threads")
}

fn embed(model: &Bert, texts: &[Vec<u32>]) -> Vec<f32> {
    let embedded = threads().run(&mut || true, |team| model.embed(texts, team));
    embedded.expect("short texts")
}

/// The model as a folder: in one file, F32.
fn folder() -> (Scratch, Folder) {
    let scratch = Scratch::new();
    scratch.write("model/config.json", CONFIG.as_bytes());
    scratch.write("model/vocab.txt", VOCABULARY.as_bytes());
    scratch.write("model/model.safetensors", &safetensors(&tensors(), false));
    let folder = Folder::open(scratch.path()).expect("a folder");
    (scratch, folder)
}

#[track_caller]
fn assert_expected(vectors: &[f32]) {
    let expected = expected().1;
    assert_eq!(vectors.len(), expected.len());
    for (place, (vector, expected)) in vectors.iter().zip(&expected).enumerate() {
        // Sums in single precision; the numbers are up to 0.5.
        assert!(
            (vector - expected).abs() < 2e-6,
            "{place}: {vector}, not {expected}"
        );
    }
}

#[test]
fn vectors_are_those_of_the_reference() {
    let (_scratch, folder) = folder();
    let model = Bert::read(&SafeTensors::read(Files::any(&folder), "model").expect("sound")).expect("sound");
    assert_eq!(
        (model.dims(), model.max_tokens(), model.vocabulary()),
        (32, POSITIONS, TOKENS)
    );
    assert_expected(&embed(&model, &expected().0));
}

#[test]
fn every_kind_of_file_gives_the_same_vectors() {
    let (scratch, folder) = folder();
    let files = Files::any(&folder);
    let texts = expected().0;
    let model = |path: &str| {
        let source = open_model(files, path).expect(path);
        embed(&Bert::read(&*source).expect(path), &texts)
    };
    let vectors = model("model");
    scratch.write("model.gguf", &tiny::gguf());
    assert_eq!(model("model.gguf"), vectors);
    // The numbers are exact in half precision.
    scratch.write("half/config.json", CONFIG.as_bytes());
    scratch.write("half/model.fp16.safetensors", &safetensors(&tensors(), true));
    assert_eq!(model("half"), vectors);
    scratch.write("shards/config.json", CONFIG.as_bytes());
    let (mut first, mut second, mut index) = (Vec::new(), Vec::new(), Vec::new());
    for (number, mut tensor) in tensors().into_iter().enumerate() {
        // With the prefix that models with a head have.
        tensor.name = format!("bert.{}", tensor.name);
        index.push(format!("\"{}\":\"{}.safetensors\"", tensor.name, number % 2));
        if number % 2 == 0 {
            first.push(tensor)
        } else {
            second.push(tensor)
        }
    }
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, index.join(","));
    scratch.write("shards/model.safetensors.index.json", index.as_bytes());
    scratch.write("shards/0.safetensors", &safetensors(&first, true));
    scratch.write("shards/1.safetensors", &safetensors(&second, false));
    assert_eq!(model("shards"), vectors);
    let records = Files::record(&folder, "shards", &mut || true).expect("recorded");
    assert_eq!(records.len(), 4, "{records:?}");
    let source = open_model(Files::recorded(&folder, &records), "shards").expect("recorded");
    assert_eq!(embed(&Bert::read(&*source).expect("sound"), &texts), vectors);
}

#[test]
fn texts_become_the_vectors_of_their_tokens() {
    let (scratch, folder) = folder();
    scratch.write("model.gguf", &tiny::gguf());
    let records = Files::record(&folder, "model", &mut || true).expect("recorded");
    let all = Files::any(&folder);
    for (files, path) in [
        (all, "model"),
        (all, "model.gguf"),
        (Files::recorded(&folder, &records), "model"),
    ] {
        let embedder = Embedder::read(files, path).expect(path);
        // The tokens of tiny_bert.txt.
        let texts = [
            "b C",
            "",
            "t d d e f\tg H i",
            "a b c d e f g h i j k l m n o p q r",
        ];
        let vectors = embedder.embed(&texts, TooLong::Refuse, &threads(), &mut || true);
        assert_expected(&vectors.expect("short texts"));
        let long = ["a ".repeat(19)];
        let long = long.each_ref().map(String::as_str);
        let refused = embedder.embed(&long, TooLong::Refuse, &threads(), &mut || true);
        assert_eq!(refused.expect_err("21 tokens").kind(), ErrorKind::LimitExceeded);
        assert!(
            embedder
                .embed(&long, TooLong::Truncate, &threads(), &mut || true)
                .is_ok()
        );
        let many = vec!["a b c"; 50_000];
        let stopped = embedder.embed(&many, TooLong::Refuse, &threads(), &mut || false);
        assert_eq!(stopped.expect_err("stopped").kind(), ErrorKind::Cancelled);
    }
}

#[test]
fn a_vector_does_not_depend_on_the_other_texts() {
    let (_scratch, folder) = folder();
    let model = Bert::read(&SafeTensors::read(Files::any(&folder), "model").expect("sound")).expect("sound");
    let text = expected().0.swap_remove(2);
    let alone = embed(&model, std::slice::from_ref(&text));
    for others in [1, 7, 40, 100] {
        let mut texts = vec![vec![1, 2, 3]; others];
        texts[others / 2] = text.clone();
        let vectors = embed(&model, &texts);
        assert_eq!(vectors[others / 2 * 32..][..32], alone, "{others}");
    }
}

#[test]
fn texts_that_the_model_cannot_read_are_refused() {
    let (_scratch, folder) = folder();
    let model = Bert::read(&SafeTensors::read(Files::any(&folder), "model").expect("sound")).expect("sound");
    let kind = |texts: &[Vec<u32>]| {
        let embedded = threads().run(&mut || true, |team| model.embed(texts, team));
        embedded.expect_err("refused").kind()
    };
    assert_eq!(kind(&[vec![1, 24, 2]]), ErrorKind::InvalidArgument);
    assert_eq!(kind(&[vec![1, 2], vec![u32::MAX]]), ErrorKind::InvalidArgument);
    assert_eq!(kind(&[vec![]]), ErrorKind::InvalidArgument);
    assert_eq!(kind(&[vec![1; POSITIONS + 1]]), ErrorKind::LimitExceeded);
    assert_eq!(embed(&model, &[]), [0.0f32; 0]);
}

#[test]
fn models_that_contradict_themselves_are_refused() {
    let (scratch, folder) = folder();
    let read = || {
        let files = Files::any(&folder);
        Embedder::read(files, "model")
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    assert_eq!(read(), Ok(()));
    for (what, right, wrong, kind) in [
        (
            "another width",
            "\"hidden_size\": 32",
            "\"hidden_size\": 64",
            ErrorKind::CorruptFile,
        ),
        ("no width", "\"hidden_size\": 32,", "", ErrorKind::CorruptFile),
        ("no heads", "heads\": 4", "heads\": 0", ErrorKind::CorruptFile),
        (
            "heads that divide nothing",
            "heads\": 4",
            "heads\": 5",
            ErrorKind::CorruptFile,
        ),
        (
            "more layers than there are",
            "layers\": 2",
            "layers\": 3",
            ErrorKind::CorruptFile,
        ),
        (
            "2^32 layers",
            "layers\": 2",
            "layers\": 4294967296",
            ErrorKind::CorruptFile,
        ),
        (
            "more positions than there are",
            "embeddings\": 20",
            "embeddings\": 21",
            ErrorKind::CorruptFile,
        ),
        ("a norm with 0", "1e-12", "0.0", ErrorKind::CorruptFile),
        ("another model", "\"bert\"", "\"llama\"", ErrorKind::Unsupported),
    ] {
        let config = CONFIG.replace(right, wrong);
        assert_ne!(config, CONFIG, "{what}");
        scratch.write("model/config.json", config.as_bytes());
        assert_eq!(read(), Err(kind), "{what}");
    }
    scratch.write("model/config.json", CONFIG.as_bytes());
    scratch.write("model/vocab.txt", format!("{VOCABULARY}u\n").as_bytes());
    assert_eq!(
        read(),
        Err(ErrorKind::CorruptFile),
        "a token that the model does not know"
    );
    scratch.write("model/vocab.txt", VOCABULARY.as_bytes());
    let mut without = tensors();
    without.retain(|tensor| !tensor.name.ends_with("layer.1.output.dense.bias"));
    scratch.write("model/model.safetensors", &safetensors(&without, false));
    assert_eq!(read(), Err(ErrorKind::CorruptFile), "a tensor is missing");
}

#[test]
fn how_a_folder_says_that_texts_become_vectors_is_followed() {
    let (scratch, folder) = folder();
    let read = || Embedder::read(Files::any(&folder), "model");
    let embed = |text: &str| {
        let embedder = read().expect("sound");
        embedder.embed(&[text], TooLong::Refuse, &threads(), &mut || true)
    };
    let usual = embed("b c").expect("short");
    scratch.write(
        "model/1_Pooling/config.json",
        br#"{"pooling_mode_cls_token": true}"#,
    );
    let first = embed("b c").expect("short");
    assert_ne!(first, usual);
    scratch.write(
        "model/1_Pooling/config.json",
        br#"{"pooling_mode_mean_tokens": true}"#,
    );
    let parts = br#"[{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Pooling"}]"#;
    scratch.write("model/modules.json", parts);
    let long = embed("b c").expect("short");
    let length = long.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() > 1e-3, "{length}");
    for (long, usual) in long.iter().zip(&usual) {
        assert!((long / length - usual).abs() < 1e-6);
    }
    scratch.write("model/sentence_bert_config.json", br#"{"max_seq_length": 5}"#);
    assert!(embed("b c d").is_ok());
    assert_eq!(
        embed("b c d e").expect_err("six tokens").kind(),
        ErrorKind::LimitExceeded
    );
    scratch.write(
        "model/1_Pooling/config.json",
        br#"{"pooling_mode_max_tokens": true}"#,
    );
    assert_eq!(
        read().map(|_| ()).expect_err("another way").kind(),
        ErrorKind::Unsupported
    );
}

use proptest::prelude::*;

use super::*;
use crate::format::Folder;
use crate::format::scratch::Scratch;

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn read(bytes: &[u8]) -> Result<Header> {
    Header::read(bytes, bytes.len() as u64)
}

/// A header with one tensor.
fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// Three tensors, of which the last is not aligned.
const SOUND: &str = concat!(
    r#"{"__metadata__":{"format":"pt"},"ids":{"dtype":"I64","shape":[1,2],"data_offsets":[0,16]},"#,
    r#""norm":{"dtype":"F16","shape":[3],"data_offsets":[16,22]},"flag":{"dtype":"BOOL","shape":[],"data_offsets":[22,23]},"#,
    r#""weights":{"dtype":"F32","shape":[2,2],"data_offsets":[23,39]}}"#
);

#[test]
fn a_sound_file_is_read() {
    let header = read(&file(SOUND, &[0; 39])).expect("sound");
    assert_eq!(header.names(), ["ids", "norm", "flag", "weights"]);
    let start = 8 + SOUND.len() as u64;
    let (dtype, shape, at) = header.tensor("weights").expect("F32").expect("there");
    assert_eq!((dtype, shape.dims(), at), (DType::F32, &[2, 2][..], start + 23));
    let (dtype, shape, at) = header.tensor("norm").expect("F16").expect("there");
    assert_eq!((dtype, shape.dims(), at), (DType::F16, &[3][..], start + 16));
    assert!(header.tensor("absent").expect("no error").is_none());
}

#[test]
fn a_type_that_is_not_read_is_named_when_its_tensor_is_asked_for() {
    let header = read(&file(SOUND, &[0; 39])).expect("sound");
    for (name, dtype) in [("ids", "I64"), ("flag", "BOOL")] {
        let error = header.tensor(name).expect_err("not read");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains(dtype), "{error}");
    }
}

#[test]
fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let whole = file(SOUND, &[0; 39]);
    for length in 0..whole.len() {
        let error = read(&whole[..length]).expect_err("a part of a file");
        assert_eq!(error.kind(), ErrorKind::CorruptFile, "{length}: {error}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let huge = u64::MAX.to_string();
    let deep = "[".repeat(100_000);
    for (what, header, data) in [
        ("no header", String::new(), 0),
        ("no JSON", "{".to_owned(), 0),
        ("no object", "[]".to_owned(), 0),
        ("a list in a list in a list", deep, 0),
        ("an unknown type", one("F33", "[1]", "[0,4]"), 4),
        ("fewer bytes than the shape has", one("F32", "[2]", "[0,4]"), 4),
        ("more bytes than the shape has", one("F32", "[1]", "[0,8]"), 8),
        ("bytes behind the last tensor", one("F32", "[1]", "[0,4]"), 5),
        ("data that are not there", one("F32", "[1]", "[0,4]"), 3),
        ("a hole before the first tensor", one("F32", "[1]", "[4,8]"), 8),
        ("an end before its start", one("F32", "[1]", "[4,0]"), 4),
        (
            "dimensions whose product wraps",
            one("F32", "[4294967296,4294967296]", "[0,0]"),
            0,
        ),
        ("bytes that wrap", one("F32", "[4611686018427387904]", "[0,0]"), 0),
        ("an end that wraps", one("F32", "[1]", &format!("[0,{huge}]")), 4),
        ("a dimension below 0", one("F32", "[-1]", "[0,4]"), 4),
        ("a dimension with a fraction", one("F32", "[1.5]", "[0,4]"), 4),
        ("three offsets", one("F32", "[1]", "[0,4,8]"), 4),
        (
            "tensors that overlap",
            concat!(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#,
                r#""b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#
            )
            .to_owned(),
            12,
        ),
        (
            "a tensor twice",
            concat!(
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#,
                r#""a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#
            )
            .to_owned(),
            8,
        ),
    ] {
        let error = read(&file(&header, &vec![0; data])).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::CorruptFile, "{what}: {error}");
    }
    let not_text = [&5u64.to_le_bytes()[..], b"{\"\xff\"}"].concat();
    assert_eq!(
        read(&not_text).expect_err("not UTF-8").kind(),
        ErrorKind::CorruptFile
    );
}

#[test]
fn lengths_that_are_not_there_are_not_believed() {
    for (length, kind) in [
        (u64::MAX, ErrorKind::LimitExceeded),
        (MAX_HEADER_BYTES + 1, ErrorKind::LimitExceeded),
        (MAX_HEADER_BYTES, ErrorKind::CorruptFile),
        (3, ErrorKind::CorruptFile),
    ] {
        let bytes = [&length.to_le_bytes()[..], b"{}"].concat();
        assert_eq!(read(&bytes).expect_err("too long").kind(), kind, "{length}");
    }
}

#[test]
fn shapes_that_no_model_has_are_refused_when_they_are_asked_for() {
    for shape in ["[]", "[0]", "[1,1,1,1,1]"] {
        let bytes = if shape == "[0]" { 0 } else { 4 };
        let header = one("F32", shape, &format!("[0,{bytes}]"));
        let header = read(&file(&header, &vec![0; bytes])).expect("a sound file");
        let error = header.tensor("t").expect_err("no tensor of a model");
        assert_eq!(error.kind(), ErrorKind::CorruptFile, "{shape}");
    }
}

#[test]
fn an_index_names_files_beside_it_and_nothing_else() {
    let with =
        |name: &str| Index::read(format!(r#"{{"metadata":{{}},"weight_map":{{"t":"{name}"}}}}"#).as_bytes());
    let index = with("model-00001-of-00002.safetensors").expect("sound");
    assert_eq!(index.files(), ["model-00001-of-00002.safetensors"]);
    for name in [
        "../model.safetensors",
        "/etc/model.safetensors",
        "a/model.safetensors",
        r"a\\model.safetensors",
        r"..\\model.safetensors",
        "..safetensors",
        ".safetensors",
        "model.bin",
        "",
        r"model\u0000.safetensors",
        "modèle.safetensors",
        &format!("{}.safetensors", "long".repeat(100)),
    ] {
        let error = with(name).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::CorruptFile, "{name}");
    }
    for index in [
        "",
        "{}",
        "[]",
        r#"{"weight_map":[]}"#,
        r#"{"weight_map":{"t":1}}"#,
    ] {
        let error = Index::read(index.as_bytes()).expect_err(index);
        assert_eq!(error.kind(), ErrorKind::CorruptFile, "{index}");
    }
    let none = Index::read(br#"{"weight_map":{}}"#).expect_err("no files");
    assert_eq!(none.kind(), ErrorKind::LimitExceeded);
    let many: Vec<String> = (0..=MAX_FILES)
        .map(|number| format!("\"t{number}\":\"{number}.safetensors\""))
        .collect();
    let many = format!(r#"{{"weight_map":{{{}}}}}"#, many.join(","));
    let many = Index::read(many.as_bytes()).expect_err("too many");
    assert_eq!(many.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn a_folder_must_hold_one_model() {
    let scratch = Scratch::new();
    let folder = Folder::open(scratch.path()).expect("a folder");
    let files = Files::any(&folder);
    let read = || {
        SafeTensors::read(files, "model")
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    assert_eq!(read(), Err(ErrorKind::InvalidArgument), "no folder");
    let bytes = file(SOUND, &[0; 39]);
    scratch.write("model/one.safetensors", &bytes);
    assert_eq!(read(), Err(ErrorKind::InvalidArgument), "no config.json");
    scratch.write("model/config.json", br#"{"model_type": "llama"}"#);
    assert_eq!(read(), Ok(()));
    scratch.write("model/two.safetensors", &bytes);
    assert_eq!(read(), Err(ErrorKind::InvalidArgument), "two files");
    let index = br#"{"weight_map":{"norm":"one.safetensors","weights":"absent.safetensors"}}"#;
    scratch.write("model/model.safetensors.index.json", index);
    assert_eq!(read(), Err(ErrorKind::InvalidArgument), "a file is missing");
    scratch.write("model/absent.safetensors", b"");
    assert_eq!(read(), Err(ErrorKind::CorruptFile), "an empty file");
    scratch.write("model/absent.safetensors", &bytes);
    assert_eq!(read(), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_damage_makes_a_tensor_lie_outside_the_file(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = file(SOUND, &[0; 39]);
        for (place, byte) in damages {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(header) = read(&bytes) {
            for name in header.names() {
                if let Ok(Some((dtype, shape, start))) = header.tensor(&name) {
                    prop_assert!(start + shape.bytes(dtype).expect("counted") as u64 <= bytes.len() as u64);
                }
            }
        }
    }
}

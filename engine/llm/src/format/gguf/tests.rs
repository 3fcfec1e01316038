use proptest::prelude::*;
use vectorgpu_core::ErrorKind;
use vectorgpu_core::blocks::BlockType;

use super::*;
use crate::tensor::DType;

/// Writes a file byte by byte, right or wrong.
#[derive(Clone)]
struct Writer {
    header: Vec<u8>,
    tensors: u64,
    keys: u64,
    entries: Vec<u8>,
    infos: Vec<u8>,
    data: Vec<u8>,
}

impl Writer {
    fn new() -> Self {
        Self {
            header: [&MAGIC[..], &3u32.to_le_bytes()].concat(),
            tensors: 0,
            keys: 0,
            entries: Vec::new(),
            infos: Vec::new(),
            data: Vec::new(),
        }
    }

    fn key(mut self, key: &str, of_type: u32, value: &[u8]) -> Self {
        self.keys += 1;
        self.entries.extend(string(key.as_bytes()));
        self.entries.extend(of_type.to_le_bytes());
        self.entries.extend(value);
        self
    }

    /// An entry whose data need not be there. `dims` as the file has them, innermost first.
    fn info(mut self, name: &str, dims: &[u64], of_type: u32, offset: u64) -> Self {
        self.tensors += 1;
        self.infos.extend(string(name.as_bytes()));
        self.infos
            .extend(u32::try_from(dims.len()).expect("few").to_le_bytes());
        dims.iter().for_each(|dim| self.infos.extend(dim.to_le_bytes()));
        self.infos.extend(of_type.to_le_bytes());
        self.infos.extend(offset.to_le_bytes());
        self
    }

    fn data(mut self, bytes: usize) -> Self {
        self.data.resize(bytes, 7);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = self.header.clone();
        file.extend(self.tensors.to_le_bytes());
        file.extend(self.keys.to_le_bytes());
        file.extend(&self.entries);
        file.extend(&self.infos);
        if !self.data.is_empty() {
            file.resize(file.len().next_multiple_of(32), 0);
            file.extend(&self.data);
        }
        file
    }

    fn read(&self) -> Result<Gguf> {
        read(&self.bytes())
    }

    fn kind(&self) -> ErrorKind {
        self.read().expect_err("a wrong file").kind()
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

fn read(bytes: &[u8]) -> Result<Gguf> {
    Gguf::read(bytes, bytes.len() as u64)
}

fn sound() -> Writer {
    Writer::new()
        .key("general.architecture", 8, &string(b"llama"))
        .key("llama.block_count", 4, &30u32.to_le_bytes())
        .key("llama.context_length", 10, &2048u64.to_le_bytes())
        .key("epsilon", 6, &1e-5f32.to_le_bytes())
        .key("add_bos", 7, &[1])
        .key(
            "tokens",
            9,
            &[
                &8u32.to_le_bytes()[..],
                &2u64.to_le_bytes(),
                &string(b"a"),
                &string(b"\xff"),
            ]
            .concat(),
        )
        .key(
            "types",
            9,
            &[
                &5u32.to_le_bytes()[..],
                &2u64.to_le_bytes(),
                &[1, 0, 0, 0, 3, 0, 0, 0],
            ]
            .concat(),
        )
        .info(
            "weights",
            &[64, 3],
            DType::Blocks(BlockType::Q8_0).gguf_number(),
            0,
        )
        .info("norm", &[5], DType::F32.gguf_number(), 224)
        .data(244)
}

#[test]
fn a_sound_file_is_read() {
    let file = sound().read().expect("sound");
    let metadata = &file.metadata;
    assert_eq!(file.version, 3);
    assert_eq!(metadata.text("general.architecture"), Ok(Some("llama")));
    assert_eq!(metadata.unsigned("llama.block_count"), Ok(Some(30)));
    assert_eq!(metadata.unsigned("llama.context_length"), Ok(Some(2048)));
    assert_eq!(metadata.float("epsilon"), Ok(Some(1e-5)));
    assert_eq!(metadata.boolean("add_bos"), Ok(Some(true)));
    assert_eq!(metadata.unsigned("absent"), Ok(None));
    assert_eq!(
        metadata.unsigned("epsilon").map_err(|error| error.kind()),
        Err(ErrorKind::CorruptFile)
    );
    assert_eq!(metadata.integers("types"), Ok(Some(&[1, 3][..])));
    let tokens = metadata.strings("tokens").expect("strings").expect("there");
    assert_eq!(tokens.iter().collect::<Vec<_>>(), [&b"a"[..], b"\xff"]);
    let weights = file.tensor("weights").expect("there");
    assert_eq!(
        (weights.shape.dims(), weights.dtype, weights.bytes),
        (&[3, 64][..], DType::Blocks(BlockType::Q8_0), 204)
    );
    assert_eq!(file.data_start % 32, 0);
}

#[test]
fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let whole = sound().bytes();
    for length in 0..whole.len() {
        let error = read(&whole[..length]).expect_err("a part of a file");
        assert_eq!(error.kind(), ErrorKind::CorruptFile, "{length}: {error}");
    }
}

fn wrong_values() -> Vec<(&'static str, Writer)> {
    vec![
        ("another magic", {
            let mut writer = sound();
            writer.header[0] = b'X';
            writer
        }),
        ("a key twice", sound().key("epsilon", 6, &[0; 4])),
        ("a tensor twice", sound().info("norm", &[5], 0, 256).data(300)),
        ("a value of unknown type", Writer::new().key("k", 13, &[0; 8])),
        (
            "an array of unknown type",
            Writer::new().key("k", 9, &[&77u32.to_le_bytes()[..], &[0; 8]].concat()),
        ),
        (
            "an array of arrays",
            Writer::new().key("k", 9, &[&9u32.to_le_bytes()[..], &[0; 12]].concat()),
        ),
        (
            "an array longer than the file",
            Writer::new().key(
                "k",
                9,
                &[&4u32.to_le_bytes()[..], &(1u64 << 63).to_le_bytes()].concat(),
            ),
        ),
        (
            "strings longer than the file",
            Writer::new().key(
                "k",
                9,
                &[&8u32.to_le_bytes()[..], &(1u64 << 40).to_le_bytes()].concat(),
            ),
        ),
        (
            "a string longer than the file",
            Writer::new().key("k", 8, &1000u64.to_le_bytes()),
        ),
        ("a boolean of 2", Writer::new().key("k", 7, &[2])),
        ("a key that is not UTF-8", {
            let mut writer = Writer::new();
            writer.keys = 1;
            writer.entries = [string(b"\xff"), vec![0; 8]].concat();
            writer
        }),
    ]
}

fn wrong_tensors() -> Vec<(&'static str, Writer)> {
    vec![
        ("no dimensions", Writer::new().info("t", &[], 0, 0).data(64)),
        ("five dimensions", Writer::new().info("t", &[1; 5], 0, 0).data(64)),
        (
            "a dimension of 0",
            Writer::new().info("t", &[4, 0], 0, 0).data(64),
        ),
        (
            "dimensions whose product wraps",
            Writer::new().info("t", &[1 << 33, 1 << 33], 0, 0).data(64),
        ),
        (
            "bytes that wrap",
            Writer::new().info("t", &[1 << 62], 0, 0).data(64),
        ),
        (
            "a row of half a block",
            Writer::new().info("t", &[48, 2], 8, 0).data(256),
        ),
        (
            "a type without a name",
            Writer::new().info("t", &[4], 1000, 0).data(64),
        ),
        (
            "a tensor larger than the file",
            Writer::new().info("t", &[1 << 20], 0, 0).data(64),
        ),
        (
            "a tensor beyond the file",
            Writer::new().info("t", &[4], 0, 1 << 40).data(64),
        ),
        (
            "a tensor whose end wraps",
            Writer::new().info("t", &[4], 0, u64::MAX - 31).data(64),
        ),
        (
            "a tensor that is not aligned",
            Writer::new().info("t", &[4], 0, 4).data(64),
        ),
        (
            "tensors that overlap",
            Writer::new()
                .info("a", &[16], 0, 0)
                .info("b", &[16], 0, 32)
                .data(96),
        ),
        (
            "an alignment of 0",
            Writer::new().key("general.alignment", 4, &0u32.to_le_bytes()),
        ),
        (
            "an alignment of 48",
            Writer::new().key("general.alignment", 4, &48u32.to_le_bytes()),
        ),
        (
            "an alignment of 2^30",
            Writer::new().key("general.alignment", 4, &(1u32 << 30).to_le_bytes()),
        ),
        (
            "an alignment that is a text",
            Writer::new().key("general.alignment", 8, &string(b"32")),
        ),
    ]
}

#[test]
fn what_cannot_be_is_refused() {
    for (what, writer) in wrong_values().into_iter().chain(wrong_tensors()) {
        assert_eq!(writer.kind(), ErrorKind::CorruptFile, "{what}");
    }
}

#[test]
fn what_this_release_does_not_read_is_named() {
    let of_type = |number| Writer::new().info("t", &[256], number, 0).data(512);
    let error = of_type(16).read().expect_err("IQ2_XXS");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("IQ2_XXS"), "{error}");
    for version in [0u32, 1, 4, 3 << 24] {
        let mut writer = sound();
        writer.header[4..].copy_from_slice(&version.to_le_bytes());
        assert_eq!(writer.kind(), ErrorKind::Unsupported, "{version}");
    }
    for (tensors, keys) in [(1 << 17, 0), (0, u64::MAX)] {
        let mut writer = sound();
        (writer.tensors, writer.keys) = (tensors, keys);
        assert_eq!(writer.kind(), ErrorKind::LimitExceeded);
    }
    let long = Writer::new().key(&"k".repeat(2000), 4, &[0; 4]);
    assert_eq!(long.kind(), ErrorKind::LimitExceeded);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_damage_makes_a_tensor_lie_outside_the_file(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = sound().bytes();
        for (place, byte) in damages {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(file) = read(&bytes) {
            for tensor in &file.tensors {
                prop_assert!(file.data_start + tensor.offset + tensor.bytes <= bytes.len() as u64);
                prop_assert_eq!(tensor.shape.bytes(tensor.dtype).expect("checked") as u64, tensor.bytes);
            }
        }
    }
}

//! Language models as this session holds them: read when they are first needed, kept until they change, are unloaded, or the
//! session ends.
//!
//! Which models there are is the table's to say (`registry`); what a model computes is vectorgpu-llm's. Invariant: a model that is held
//! is the one that was registered, by the SHA-256 of its files. Nothing here is shared between sessions but the pages of mapped files.

mod embedding;
mod folder;
mod messages;
mod options;
mod place;
mod registry;
mod text;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use vectorgpu_compute::Engine;
use vectorgpu_core::{Error, ErrorKind, Result};
use vectorgpu_llm::format::{FileRecord, Files, Folder, open_model};
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::{TooLong, Trust};

use crate::gpu::lifecycle;
use crate::gpu::threads::block_signals;
use crate::guc;
use crate::pg::interrupt::keep_waiting;

pub(crate) use embedding::EmbeddingModel;
pub(crate) use options::{EmbedOptions, LoadOptions, TextRequest, parse};
pub(crate) use place::Placement;
pub(crate) use registry::stored;
pub(crate) use text::{Prompt, TextModel, Writing};

use registry::Entry;

/// What models are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They continue text.
    Text,
    /// They turn texts into vectors.
    Embedding,
}

impl Kind {
    /// As the table has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Embedding => "embedding",
        }
    }

    /// The setting that names the model which calls without a name mean.
    fn setting_name(self) -> &'static str {
        match self {
            Self::Text => "vectorgpu.text_model",
            Self::Embedding => "vectorgpu.embedding_model",
        }
    }

    fn default_name(self) -> Option<String> {
        let setting = match self {
            Self::Text => &guc::TEXT_MODEL,
            Self::Embedding => &guc::EMBEDDING_MODEL,
        };
        let name = setting.get()?.to_string_lossy().into_owned();
        (!name.is_empty()).then_some(name)
    }
}

/// A model in memory.
#[derive(Clone)]
pub(crate) enum Model {
    Text(Rc<TextModel>),
    Embedding(Rc<EmbeddingModel>),
}

impl Model {
    /// Where it is computed.
    pub(crate) fn placement(&self) -> Placement {
        match self {
            Self::Text(model) => model.placement().clone(),
            Self::Embedding(model) => Placement {
                device: "cpu".to_owned(),
                cpu_bytes: model.weight_bytes(),
                ..Placement::default()
            },
        }
    }

    /// The tokens of a text that a user wrote.
    ///
    /// # Errors
    /// `LimitExceeded` for one that is longer than `vectorgpu.max_prompt_size`.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        text::check_size(text.len())?;
        match self {
            Self::Text(model) => {
                let mut tokens = Vec::new();
                model.tokenizer().encode(text, Trust::User, &mut tokens)?;
                Ok(tokens)
            }
            Self::Embedding(model) => model.tokenizer().encode(text, usize::MAX, TooLong::Refuse),
        }
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// `Unsupported` for an embedding model, whose tokens are not the text that they were made of.
    pub(crate) fn decode(&self, tokens: &[u32]) -> Result<String> {
        match self {
            Self::Text(model) => Ok(String::from_utf8_lossy(&model.tokenizer().decode(tokens)).into_owned()),
            Self::Embedding(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "tokens of an embedding model do not say which text they were made of",
            )),
        }
    }
}

/// What a model is, as it is registered.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    pub(crate) architecture: String,
    pub(crate) parameters: u64,
    pub(crate) bytes: u64,
    pub(crate) files: Vec<FileRecord>,
}

/// What this session holds of a model.
pub(crate) struct Holding {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) mapped: bool,
}

struct Held {
    entry: Entry,
    threads: usize,
    /// Of a text model: what it was to be computed on.
    engine: Option<Rc<Engine>>,
    model: Model,
    mapped: bool,
}

impl Held {
    /// Whether the model would be read otherwise now.
    fn is_outdated(&self, entry: &Entry, engine: Option<&Rc<Engine>>) -> bool {
        let is_same_engine = match (&self.model, &self.engine, engine) {
            (Model::Embedding(_), ..) | (_, None, None) => true,
            (_, Some(held), Some(wanted)) => Rc::ptr_eq(held, wanted),
            _ => false,
        };
        self.entry != *entry || self.threads != wanted_threads() || !is_same_engine
    }
}

thread_local! {
    static HELD: RefCell<HashMap<String, Held>> = RefCell::new(HashMap::new());
    static THREADS: RefCell<Option<Arc<Threads>>> = const { RefCell::new(None) };
}

/// The text model of this name, or the one that is meant where none is named.
///
/// # Errors
/// `UndefinedObject`, `InvalidArgument` for an embedding model, what reading its files reports.
pub(crate) fn text_model(name: Option<&str>) -> Result<Rc<TextModel>> {
    match model(name, Kind::Text)? {
        Model::Text(model) => Ok(model),
        Model::Embedding(_) => Err(other_kind(name, "writes no text: it makes embeddings")),
    }
}

/// The embedding model of this name, or the one that is meant where none is named.
///
/// # Errors
/// As [`text_model`].
pub(crate) fn embedding_model(name: Option<&str>) -> Result<Rc<EmbeddingModel>> {
    match model(name, Kind::Embedding)? {
        Model::Embedding(model) => Ok(model),
        Model::Text(_) => Err(other_kind(name, "makes no embeddings: it writes text")),
    }
}

fn other_kind(name: Option<&str>, what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("model \"{}\" {what}", name.unwrap_or_default()),
    )
}

/// The model of this name whatever its kind; without a name, the one of `kind` that is meant.
pub(crate) fn model(name: Option<&str>, kind: Kind) -> Result<Model> {
    let default = name.is_none().then(|| kind.default_name()).flatten();
    let entry = registry::find(name.or(default.as_deref()), kind)?;
    let engine = match entry.kind {
        Kind::Text => place::wanted_engine()?,
        Kind::Embedding => None,
    };
    let held = HELD.with_borrow(|held| {
        let held = held.get(&entry.name)?;
        (!held.is_outdated(&entry, engine.as_ref())).then(|| held.model.clone())
    });
    if let Some(model) = held {
        return Ok(model);
    }
    // What is out of date goes first: two of them may be more than there is memory for.
    forget(&entry.name);
    let folder = folder::of_models()?;
    let records = folder::present_records(&folder, &entry.path, &entry.files)?;
    let (model, _) = read_and_hold(entry, &folder, &records)?;
    Ok(model)
}

/// Reads a model for the first time, records its files, and holds it.
///
/// # Errors
/// What opening and reading files reports; `Cancelled`.
pub(crate) fn read_new(name: &str, path: &str, options: serde_json::Value) -> Result<Facts> {
    let folder = folder::of_models()?;
    let files = Files::record(&folder, path, &mut keep_waiting)?;
    forget(name);
    let entry = Entry {
        name: name.to_owned(),
        // Until the files say.
        kind: Kind::Text,
        path: path.to_owned(),
        options,
        files: files.clone(),
    };
    let (_, facts) = read_and_hold(entry, &folder, &files)?;
    Ok(facts)
}

/// Frees what this session holds of a model, as soon as nothing uses it.
pub(crate) fn forget(name: &str) {
    let held = HELD.with_borrow_mut(|held| held.remove(name));
    drop(held);
}

/// What this session holds.
pub(crate) fn holdings() -> Vec<Holding> {
    HELD.with_borrow(|held| {
        let holding = |(name, held): (&String, &Held)| Holding {
            name: name.clone(),
            model: held.model.clone(),
            mapped: held.mapped,
        };
        held.iter().map(holding).collect()
    })
}

/// Frees all that this session holds, before the engine goes; where that may not be closed, nothing is touched any more.
fn let_go(may_close: bool) {
    let held = HELD.try_with(|held| held.try_borrow_mut().map(|mut held| std::mem::take(&mut *held)));
    if let Ok(Ok(held)) = held
        && !may_close
    {
        std::mem::forget(held);
    }
}

/// Reads a model whose files are those of `records`, and holds it.
fn read_and_hold(entry: Entry, folder: &Folder, records: &[FileRecord]) -> Result<(Model, Facts)> {
    let options: LoadOptions = parse(Some(pgrx::JsonB(entry.options.clone())))?;
    let mapped = options.mmap.unwrap_or(true) && folder::is_administrators(folder, records);
    let files = if mapped {
        Files::recorded(folder, records)
    } else {
        Files::any(folder)
    };
    let source = open_model(files, &entry.path)?;
    let architecture = source.description().text("general.architecture")?;
    let architecture = architecture.unwrap_or_default().to_owned();
    let threads = threads()?;
    let (kind, engine, model) = if architecture == "bert" {
        let model = EmbeddingModel::read(files, &entry.path, threads)?;
        (Kind::Embedding, None, Model::Embedding(Rc::new(model)))
    } else {
        let engine = place::wanted_engine()?;
        let model = TextModel::read(&*source, &options, threads, engine.as_ref())?;
        (Kind::Text, engine, Model::Text(Rc::new(model)))
    };
    if engine.is_some() {
        lifecycle::before_close(let_go);
    }
    let facts = Facts {
        kind,
        architecture,
        parameters: source.parameters(),
        bytes: records.iter().map(|file| file.identity.bytes).sum(),
        files: records.to_vec(),
    };
    let held = Held {
        threads: wanted_threads(),
        engine,
        model: model.clone(),
        mapped,
        entry: Entry { kind, ..entry },
    };
    HELD.with_borrow_mut(|all| all.insert(held.entry.name.clone(), held));
    Ok((model, facts))
}

/// The session's threads, which all its models share.
fn threads() -> Result<Arc<Threads>> {
    let count = wanted_threads();
    THREADS.with_borrow_mut(|threads| {
        if let Some(threads) = threads.as_ref().filter(|threads| threads.count() == count) {
            return Ok(Arc::clone(threads));
        }
        let new = Arc::new(Threads::new(count, block_signals)?);
        *threads = Some(Arc::clone(&new));
        Ok(new)
    })
}

/// `vectorgpu.model_threads`, or as many as the machine has processors and the server may have parallel workers.
fn wanted_threads() -> usize {
    match usize::try_from(guc::MODEL_THREADS.get()) {
        Ok(count) if count > 0 => count,
        _ => {
            // Asks the system, which reads files for it: not for every call.
            static PROCESSORS: OnceLock<usize> = OnceLock::new();
            let processors =
                *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
            processors.min(crate::pg::setting::max_parallel_workers()).max(1)
        }
    }
}

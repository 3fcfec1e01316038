//! Runs a template, with bounds.
//!
//! minijinja's fuel counts instructions and the bytes that they make, so it bounds time and memory. It does not bound how deep values lie in
//! each other, nor how deep an expression is: both recurse when they are dropped. Hence a thread, with a stack for the deepest that source
//! and fuel allow.

use std::any::Any;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind as Wrong, Output, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use regex::Regex;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::{Message, Names, PromptOptions, json, time};

/// Work for a template without messages.
const FUEL: u64 = 200_000;
/// Work for a message, and for so many bytes of one: each byte can be copied some thirty times.
const MESSAGE_FUEL: u64 = 2_000;
const BYTES_FOR_FUEL: u64 = 2;
/// How deep macros may call each other, in the units of minijinja.
const RECURSION: usize = 200;
/// Stack for the deepest expression of a template of the largest size, and for each unit of fuel that may nest values.
const STACK_BYTES: u64 = 64 << 20;
const STACK_BYTES_FOR_FUEL: u64 = 64;

/// A template that can be run.
#[derive(Debug)]
pub(super) struct Machine {
    source: String,
}

impl Machine {
    /// For a template of this source.
    pub(super) fn new(source: &str) -> Result<Self> {
        Ok(Self {
            source: without_generation(source)?,
        })
    }

    /// The source.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether the source is a template.
    pub(super) fn check(&self, guard: impl FnOnce() -> Box<dyn Any>) -> Result<()> {
        on_thread(STACK_BYTES, guard, || {
            let environment = environment(0);
            let template = environment.template_from_str(&self.source);
            template.map(|_| ()).map_err(|error| failed(&error))
        })
    }

    /// What it writes for `messages`.
    pub(super) fn render(
        &self,
        messages: &[Message],
        names: &Names<'_>,
        options: PromptOptions,
        guard: impl FnOnce() -> Box<dyn Any>,
    ) -> Result<String> {
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let fuel = FUEL + messages.len() as u64 * MESSAGE_FUEL + bytes as u64 / BYTES_FOR_FUEL;
        on_thread(STACK_BYTES + fuel * STACK_BYTES_FOR_FUEL, guard, || {
            let environment = environment(fuel);
            let template = environment.template_from_str(&self.source);
            let written = template.and_then(|template| template.render(context(messages, names, options)));
            written.map_err(|error| failed(&error))
        })
    }
}

/// Does `work` on a thread of its own with a stack of so many bytes, of which only those that are used take memory.
fn on_thread<T: Send>(
    stack_bytes: u64,
    guard: impl FnOnce() -> Box<dyn Any>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let none = |error: std::io::Error| {
        Error::new(
            ErrorKind::OutOfMemory,
            "cannot start a thread for a prompt template",
        )
        .with_detail(error.to_string())
    };
    let stack = usize::try_from(stack_bytes).unwrap_or(usize::MAX);
    thread::scope(|scope| {
        let guard = guard();
        let builder = thread::Builder::new().name("vectorgpu template".to_owned());
        let started = builder.stack_size(stack).spawn_scoped(scope, work);
        drop(guard);
        started.map_err(none)?.join().unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Internal,
                "a prompt template ended its thread",
            ))
        })
    })
}

fn environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_fuel(Some(fuel));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_formatter(write_value);
    environment.add_filter("tojson", json::to_json);
    environment.add_function(
        "raise_exception",
        |message: &str| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(Wrong::InvalidOperation, message.to_owned()))
        },
    );
    environment
}

/// What a template can see. There are no tools: templates ask whether they are defined.
fn context(messages: &[Message], names: &Names<'_>, options: PromptOptions) -> Value {
    let message = |message: &Message| {
        Value::from_pairs([
            ("role", Value::from(message.role.name())),
            ("content", Value::from(message.content.as_str())),
        ])
    };
    let now = move |format: &str| time::formatted(format, options.now);
    Value::from_pairs([
        ("messages", messages.iter().map(message).collect::<Value>()),
        (
            "add_generation_prompt",
            Value::from(options.add_generation_prompt),
        ),
        ("bos_token", Value::from(names.begin)),
        ("eos_token", Value::from(names.end)),
        ("strftime_now", Value::from_function(now)),
    ])
}

/// Writes a value as Python does.
fn write_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.kind() {
        ValueKind::None => Ok(out.write_str("None")?),
        ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// The source without the tag that says, for training, which parts are the model's.
fn without_generation(source: &str) -> Result<String> {
    let tag = |expression: &str| {
        Regex::new(expression).map_err(|error| {
            Error::new(ErrorKind::Internal, "a wrong expression").with_detail(error.to_string())
        })
    };
    let begin = tag(r"\{%(-?)\s*generation\s*(-?)%\}")?.replace_all(source, "{%$1 if true $2%}");
    let both = tag(r"\{%(-?)\s*endgeneration\s*(-?)%\}")?.replace_all(&begin, "{%$1 endif $2%}");
    Ok(both.into_owned())
}

fn failed(error: &minijinja::Error) -> Error {
    let detail = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    let place = error
        .line()
        .map(|line| format!(" in line {line}"))
        .unwrap_or_default();
    if error.kind() == Wrong::OutOfFuel {
        return Error::new(
            ErrorKind::LimitExceeded,
            format!("the prompt template does too much{place}"),
        )
        .with_hint("Send fewer messages, or use another template.");
    }
    Error::new(
        ErrorKind::InvalidArgument,
        format!("the prompt template fails{place}: {detail}"),
    )
}

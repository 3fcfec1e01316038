//! Prints the prompt that a template makes of messages: `prompt GGUF < MESSAGES`, or `prompt TEMPLATE BEGIN END < MESSAGES` with the file of
//! a template and the names of the marks that begin and end a text. The messages are JSON: `[{"role": "user", "content": "Hello"}]`.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::fs::File;
use std::io::{BufReader, stdin};
use std::time::{SystemTime, UNIX_EPOCH};

use vectorgpu_llm::format::gguf::Gguf;
use vectorgpu_llm::template::{Message, Names, PromptOptions, PromptTemplate, Role};
use vectorgpu_llm::tokenizer::Tokenizer;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let messages: Vec<serde_json::Value> = serde_json::from_reader(stdin())?;
    let messages: Vec<Message> = messages.iter().map(message).collect::<Result<_, _>>()?;
    let options = PromptOptions {
        add_generation_prompt: true,
        now: i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?,
    };
    let tokenizer;
    let (source, names) = match &arguments[..] {
        [_, gguf] => {
            let file = File::open(gguf)?;
            let length = file.metadata()?.len();
            let metadata = Gguf::read_metadata(BufReader::new(file), length)?;
            tokenizer = Tokenizer::from_gguf(&metadata)?;
            let source = PromptTemplate::source_in_gguf(&metadata)?.ok_or("the file has no template")?;
            (source.to_owned(), Names::of(&tokenizer))
        }
        [_, template, begin, end] => {
            let marks = vec![begin.as_str(), end.as_str()];
            (std::fs::read_to_string(template)?, Names { marks, begin, end })
        }
        _ => return Err("name a GGUF file, or a template and two marks".into()),
    };
    let template = PromptTemplate::new(&source, || Box::new(()))?;
    for run in template.runs(&messages, &names, options, || Box::new(()))? {
        print!("{}", run.text);
    }
    Ok(())
}

fn message(message: &serde_json::Value) -> Result<Message, Failure> {
    let text = |key: &str| {
        message[key]
            .as_str()
            .ok_or(format!("a message without \"{key}\""))
    };
    Ok(Message {
        role: Role::named(text("role")?)?,
        content: text("content")?.to_owned(),
    })
}

//! Values as JSON, as Python's `json.dumps` writes them: that is what templates were written for.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// The filter `tojson`, with its options `indent`, `ensure_ascii`, `sort_keys` and `separators`.
pub(super) fn to_json(state: &State<'_, '_>, value: Value, options: Kwargs) -> Result<Value, Error> {
    let separators: Option<Vec<String>> = options.get("separators")?;
    let indent: Option<usize> = options.get("indent")?;
    let (between, after_key) = match separators.as_deref() {
        Some([between, after_key]) => (between.clone(), after_key.clone()),
        // With a line for each item, none ends with a space.
        _ => (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        ),
    };
    let mut writer = Writer {
        state,
        text: String::new(),
        indent,
        between,
        after_key,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    writer.value(&value, 0)?;
    Ok(Value::from_safe_string(writer.text))
}

struct Writer<'a, 'v, 'e> {
    state: &'a State<'v, 'e>,
    text: String,
    indent: Option<usize>,
    between: String,
    after_key: String,
    ascii: bool,
    sorted: bool,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        // What is written counts as work, before it takes memory.
        self.state.consume_fuel(1 + depth as u64)?;
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&value.to_string()),
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items('[', ']', &items, depth, |writer, item| {
                    writer.value(item, depth + 1)
                })?;
            }
            _ => self.string(value.as_str().unwrap_or_default())?,
        }
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sorted {
            keys.sort_by_key(ToString::to_string);
        }
        self.items('{', '}', &keys, depth, |writer, key| {
            writer.string(&key.to_string())?;
            writer.text.push_str(&writer.after_key.clone());
            writer.value(&value.get_item(key)?, depth + 1)
        })
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.text.push(open);
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.text.push_str(&self.between.clone());
            }
            self.line(depth + 1)?;
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth)?;
        }
        self.text.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = self.indent else {
            return Ok(());
        };
        let spaces = indent.saturating_mul(depth);
        self.state.consume_fuel(spaces as u64)?;
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', spaces));
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(text.len() as u64 / 8)?;
        let quoted = serde_json::to_string(text)
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "a text that is no JSON"))?;
        for character in quoted.chars() {
            if !self.ascii || character.is_ascii() {
                self.text.push(character);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                self.text.push_str(&format!("\\u{unit:04x}"));
            }
        }
        Ok(())
    }
}

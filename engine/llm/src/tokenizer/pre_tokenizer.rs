//! Cuts a text into words, which are encoded one by one.
//!
//! Each family of models has a regular expression of its own; their sources are the models' published tokenizers. All end with
//! `\s+(?!\S)|\s+`: of white space before a word, the last character is left to the word. The expressions here end with `\s+`, and
//! that character is given back after the match, so that an engine without look-ahead, and without its worst cases, suffices.

use regex::Regex;
use vectorgpu_core::{Error, ErrorKind, Result};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);

/// How a text is cut.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    words: Regex,
    /// Digits stand alone, and the text between them is cut by itself.
    splits_digits: bool,
    /// White space that ends a line is a word by itself, and gives nothing back.
    keeps_line_ends: bool,
}

impl PreTokenizer {
    /// The one that GGUF files name so.
    ///
    /// # Errors
    /// `Unsupported` for a name that is not known.
    pub(super) fn named(name: &str) -> Result<Self> {
        let (expression, splits_digits, keeps_line_ends) = match name {
            "gpt-2" | "default" => (GPT2, false, false),
            "smollm" | "starcoder" | "refact" | "command-r" => (GPT2, true, false),
            "llama-bpe" | "llama3" | "llama-v3" => (LLAMA3, false, true),
            "qwen2" => (QWEN2, false, true),
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the pre-tokenizer \"{name}\" is not supported"),
                )
                .with_hint("Supported are gpt-2, smollm, starcoder, llama-bpe and qwen2."));
            }
        };
        let words = Regex::new(expression).map_err(|error| {
            Error::new(ErrorKind::Internal, "a wrong expression").with_detail(error.to_string())
        })?;
        Ok(Self {
            words,
            splits_digits,
            keeps_line_ends,
        })
    }

    /// Hands each word of `text` to `take`, in order; together they are the text.
    ///
    /// # Errors
    /// What `take` reports.
    pub(super) fn for_each(&self, text: &str, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        if !self.splits_digits {
            return self.words_of(text, take);
        }
        let mut from = 0;
        for (at, character) in text.char_indices() {
            if character.is_numeric() {
                let end = at + character.len_utf8();
                self.words_of(&text[from..at], take)?;
                take(&text[at..end])?;
                from = end;
            }
        }
        self.words_of(&text[from..], take)
    }

    fn words_of(&self, text: &str, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let mut at = 0;
        while at < text.len() {
            let Some(found) = self.words.find_at(text, at) else {
                return take(&text[at..]);
            };
            // The expressions match any character; should one not, it is a word by itself.
            if found.start() > at {
                take(&text[at..found.start()])?;
            }
            let word = self.without_given_back(found.as_str(), &text[found.end()..]);
            take(word)?;
            at = found.start() + word.len();
        }
        Ok(())
    }

    fn without_given_back<'a>(&self, word: &'a str, rest: &str) -> &'a str {
        let mut characters = word.chars();
        let is_space = word.chars().all(char::is_whitespace);
        let ends_line = self.keeps_line_ends && word.ends_with(['\r', '\n']);
        if !is_space || ends_line || rest.is_empty() || rest.starts_with(char::is_whitespace) {
            return word;
        }
        characters.next_back();
        let shorter = characters.as_str();
        if shorter.is_empty() { word } else { shorter }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(name: &str, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let pre_tokenizer = PreTokenizer::named(name).expect("known");
        pre_tokenizer
            .for_each(text, &mut |word| {
                words.push(word.to_owned());
                Ok(())
            })
            .expect("no error of ours");
        words
    }

    #[test]
    fn texts_are_cut_as_the_models_published_expressions_cut_them() {
        assert_eq!(
            words("gpt-2", "Hello  world's 123!"),
            ["Hello", " ", " world", "'s", " 123", "!"]
        );
        assert_eq!(words("gpt-2", "a\n\nb  "), ["a", "\n", "\n", "b", "  "]);
        assert_eq!(words("smollm", "in 2024"), ["in", " ", "2", "0", "2", "4"]);
        assert_eq!(words("llama-bpe", "12345 a'LL"), ["123", "45", " a", "'LL"]);
        assert_eq!(
            words("qwen2", "x  \n\n  y=12"),
            ["x", "  \n\n", " ", " y", "=", "1", "2"]
        );
        assert_eq!(words("qwen2", "(a)"), ["(a", ")"]);
        assert!(PreTokenizer::named("another").is_err());
    }

    proptest! {
        #[test]
        fn words_are_the_text(text in "\\PC*|[ a-z0-9'\n\r\t.,]*") {
            for name in ["gpt-2", "smollm", "llama-bpe", "qwen2"] {
                prop_assert_eq!(words(name, &text).concat(), text.clone());
            }
        }
    }
}

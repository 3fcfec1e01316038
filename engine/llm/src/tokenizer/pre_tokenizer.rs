//! Cuts a text into words, which are encoded one by one.
//!
//! Each family of models has regular expressions of its own, each of which cuts what the one before has left; their sources are the
//! models' published tokenizers. Most end with `\s+(?!\S)|\s+`: of white space before a word, the last character is left to the word. The
//! expressions here end with `\s+`, and that character is given back after the match, so that an engine without look-ahead, and
//! without its worst cases, suffices.

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
/// As QWEN2, with accents that are characters of their own as parts of words.
const QWEN35: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const DIGIT: &str = r"\p{N}";
const THREE_DIGITS: &str = r"[0-9][0-9][0-9]";
const FALCON_PUNCTUATION: &str = r"[\p{P}$+<=>^~|`]+";
const LINE_END: &str = r"[\r\n]";
/// The ideographs and syllables that DeepSeek's first models keep together.
const ASIAN: &str = r"[一-龥\u{0800}-一가-\u{D7FF}]+";
const DEEPSEEK_CODER: [&str; 5] = [LINE_END, r"\s?\p{L}+", r"\s?\p{P}+", ASIAN, DIGIT];

/// One cut of a text.
#[derive(Debug)]
struct Cut {
    words: Regex,
    gives_back: GivesBack,
}

/// What becomes of white space before a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivesBack {
    /// It stays as it was matched.
    Nothing,
    /// Its last character is left to the word.
    Last,
    /// So it is, unless it ends a line.
    LastUnlessLineEnd,
}

/// How a text is cut.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    cuts: Vec<Cut>,
}

impl PreTokenizer {
    /// The one that GGUF files name so.
    ///
    /// # Errors
    /// `Unsupported` for a name that is not known.
    pub(super) fn named(name: &str) -> Result<Self> {
        use GivesBack::{Last, LastUnlessLineEnd, Nothing};
        let cuts: &[(&str, GivesBack)] = match name {
            "gpt-2" | "default" | "mpt" | "olmo" => &[(GPT2, Last)],
            "smollm" | "starcoder" | "refact" | "command-r" => &[(DIGIT, Nothing), (GPT2, Last)],
            "falcon" => &[
                (FALCON_PUNCTUATION, Nothing),
                (GPT2, Last),
                (THREE_DIGITS, Nothing),
            ],
            "llama-bpe" | "llama3" | "llama-v3" => &[(LLAMA3, LastUnlessLineEnd)],
            "qwen2" | "deepseek-r1-qwen" => &[(QWEN2, LastUnlessLineEnd)],
            "qwen35" => &[(QWEN35, LastUnlessLineEnd)],
            "deepseek-coder" => &DEEPSEEK_CODER.map(|expression| (expression, Nothing)),
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the pre-tokenizer \"{name}\" is not supported"),
                )
                .with_hint(
                    "Supported are gpt-2, smollm, starcoder, refact, command-r, mpt, olmo, falcon, llama-bpe, qwen2, qwen35, \
                     deepseek-r1-qwen and deepseek-coder.",
                ));
            }
        };
        let cut = |(expression, gives_back): &(&str, GivesBack)| {
            let words = Regex::new(expression).map_err(|error| {
                Error::new(ErrorKind::Internal, "a wrong expression").with_detail(error.to_string())
            })?;
            Ok(Cut {
                words,
                gives_back: *gives_back,
            })
        };
        Ok(Self {
            cuts: cuts.iter().map(cut).collect::<Result<_>>()?,
        })
    }

    /// Hands each word of `text` to `take`, in order; together they are the text.
    ///
    /// # Errors
    /// What `take` reports.
    pub(super) fn for_each(&self, text: &str, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        cut(&self.cuts, text, take)
    }
}

fn cut(cuts: &[Cut], text: &str, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let Some((first, rest)) = cuts.split_first() else {
        return take(text);
    };
    let mut at = 0;
    while at < text.len() {
        let Some(found) = first.words.find_at(text, at) else {
            return cut(rest, &text[at..], take);
        };
        if found.start() > at {
            cut(rest, &text[at..found.start()], take)?;
        }
        let word = first.without_given_back(found.as_str(), &text[found.end()..]);
        cut(rest, word, take)?;
        at = found.start() + word.len();
    }
    Ok(())
}

impl Cut {
    fn without_given_back<'a>(&self, word: &'a str, rest: &str) -> &'a str {
        let mut characters = word.chars();
        let is_space = word.chars().all(char::is_whitespace);
        let stays = match self.gives_back {
            GivesBack::Nothing => true,
            GivesBack::Last => false,
            GivesBack::LastUnlessLineEnd => word.ends_with(['\r', '\n']),
        };
        if !is_space || stays || rest.is_empty() || rest.starts_with(char::is_whitespace) {
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
        assert_eq!(words("qwen35", "e\u{301}a b"), ["e\u{301}a", " b"]);
        assert_eq!(words("falcon", "a, 12345"), ["a", ",", " ", "123", "45"]);
        assert_eq!(words("deepseek-coder", "x  1\n"), ["x", "  ", "1", "\n"]);
        assert!(PreTokenizer::named("another").is_err());
    }

    proptest! {
        #[test]
        fn words_are_the_text(text in "\\PC*|[ a-z0-9'\n\r\t.,]*") {
            for name in ["gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "falcon", "deepseek-coder"] {
                prop_assert_eq!(words(name, &text).concat(), text.clone());
            }
        }
    }
}

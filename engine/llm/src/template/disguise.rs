//! Characters of messages that might become parts of marks, and what stands for them while a template runs.
//!
//! Every character that occurs in the name of a mark is exchanged, in messages, for one of its own from Unicode's private planes. So
//! whatever the template cuts, joins and repeats, a mark in what it writes is of the template's own characters. White space stays, and
//! with it trimming and splitting into lines; lengths stay too. What the template itself looks for in messages (`</think>`) stays where
//! it has nothing in common with a mark, not even an end with which one could begin.

use std::collections::{BTreeSet, HashMap, HashSet};

use vectorgpu_core::{Error, ErrorKind, Result};

use super::{Names, Run};
use crate::tokenizer::Trust;

/// The private planes.
const FIRST: u32 = 0xf_0000;
const LAST: u32 = 0x10_fffd;

/// What stands for what.
#[derive(Debug)]
pub(super) struct Disguise {
    twins: HashMap<char, char>,
    plain: HashMap<char, char>,
    /// Texts that stay, longest first.
    spared: Vec<String>,
    /// Names of marks, longest first.
    marks: Vec<String>,
}

impl Disguise {
    /// For a template of this source with these literal texts, and messages of these contents.
    ///
    /// # Errors
    /// `InvalidArgument` when the messages use up the private characters.
    pub(super) fn new(
        names: &Names<'_>,
        literals: &[String],
        source: &str,
        contents: &[&str],
    ) -> Result<Self> {
        let mut marks: Vec<String> = names
            .marks
            .iter()
            .filter(|mark| !mark.trim().is_empty())
            .map(|mark| (*mark).to_owned())
            .collect();
        marks.sort_by_key(|mark| std::cmp::Reverse(mark.len()));
        let alphabet: BTreeSet<char> = marks.iter().flat_map(|mark| mark.chars()).collect();
        let taken: HashSet<char> = contents
            .iter()
            .chain([&source])
            .flat_map(|text| text.chars())
            .chain(alphabet.iter().copied())
            .filter(|character| u32::from(*character) >= FIRST)
            .collect();
        let mut free = (FIRST..=LAST)
            .filter_map(char::from_u32)
            .filter(|twin| !taken.contains(twin));
        let mut twins = HashMap::new();
        for character in alphabet
            .into_iter()
            .filter(|character| !character.is_whitespace())
        {
            let twin = free.next().ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    "the messages use all of Unicode's private characters",
                )
            })?;
            twins.insert(character, twin);
        }
        let is_spared = |literal: &&String| {
            contents.iter().any(|content| content.contains(literal.as_str()))
                && !marks.iter().any(|mark| have_common(literal, mark))
        };
        let mut spared: Vec<String> = literals.iter().filter(is_spared).cloned().collect();
        spared.sort_by_key(|literal| std::cmp::Reverse(literal.len()));
        Ok(Self {
            plain: twins
                .iter()
                .map(|(character, twin)| (*twin, *character))
                .collect(),
            twins,
            spared,
            marks,
        })
    }

    /// A message's text for a template.
    pub(super) fn put_on(&self, text: &str) -> String {
        let mut disguised = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let spared = self
                .spared
                .iter()
                .find(|spared| rest.starts_with(spared.as_str()));
            let length = spared.map_or(character.len_utf8(), String::len);
            match spared {
                Some(spared) => disguised.push_str(spared),
                None => disguised.push(*self.twins.get(&character).unwrap_or(&character)),
            }
            rest = &rest[length..];
        }
        disguised
    }

    /// A text with the characters that were there at first.
    pub(super) fn take_off(&self, text: &str) -> String {
        let plain = |character| *self.plain.get(&character).unwrap_or(&character);
        text.chars().map(plain).collect()
    }

    /// Cuts what a template wrote into marks and the text between them.
    pub(super) fn runs(&self, text: &str) -> Vec<Run> {
        let mut runs = Vec::new();
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            let Some(mark) = self
                .marks
                .iter()
                .find(|mark| text[at..].starts_with(mark.as_str()))
            else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            self.push_text(&text[from..at], &mut runs);
            runs.push(Run {
                trust: Trust::Template,
                text: mark.clone(),
            });
            at += mark.len();
            from = at;
        }
        self.push_text(&text[from..], &mut runs);
        runs
    }

    fn push_text(&self, text: &str, runs: &mut Vec<Run>) {
        if !text.is_empty() {
            runs.push(Run {
                trust: Trust::User,
                text: self.take_off(text),
            });
        }
    }
}

/// Whether one text is in the other, or ends as the other begins.
fn have_common(a: &str, b: &str) -> bool {
    let ends_as_begins = |a: &str, b: &str| {
        let starts = a.char_indices().map(|(at, _)| &a[at..]);
        starts.into_iter().any(|end| b.starts_with(end))
    };
    a.is_empty() || a.contains(b) || b.contains(a) || ends_as_begins(a, b) || ends_as_begins(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_something_in_common_if_pieces_of_them_could_be_joined_to_the_other() {
        for (a, b) in [
            ("ab", "xaby"),
            ("xab", "aby"),
            ("aby", "xab"),
            ("xaby", "ab"),
            ("", "a"),
        ] {
            assert!(have_common(a, b), "{a} {b}");
        }
        assert!(!have_common("</think>", "<|im_end|>"));
        assert!(!have_common("xay", "bab"));
    }

    #[test]
    fn private_characters_of_messages_stay_what_they_are() {
        let names = Names {
            marks: vec!["<|end|>"],
            ..Names::default()
        };
        let content = "\u{f0000}<|end|>\u{f0001}";
        let disguise = Disguise::new(&names, &[], "\u{f0002}", &[content]).expect("room");
        let disguised = disguise.put_on(content);
        assert!(!disguised.contains('<') && disguised.chars().count() == content.chars().count());
        assert_eq!(disguise.take_off(&disguised), content);
        let all: String = (FIRST..=LAST).filter_map(char::from_u32).collect();
        let error = Disguise::new(&names, &[], "", &[&all])
            .map(|_| ())
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

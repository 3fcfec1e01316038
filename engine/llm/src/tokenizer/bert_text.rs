//! What BERT makes of a text before it looks for tokens: characters that mean nothing go, accents and capitals too if the model was
//! trained so, and words are cut at spaces, around marks of punctuation, and around each Chinese character.
//!
//! Must not know tokens. Source: `BertNormalizer` and `BertPreTokenizer` of the library `tokenizers`.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// What is done to a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cleaning {
    /// Whether characters that mean nothing are left out.
    pub(super) cleans: bool,
    /// Whether each Chinese character is a word.
    pub(super) splits_chinese: bool,
    /// Whether letters lose their accents.
    pub(super) strips_accents: bool,
    /// Whether capitals become small letters.
    pub(super) lowers: bool,
}

impl Cleaning {
    /// For models that make no difference between small letters and capitals, or do.
    pub(super) fn usual(lowers: bool) -> Self {
        Self {
            cleans: true,
            splits_chinese: true,
            strips_accents: lowers,
            lowers,
        }
    }

    /// Hands each word of `text` to `take`, in order.
    pub(super) fn for_each_word(self, text: &str, take: &mut dyn FnMut(&str)) {
        let mut word = String::new();
        let mut character = |character: char| {
            let is_mark = is_punctuation(character);
            if is_mark || character.is_whitespace() {
                if !word.is_empty() {
                    take(&word);
                    word.clear();
                }
                if is_mark {
                    take(character.encode_utf8(&mut [0; 4]));
                }
            } else {
                word.push(character);
            }
        };
        let cleaned = text.chars().filter_map(|character| self.cleaned(character));
        let spaced = cleaned.flat_map(|character| {
            let space = (self.splits_chinese && is_chinese(character)).then_some(' ');
            space.into_iter().chain([character]).chain(space)
        });
        let lowered = |letter: char, character: &mut dyn FnMut(char)| {
            if self.lowers {
                letter.to_lowercase().for_each(character);
            } else {
                character(letter);
            }
        };
        if self.strips_accents {
            let is_accent = |letter: &char| letter.general_category() == GeneralCategory::NonspacingMark;
            let letters = spaced.nfd().filter(|letter| !is_accent(letter));
            letters.for_each(|letter| lowered(letter, &mut character));
        } else {
            spaced.for_each(|letter| lowered(letter, &mut character));
        }
        character(' ');
    }

    fn cleaned(self, character: char) -> Option<char> {
        if !self.cleans {
            return Some(character);
        }
        let category = character.general_category();
        let means_nothing = matches!(
            category,
            GeneralCategory::Control | GeneralCategory::Format | GeneralCategory::PrivateUse
        );
        match character {
            '\t' | '\n' | '\r' => Some(' '),
            '\u{fffd}' => None,
            _ if means_nothing => None,
            _ if character.is_whitespace() => Some(' '),
            _ => Some(character),
        }
    }
}

fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation()
        || character.general_category_group() == GeneralCategoryGroup::Punctuation
}

/// Whether it is of a script that writes without spaces between words: the blocks of Chinese characters.
fn is_chinese(character: char) -> bool {
    matches!(character,
        '\u{4e00}'..='\u{9fff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2b73f}'
        | '\u{2b740}'..='\u{2b81f}'
        | '\u{2b920}'..='\u{2ceaf}'
        | '\u{f900}'..='\u{faff}'
        | '\u{2f800}'..='\u{2fa1f}')
}

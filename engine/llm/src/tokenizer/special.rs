//! Texts that are a token by themselves, wherever they stand.
//!
//! Invariant: a mark, which has a meaning to the model (the end of a turn), is only found in text that the caller vouches for. User-defined
//! tokens are text that is never taken apart, whoever wrote it.

use super::{TokenKind, Trust, Vocabulary};

/// One of them.
#[derive(Debug)]
struct Special {
    name: Box<str>,
    token: u32,
    is_mark: bool,
}

/// All of them, by their first byte, and of those with the same one the longest first, so that none hides another.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    by_first_byte: Vec<Vec<Special>>,
}

impl SpecialTokens {
    /// Those of a vocabulary. Names that are no UTF-8 stand in no text.
    pub(super) fn of(vocabulary: &Vocabulary) -> Self {
        let mut by_first_byte: Vec<Vec<Special>> = (0..256).map(|_| Vec::new()).collect();
        for token in 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX) {
            let is_mark = match vocabulary.kind(token) {
                TokenKind::Control | TokenKind::Unknown => true,
                TokenKind::UserDefined => false,
                TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => continue,
            };
            let Ok(name) = std::str::from_utf8(vocabulary.name(token)) else {
                continue;
            };
            if let Some(first) = name.bytes().next() {
                by_first_byte[usize::from(first)].push(Special {
                    name: name.into(),
                    token,
                    is_mark,
                });
            }
        }
        for same in &mut by_first_byte {
            same.sort_by_key(|special| std::cmp::Reverse(special.name.len()));
        }
        Self { by_first_byte }
    }

    /// The one with which `text` begins.
    pub(super) fn at_start(&self, text: &[u8], trust: Trust) -> Option<(&str, u32)> {
        let first = *text.first()?;
        let found = self.by_first_byte[usize::from(first)].iter().find(|special| {
            (trust == Trust::Template || !special.is_mark) && text.starts_with(special.name.as_bytes())
        });
        found.map(|special| (&*special.name, special.token))
    }

    /// The names of all marks.
    pub(super) fn marks(&self) -> impl Iterator<Item = (&str, u32)> {
        let marks = self
            .by_first_byte
            .iter()
            .flatten()
            .filter(|special| special.is_mark);
        marks.map(|special| (&*special.name, special.token))
    }
}

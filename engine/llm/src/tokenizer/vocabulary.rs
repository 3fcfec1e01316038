//! The tokens of a model.

use std::collections::HashMap;

use vectorgpu_core::{Error, ErrorKind, Result};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// What no other token stands for.
    Unknown,
    /// A mark for the model, such as the end of a turn; no text.
    Control,
    /// Text that is never taken apart.
    UserDefined,
    /// Not in use.
    Unused,
    /// One byte.
    Byte,
}

/// Most tokens: the largest vocabularies have some 260,000.
const MAX_TOKENS: usize = 1 << 22;

/// Tokens by number.
#[derive(Debug, Default)]
pub struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    kinds: Vec<TokenKind>,
}

impl Vocabulary {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// What `token` is for; unused for a number that is no token.
    pub fn kind(&self, token: u32) -> TokenKind {
        let kind = usize::try_from(token)
            .ok()
            .and_then(|token| self.kinds.get(token));
        kind.copied().unwrap_or(TokenKind::Unused)
    }

    /// What `token` is written as; of a text token, its bytes.
    pub fn name(&self, token: u32) -> &[u8] {
        let Ok(token) = usize::try_from(token) else {
            return &[];
        };
        let Some(&end) = self.ends.get(token) else {
            return &[];
        };
        let start = token.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }

    /// The bytes that `token` adds to a text.
    pub fn text_bytes(&self, token: u32) -> &[u8] {
        match self.kind(token) {
            TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte => self.name(token),
            TokenKind::Unknown | TokenKind::Control | TokenKind::Unused => &[],
        }
    }

    /// Adds a token, which gets the next number.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub(super) fn push(&mut self, name: &[u8], kind: TokenKind) -> Result<()> {
        if self.len() == MAX_TOKENS {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("a vocabulary of more than {MAX_TOKENS} tokens"),
            ));
        }
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
        self.kinds.push(kind);
        Ok(())
    }

    /// All tokens that are text, by their bytes; of two with the same, the first.
    pub(super) fn by_bytes(&self) -> HashMap<Box<[u8]>, u32> {
        let mut tokens = HashMap::with_capacity(self.len());
        for token in 0..u32::try_from(self.len()).unwrap_or(u32::MAX) {
            if matches!(
                self.kind(token),
                TokenKind::Normal | TokenKind::Byte | TokenKind::UserDefined
            ) {
                tokens.entry(self.name(token).into()).or_insert(token);
            }
        }
        tokens
    }
}

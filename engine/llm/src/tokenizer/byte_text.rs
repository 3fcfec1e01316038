//! The printable characters that byte-level vocabularies write bytes as.
//!
//! Source: `bytes_to_unicode` of GPT-2's published encoder: printable bytes of Latin-1 stand for themselves, all others, in order,
//! for the characters from U+0100 on.

/// Whether a byte is written as the character of its number.
const fn is_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that a character is written for.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let number = u32::from(character);
    if let Ok(byte) = u8::try_from(number) {
        return is_itself(byte).then_some(byte);
    }
    let place = usize::try_from(number.checked_sub(256)?).ok()?;
    (0..=255).filter(|byte| !is_itself(*byte)).nth(place)
}

/// The bytes of a token as a vocabulary writes it; `None` where it is written in another way.
pub(super) fn bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_written_as_one_character() {
        assert_eq!(bytes_of("Ġhello"), Some(b" hello".to_vec()));
        assert_eq!(bytes_of("Ċ"), Some(b"\n".to_vec()));
        assert_eq!(bytes_of("Ã©"), Some("é".as_bytes().to_vec()));
        assert_eq!(bytes_of("日"), None);
        let mut bytes: Vec<u8> = (0..0x200)
            .filter_map(char::from_u32)
            .filter_map(byte_of)
            .collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }
}

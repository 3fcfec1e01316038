//! Text from tokens as they come: never a part of a character, and nothing of what a stop string may become.

/// Text on its way out.
#[derive(Debug, Default)]
pub struct TextStream {
    stops: Vec<Vec<u8>>,
    held: Vec<u8>,
    stopped: bool,
}

impl TextStream {
    /// A stream that ends before the first of `stops`; empty ones stop nothing.
    pub fn new<'a>(stops: impl IntoIterator<Item = &'a str>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty());
        Self {
            stops: stops.map(|stop| stop.as_bytes().to_vec()).collect(),
            held: Vec::new(),
            stopped: false,
        }
    }

    /// Whether a stop string came.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Adds the bytes of a token; what can go out now. Bytes that are no UTF-8 go out as U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.extend_from_slice(bytes);
        let found = self.stops.iter().filter_map(|stop| find(&self.held, stop)).min();
        if let Some(at) = found {
            self.stopped = true;
            self.held.truncate(at);
            return self.finish();
        }
        let end = self.held.len() - self.stop_begun().max(character_begun(&self.held));
        let rest = self.held.split_off(end);
        let out = std::mem::replace(&mut self.held, rest);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// All that was held back, at the end.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }

    /// Bytes at the end with which a stop string may have begun; with those of a character that they begin in the middle of.
    fn stop_begun(&self) -> usize {
        let begun = |stop: &Vec<u8>| {
            let most = self.held.len().min(stop.len() - 1);
            (1..=most)
                .rev()
                .find(|length| self.held.ends_with(&stop[..*length]))
                .unwrap_or(0)
        };
        self.stops.iter().map(begun).max().unwrap_or(0)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Bytes at the end that begin a character without its end.
fn character_begun(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(4);
    match std::str::from_utf8(&bytes[last..]) {
        Ok(_) => 0,
        // The last four bytes may begin inside a character; what counts is how they end.
        Err(_) => (1..=bytes.len().min(3))
            .find(|length| {
                let end = &bytes[bytes.len() - length..];
                matches!(std::str::from_utf8(end), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none())
            })
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn streamed(stops: &[&str], parts: &[&[u8]]) -> (Vec<String>, bool) {
        let mut stream = TextStream::new(stops.iter().copied());
        let mut out: Vec<String> = parts.iter().map(|part| stream.push(part)).collect();
        out.push(stream.finish());
        (out, stream.is_stopped())
    }

    #[test]
    fn characters_come_whole() {
        let euro = "€".as_bytes();
        let (out, _) = streamed(&[], &[b"a", &euro[..1], &euro[1..2], &euro[2..], b"b"]);
        assert_eq!(out, ["a", "", "", "€", "b", ""]);
        let (out, _) = streamed(&[], &[b"\xff", b"x", &euro[..2]]);
        assert_eq!(out.concat(), "\u{fffd}x\u{fffd}");
    }

    #[test]
    fn nothing_of_a_stop_string_goes_out() {
        let (out, stopped) = streamed(&["END", "\n\n"], &[b"one ", b"E", b"N", b"D two"]);
        assert_eq!((out.concat().as_str(), stopped), ("one ", true));
        let (out, stopped) = streamed(&["END"], &[b"one E", b"N", b"Dive"]);
        assert_eq!((out.concat().as_str(), stopped), ("one ", true));
        let (out, stopped) = streamed(&["END"], &[b"one EN", b"T", b"ER"]);
        assert_eq!(
            (out, stopped),
            (
                vec!["one ".into(), "ENT".into(), "ER".into(), String::new()],
                false
            )
        );
        let (out, stopped) = streamed(&["aab"], &[b"aa", b"a", b"b"]);
        assert_eq!((out.concat().as_str(), stopped), ("a", true));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_text_is_the_text_before_the_first_stop(
            text in "[abü€ 🙂]{0,40}",
            stops in prop::collection::vec("[abü€]{1,3}", 0..3),
            cuts in prop::collection::vec(1usize..5, 0..60),
        ) {
            let bytes = text.as_bytes();
            let (mut parts, mut at) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let end = (at + cut).min(bytes.len());
                parts.push(&bytes[at..end]);
                at = end;
            }
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let first = stops.iter().filter_map(|stop| text.find(stop)).min();
            let (out, stopped) = streamed(&stops, &parts);
            // A stop may be found earlier than one that begins before it but ends later.
            if let Some(first) = first {
                prop_assert!(stopped);
                prop_assert!(text[first..].starts_with(&out.concat()[first.min(out.concat().len())..]));
                prop_assert!(text.starts_with(&out.concat()));
            } else {
                prop_assert_eq!((out.concat(), stopped), (text, false));
            }
        }
    }
}
